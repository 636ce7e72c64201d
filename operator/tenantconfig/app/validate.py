"""The command `validate`: reads files, prints problems to stdout and the count to stderr."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import yaml

from tenantconfig.manifests import Broken, Document, documents
from tenantconfig.schema import Definition
from tenantconfig.settings import SettingsInvalid
from tenantconfig.validation import Report, validate

STDIN = "-"
SUFFIXES = {".yaml", ".yml", ".json"}


def run(filenames: Iterable[str], stores: Iterable[str], output: str) -> int:
    """Judge what is in the files and directories; the exit code: 1 for problems.

    Raises SettingsInvalid for a file that cannot be read.
    """
    files = _files("--filename", filenames)
    more = [each for each in _files("--stores", stores) if each not in files]
    report = validate(_read("--filename", files), definitions(), _read("--stores", more))
    _print(report, output, len(files) + len(more))
    return 1 if report.problems else 0


def definitions() -> list[Definition]:
    """The CustomResourceDefinitions of this distribution."""
    crds = resources.files("tenantconfig") / "crds"
    files = (each for each in crds.iterdir() if each.name.endswith(".yaml"))
    return [Definition.of(yaml.safe_load(each.read_text(encoding="utf-8"))) for each in files]


def _files(flag: str, names: Iterable[str]) -> list[str]:
    """The files that are named, or in a directory that is; each once."""
    found: dict[str, None] = {}
    for name in names:
        if not Path(name).is_dir():
            found[name] = None
            continue
        inside = sorted(each for each in Path(name).rglob("*") if each.suffix in SUFFIXES and each.is_file())
        if not inside:
            raise SettingsInvalid(f"{flag}: {name} has no file *.yaml, *.yml or *.json")
        found |= dict.fromkeys(map(str, inside))
    return list(found)


def _read(flag: str, files: Iterable[str]) -> Iterator[Document | Broken]:
    for file in files:
        try:
            content = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        except OSError as error:
            raise SettingsInvalid(f"{flag}: {file} cannot be read: {error.strerror}") from None
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            yield Broken(file, content.count(b"\n", 0, error.start) + 1, "is not UTF-8 text")
        else:
            yield from documents(file, text)


def _print(report: Report, output: str, files: int) -> None:
    if output == "json":
        print(json.dumps(asdict(report), ensure_ascii=False))
    elif output == "yaml":
        print(yaml.safe_dump(asdict(report), sort_keys=False, allow_unicode=True), end="")
    else:
        for problem in report.problems:
            print(problem)
    sys.stdout.flush()
    for note in report.notes:
        print(f"tenantconfig: {note}", file=sys.stderr)
    others = f", {_counted(report.others, 'other object')} ignored" if report.others else ""
    summary = f"{_counted(report.resources, 'resource')} in {_counted(files, 'file')}"
    print(f"{summary}: {_counted(len(report.problems), 'problem')}{others}", file=sys.stderr)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
