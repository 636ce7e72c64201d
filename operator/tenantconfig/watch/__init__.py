"""The watch service: from labelled ConfigMaps to streams."""
