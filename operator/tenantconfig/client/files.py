"""A scope's values as files of a directory, changed all at once, as kubelet does it.

    ..2026_11_25…/   key files of one version      ..data ─► ..2026_11_25…      key ─► ..data/key

Whoever follows the links reads one version: a new one is written beside the old, and
`..data` is renamed over to it. Only then the old one goes.
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA = "..data"
FILE_MODE, DIRECTORY_MODE = 0o644, 0o755  # as kubelet's: other users of the pod read them


class NoFileName(ValueError):
    """A key that cannot be a file's name in the directory."""


@dataclass(frozen=True, slots=True)
class ConfigDirectory:
    """The directory `root`. `json_name` and `env_name` are additional files with everything, if they are named."""

    root: Path
    json_name: str = ""
    env_name: str = ""

    def write(self, entries: Mapping[str, str]) -> None:
        """Have the directory show `entries`, and nothing else that was written here. Raises OSError, NoFileName."""
        files = self._files(entries)
        self.root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        former = self._current()
        new = Path(tempfile.mkdtemp(prefix="..", dir=self.root))
        try:
            for name, text in files.items():
                (new / name).write_bytes(text.encode())
                (new / name).chmod(FILE_MODE)
            new.chmod(DIRECTORY_MODE)
            _point(self.root / DATA, new.name)
        except BaseException:
            shutil.rmtree(new)
            raise
        try:
            self._link(files)
        finally:
            if former:
                shutil.rmtree(self.root / former, ignore_errors=True)

    def refuse(self, entries: Mapping[str, str]) -> None:
        """Raise NoFileName for a key that cannot have a file, or a variable, of its own here."""
        variables: dict[str, str] = {}
        for key in sorted(entries):
            refuse_name(key)
            if key in {self.json_name, self.env_name}:
                raise NoFileName(f"the key {key!r} has the name of the file with everything")
            former = variables.setdefault(_variable(key), key)
            if self.env_name and former != key:
                raise NoFileName(f"the keys {former!r} and {key!r} are both {_variable(key)} in {self.env_name}")

    def sweep(self) -> None:
        """Remove what a process that was killed has left of other versions."""
        if self.root.is_dir():
            current = self._current()
            for each in self.root.glob("..*"):
                if each.is_dir() and not each.is_symlink() and each.name != current:
                    shutil.rmtree(each, ignore_errors=True)

    def _files(self, entries: Mapping[str, str]) -> dict[str, str]:
        self.refuse(entries)
        files = dict(entries)
        if self.json_name:
            files[self.json_name] = json.dumps(dict(entries), ensure_ascii=False, sort_keys=True, indent=2) + "\n"
        if self.env_name:
            files[self.env_name] = "".join(f"{_variable(key)}={_quoted(entries[key])}\n" for key in sorted(entries))
        return files

    def _current(self) -> str:
        data = self.root / DATA
        return data.readlink().name if data.is_symlink() else ""

    def _link(self, files: Mapping[str, str]) -> None:
        for name in files:
            link, target = self.root / name, f"{DATA}/{name}"
            if not link.is_symlink() or str(link.readlink()) != target:
                _point(link, target)
        for each in self.root.iterdir():
            ours = each.is_symlink() and each.readlink().parts[:1] == (DATA,)
            if ours and each.name not in files:
                each.unlink()


def refuse_name(key: str) -> None:
    """Raise NoFileName for a key that would lead out of the directory, or hide in it."""
    if not key or key.startswith("..") or "/" in key or "\0" in key:
        raise NoFileName(f"the key {key!r} cannot be a file's name")


def _point(link: Path, target: str) -> None:
    """Make or replace a link in one step."""
    temporary = link.with_name(f"{link.name}_tmp" if link.name == DATA else f"..{link.name}_tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(link)


def _variable(key: str) -> str:
    """The key as the name of a variable: upper case, `_` for what names cannot have."""
    name = "".join(char if char.isalnum() else "_" for char in key.upper())
    return f"_{name}" if name[0].isdigit() else name


def _quoted(text: str) -> str:
    """The text as shells take it, and readers of dotenv too unless it has apostrophes among other quotes."""
    if "'" in text and not set(text) & set('"\\$`'):
        return f'"{text}"'
    return "'" + text.replace("'", "'\\''") + "'"
