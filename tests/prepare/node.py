"""What examples/node imports: its packages by npm.

Where there is no Node, the tests of that example are skipped, and say so.
"""

import re
import shutil
import subprocess
from pathlib import Path

from prepare.report import Report, StepFailed
from prepare.store import ROOT, cache_directory, digest, forget_old, locked, partial

EXAMPLE = ROOT / "examples" / "node"
SOURCES = [EXAMPLE / "package.json", EXAMPLE / ".npmrc"]
LINK = EXAMPLE / "node_modules"
OLDEST = (18, 3)


def program() -> str | None:
    """The machine's Node, if it is new enough and has npm beside it."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.(\d+)", answer)
    return node if version and (int(version[1]), int(version[2])) >= OLDEST else None


def ready() -> bool:
    """Whether there is nothing to do; without Node there is nothing that could be done."""
    return installed() or program() is None


def installed() -> bool:
    """Whether the example can be run. Packages that somebody installed beside it are left as they are."""
    return LINK.is_dir() and (not LINK.is_symlink() or LINK.resolve() == _packages().resolve())


def install(report: Report) -> None:
    """Has npm install the packages in the cache, unless they are there, and links the example to them."""
    with locked(cache_directory() / "node.lock", report.say):
        if ready():
            return
        if not _packages().exists():
            report.say("installing the Node example's packages with npm")
            try:
                _install(report, partial(_packages().parent))
            except StepFailed as error:
                report.say(f"{error}: the tests of the Node example will fail")
                return
        LINK.unlink(missing_ok=True)
        LINK.symlink_to(_packages())
        report.say("Node packages installed")


def _packages() -> Path:
    """Where the packages are, or will be."""
    return cache_directory() / f"node-{digest(SOURCES)}" / "node_modules"


def _install(report: Report, directory: Path) -> None:
    directory.mkdir()
    for file in SOURCES:
        shutil.copy(file, directory)
    report.run(["npm", "install", "--silent"], cwd=directory)
    directory.rename(_packages().parent)
    forget_old(cache_directory(), "node-*")
