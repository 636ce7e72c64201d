"""From the text of a manifest to its documents, as kubectl reads it. Pure.

What comes out is JSON: what JSON cannot say (NaN, a date, half a character) is refused
here, with its line. So is a key that stands twice in a mapping, of which kubectl takes
the last without a word. No message repeats what stands in the text: it may be a secret.
"""

import json
import re
import sys
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import yaml

try:
    from yaml import CSafeLoader as YamlLoader
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as YamlLoader  # type: ignore[assignment]

MAX_CHARACTERS = 64 * 1024 * 1024  # of a document, its aliases written out: a small text can stand for more than fits


@dataclass(frozen=True, slots=True)
class Document:
    """An object of a manifest, and the file that it is from."""

    file: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Broken:
    """A text that is no manifest, from this line on."""

    file: str
    line: int
    message: str


class _Refused(Exception):
    """A document that JSON cannot hold."""


def documents(file: str, text: str) -> Iterator[Document | Broken]:
    """The objects in a text of YAML or JSON, those of Lists one by one; the last may be what is wrong with it."""
    line = 1
    try:
        for line, content in _parsed(file, text):  # noqa: B007  it is where a document that is refused begins
            yield from (Document(file, body) for body in _objects(_json(content)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        yield Broken(file, mark.line + 1 if mark else line, f"is not YAML: {_unquoted(error.problem or '')}")
    except yaml.reader.ReaderError as error:
        yield Broken(file, text.count("\n", 0, error.position) + 1, "has a character that YAML does not take")
    except json.JSONDecodeError as error:
        yield Broken(file, error.lineno, f"is not JSON: {error.msg}")
    except RecursionError:
        yield Broken(file, line, "is nested too deeply")
    except ValueError:
        yield Broken(file, line, "has a number that is too long to be read")
    except _Refused as error:
        yield Broken(file, line, str(error))


def _parsed(file: str, text: str) -> Iterator[tuple[int, Any]]:
    """Each document with the line where it begins."""
    if file.endswith(".json") or text.lstrip().startswith("{"):
        try:
            content = json.loads(text, object_pairs_hook=_unique)
        except json.JSONDecodeError:
            if file.endswith(".json"):
                raise
        else:
            yield 1, content
            return
    _refuse_deep(text)
    loader = _Loader(text)
    try:
        while loader.check_node() and (node := loader.get_node()):
            yield node.start_mark.line + 1, loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_deep(text: str) -> None:
    """Raises RecursionError where libyaml's loader, which recurs in C, would end the process."""
    if sum(map(text.count, "[{-?")) < sys.getrecursionlimit():
        return
    depth = 0
    for event in yaml.parse(text, Loader=YamlLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > sys.getrecursionlimit():
            raise RecursionError


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("has the same key twice in one object")
    return found


def repeated(node: yaml.MappingNode) -> yaml.ScalarNode | None:
    """The first key that stands in a mapping for the second time."""
    known: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in known:
                return key
            known.add((key.tag, key.value))
    return None


class _Loader(YamlLoader):
    """YAML 1.1 as kubectl's library reads it: no dates, no base 60, and no key twice in a mapping."""

    bool_values: ClassVar = {**yaml.SafeLoader.bool_values, "y": True, "n": False}

    def construct_document(self, node: yaml.Node) -> Any:
        self._judged: set[int] = set()  # by id: nodes live as long as their document
        return super().construct_document(node)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Comes first to every mapping, and adds what it merges: only then keys may be there twice."""
        if id(node) not in self._judged:
            self._judged.add(id(node))
            if key := repeated(node):
                raise yaml.constructor.ConstructorError(None, None, "the same key twice in one mapping", key.start_mark)
        super().flatten_mapping(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """With keys as JSON has them: 1 and yes are texts then, and not one and the same."""
        self.flatten_mapping(node)
        return {self._key(key): self.construct_object(value, deep=deep) for key, value in node.value}

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key that is no text", node.start_mark)
        key = self.construct_object(node)
        return key if isinstance(key, str) else json.dumps(key, default=str)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", list("yYnNtTfFoO")),
    ("int", r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0o?[0-7_]*|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


def _json(content: Any) -> Any:
    """`content`, if it is JSON."""
    if _size(content, {}) > MAX_CHARACTERS:
        raise _Refused("is larger than anything that the API server takes, its aliases written out")
    try:
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _Refused("has half of a surrogate pair in a text: write the character itself") from None
    except (TypeError, ValueError):
        raise _Refused("has what JSON cannot hold (.nan, .inf, a tag, an alias of itself): quote it") from None
    return content


def _size(content: Any, known: dict[int, int]) -> int:
    """Characters, about; what several aliases stand for is counted once for each, but looked at once."""
    if isinstance(content, str):
        return len(content)
    if not isinstance(content, dict | list):
        return 1
    if id(content) not in known:
        known[id(content)] = 1  # for an alias within itself
        parts = [*content.keys(), *content.values()] if isinstance(content, dict) else content
        known[id(content)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(content)]


def _objects(content: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in a document; what is none (a list of something, an empty document) is nobody's."""
    if not isinstance(content, dict):
        return
    if str(content.get("kind", "")).endswith("List") and isinstance(content.get("items"), list):
        for item in content["items"]:
            yield from _objects(item)
    else:
        yield content


def _unquoted(problem: str) -> str:
    """A YAML library's message up to the first piece of the text that it quotes, single characters left aside."""
    return re.sub(r"""\s["'](?!.["'](?:[\s,]|\Z)).*""", "", problem, flags=re.DOTALL)
