"""The messages of the watch service, generated from watch.proto."""
