"""Pins every dependency in full, with hashes: needs uv, which the project itself does not.

Base and extra dependencies come from pyproject.toml, those of tests and linters
from requirements/dev.in. Nothing of where packages are served from is written.
"""

import shutil
import subprocess
import sys

from prepare.store import ROOT

OPTIONS = ["--universal", "--python-version=3.11", "--generate-hashes", "--no-header", "--no-annotate"]
OPTIONS += ["--no-emit-index-url", "--no-emit-find-links", "--quiet", "--upgrade"]
FILES = {
    "operator.txt": ["--extra=operator", "pyproject.toml"],
    "build.txt": ["requirements/build.in"],
    "dev.txt": ["requirements/dev.in"],
    "go.txt": ["requirements/go.in"],
    "java.txt": ["requirements/java.in"],
}


def main() -> int:
    """Rewrites requirements/*.txt."""
    uv = shutil.which("uv")
    if uv is None:
        print("uv is needed to pin dependencies", file=sys.stderr)
        return 1
    for file, sources in FILES.items():
        subprocess.run([uv, "pip", "compile", *OPTIONS, *sources, "-o", f"requirements/{file}"], cwd=ROOT, check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
