"""Packages the refresh function as the zip that its template refers to: the same bytes for the same source."""

import sys
import zipfile
from pathlib import Path

from prepare.store import ROOT

SOURCE = ROOT / "operator" / "tenantconfig" / "refresh_function.py"
TARGET = ROOT / "build" / "refresh-function.zip"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first date that a zip knows


def package(target: Path = TARGET) -> Path:
    """Writes the zip."""
    target.parent.mkdir(parents=True, exist_ok=True)
    entry = zipfile.ZipInfo(SOURCE.name, LONG_AGO)
    entry.external_attr = 0o100644 << 16
    entry.create_system = 3  # Unix, whatever this machine is
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # what deflate makes depends on zlib
        archive.writestr(entry, SOURCE.read_bytes())
    return target


def main() -> int:
    print(package().relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
