"""Where prepared things are kept, and how two set-ups at once stay apart.

Everything is made under a temporary name and renamed when it is complete, so
that an interrupted set-up leaves nothing that looks finished.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
KEPT = 3


def cache_directory() -> Path:
    """The cache of this project, shared by all its checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "tenantconfig"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def digest(files: Iterable[Path], *others: str) -> str:
    """Names what is made from these files and settings."""
    result = hashlib.sha256()
    for file in sorted(files):
        content = file.read_bytes()
        result.update(f"{file.name} {len(content)}\n".encode() + content)
    for other in others:
        result.update(f"{other}\n".encode())
    return result.hexdigest()[:16]


@contextmanager
def locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Holds a lock that ends with the process, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up that is doing this")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def partial(target: Path) -> Path:
    """A name for what is being made: this process's own, since one that was killed may have left children at work."""
    return target.with_name(f"{target.name}.{os.getpid()}.partial")


def forget_old(directory: Path, pattern: str) -> None:
    """Removes all but the newest few, so that the cache does not grow with every change."""
    entries = sorted(directory.glob(pattern), key=lambda entry: entry.stat().st_mtime, reverse=True)
    for entry in entries[KEPT:]:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
