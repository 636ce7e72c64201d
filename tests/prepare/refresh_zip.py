"""The zip of the refresh function, as manifests/aws/template.yaml wants it: the same bytes from the same source."""

import hashlib
import sys
import zipfile
from pathlib import Path

from prepare.store import ROOT

SOURCE = ROOT / "operator" / "tenantconfig" / "refresh_function.py"
TARGET = ROOT / "build" / "refresh-function.zip"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first that a zip can say


def write(target: Path) -> str:
    """Writes the zip. Returns the first digits of its digest, to name a version by."""
    target.parent.mkdir(parents=True, exist_ok=True)
    entry = zipfile.ZipInfo(SOURCE.name, EPOCH)
    entry.external_attr = 0o100644 << 16  # Lambda runs it as another user
    entry.create_system = 3  # Unix, whatever this machine is
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:  # what deflate makes depends on zlib
        archive.writestr(entry, SOURCE.read_bytes())
    return hashlib.sha256(target.read_bytes()).hexdigest()[:16]


def main() -> int:
    """Writes build/refresh-function.zip."""
    print(f"{TARGET.relative_to(ROOT)} {write(TARGET)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
