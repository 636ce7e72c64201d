"""What the API server refuses of an object by its CustomResourceDefinition, without the API server. Pure.

A structural schema is a small part of OpenAPI that JSON Schema libraries read otherwise
(RE2's `$`, `exclusiveMinimum: true`, lists with keys, no unknown fields), so it is walked
here. The rules in CEL stand in Python beside their text. A keyword or a rule that is not
known here is an error: nothing is passed over in silence.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

Path = tuple[str | int, ...]
Schema = Mapping[str, Any]

TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}

# What the definitions say in CEL, and the same about a value of the right type.
RULES: Mapping[str, Callable[[Any], bool]] = {
    "[has(self.dynamodb), has(self.ssm), has(self.plugin)].exists_one(it, it)": (
        lambda self: sum(kind in self for kind in ("dynamodb", "ssm", "plugin")) == 1
    ),
    "!has(self.sessionTagKey) || has(self.assumeRoleArn)": (
        lambda self: "sessionTagKey" not in self or "assumeRoleArn" in self
    ),
    "!self.matches('^(?i:aws:)')": lambda self: not re.match(r"(?i:aws:)", self),
    "!self.matches('^/(?i:aws|ssm)')": lambda self: not re.match(r"/(?i:aws|ssm)", self),
    "!(has(self.valueFrom) && has(self.policy) && self.policy == 'Observe')": (
        lambda self: not ("valueFrom" in self and self.get("policy") == "Observe")
    ),
}
OF_A_CHANGE = "oldSelf"  # in a rule: it says nothing of an object alone

DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
FREE: Schema = {"x-kubernetes-preserve-unknown-fields": True}
# What definitions leave to the API server, in the same terms.
METADATA: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 253, "pattern": rf"^{DNS_LABEL}(\.{DNS_LABEL})*$"},
        "generateName": {"type": "string"},
        "namespace": {"type": "string", "maxLength": 63, "pattern": f"^{DNS_LABEL}$"},
        "labels": {
            "type": "object",
            "additionalProperties": {
                "type": "string",
                "maxLength": 63,
                "pattern": "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
            },
        },
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
        **dict.fromkeys(
            [
                *("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generation"),
                *("managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid"),
            ],
            FREE,
        ),
    },
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong at a field."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class Definition:
    """The kind of object that a CustomResourceDefinition defines."""

    kind: str
    api_version: str
    schema: Schema

    @classmethod
    def of(cls, crd: Mapping[str, Any]) -> "Definition":
        """The served version of a CustomResourceDefinition, but for the status: only the controller writes that."""
        spec = crd["spec"]
        (version,) = (each for each in spec["versions"] if each["served"])
        schema = version["schema"]["openAPIV3Schema"]
        properties = {**schema["properties"], "metadata": METADATA, "status": FREE}
        return cls(
            kind=spec["names"]["kind"],
            api_version=f"{spec['group']}/{version['name']}",
            schema={**schema, "properties": properties},
        )

    def check(self, body: Mapping[str, Any]) -> list[Finding]:
        """All that is wrong with an object of this kind, as it is `kept`."""
        findings = list(check(self.schema, body))
        metadata = body.get("metadata")
        if metadata is None or (isinstance(metadata, dict) and not metadata.keys() & {"name", "generateName"}):
            findings.append(Finding(("metadata", "name"), "is required"))
        return findings


def kept(schema: Schema, value: Any) -> Any:
    """`value` as the API server reads it: a field that says null, and may not, is as good as absent."""
    if isinstance(value, list) and "items" in schema:
        return [kept(schema["items"], each) for each in value]
    if not isinstance(value, dict):
        return value
    known = schema.get("properties", {})
    fields = ((name, content, known.get(name, {})) for name, content in value.items())
    return {
        name: kept(part, content)
        for name, content, part in fields
        if content is not None or "type" not in part or part.get("nullable")
    }


def check(schema: Schema, value: Any, path: Path = ()) -> Iterator[Finding]:
    """All that `schema` refuses in `value`. Raises NotImplementedError for a keyword or rule that is not known here."""
    if unknown := schema.keys() - KEYWORDS:
        raise NotImplementedError(f"the definition uses {', '.join(sorted(unknown))}")
    if "type" not in schema or (value is None and schema.get("nullable")):
        return
    if wrong := _type(schema["type"], value):
        yield Finding(path, wrong)
        return
    for name, judge in _LIMITS.items():
        if name in schema and (beyond := judge(schema, value)):
            yield Finding(path, beyond)
    if isinstance(value, dict):
        yield from _fields(schema, value, path)
    if isinstance(value, list):
        yield from _items(schema, value, path)
    yield from _rules(schema, value, path)


def _fields(schema: Schema, value: Mapping[str, Any], path: Path) -> Iterator[Finding]:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            yield Finding((*path, name), "is required")
    for name, content in value.items():
        if name in known or "additionalProperties" in schema:
            yield from check(known.get(name) or schema["additionalProperties"], content, (*path, name))
        elif not schema.get("x-kubernetes-preserve-unknown-fields"):
            close = get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
            yield Finding((*path, name), f"is no field: {hint}")


def _items(schema: Schema, value: list[Any], path: Path) -> Iterator[Finding]:
    keys = schema.get("x-kubernetes-list-map-keys")
    unique = schema.get("x-kubernetes-list-type") in ("map", "set")
    known: dict[str, int] = {}
    for index, item in enumerate(value):
        yield from check(schema["items"], item, (*path, index))
        if not unique:
            continue
        identity = repr([item.get(key) for key in keys] if keys and isinstance(item, dict) else item)
        if (first := known.setdefault(identity, index)) != index:
            same = f"has the same {' and '.join(keys)} as" if keys else "is the same as"
            yield Finding((*path, index), f"{same} {rendered((*path, first))}: remove one of the two")


def _rules(schema: Schema, value: Any, path: Path) -> Iterator[Finding]:
    for each in schema.get("x-kubernetes-validations", ()):
        rule = " ".join(each["rule"].split())
        if OF_A_CHANGE in rule:
            continue
        if rule not in RULES:
            raise NotImplementedError(f"the definition has the rule {rule}")
        if not RULES[rule](value):
            field = each.get("fieldPath", "").removeprefix(".")
            yield Finding((*path, field) if field else path, each["message"])


def _type(wanted: str, value: Any) -> str:
    is_bool = isinstance(value, bool)
    if isinstance(value, TYPES[wanted]) and (wanted == "boolean" or not is_bool):
        return ""
    found = next((name for name, types in TYPES.items() if isinstance(value, types)), "null")
    quote = ": quote it" if wanted == "string" and found in {"boolean", "integer", "number"} else ""
    return f"is {found}, and must be {wanted}{quote}"


def _enum(schema: Schema, value: Any) -> str:
    return "" if value in schema["enum"] else f"must be one of {', '.join(schema['enum'])}"


def _pattern(schema: Schema, value: str) -> str:
    pattern = schema["pattern"]
    ended = f"{pattern[:-1]}\\Z" if pattern.endswith("$") else pattern  # Python's `$` lets a new line follow
    return "" if re.search(ended, value) else f"does not match {pattern}"


def _length(name: str, what: str) -> Callable[[Schema, Any], str]:
    least = name.startswith("min")

    def judge(schema: Schema, value: Any) -> str:
        size, limit = len(value), schema[name]
        good = size >= limit if least else size <= limit
        return "" if good else f"has {size} {what}, {'less' if least else 'more'} than {limit}"

    return judge


def _minimum(schema: Schema, value: float) -> str:
    exclusive, least = schema.get("exclusiveMinimum", False), schema["minimum"]
    if value < least or (exclusive and value == least):
        return f"must be {'more than' if exclusive else 'at least'} {least}"
    return ""


_LIMITS: Mapping[str, Callable[[Schema, Any], str]] = {
    "enum": _enum,
    "pattern": _pattern,
    "minLength": _length("minLength", "characters"),
    "maxLength": _length("maxLength", "characters"),
    "minItems": _length("minItems", "items"),
    "maxItems": _length("maxItems", "items"),
    "minimum": _minimum,
}
KEYWORDS = {
    *_LIMITS,
    *("type", "nullable", "properties", "additionalProperties", "required", "items", "exclusiveMinimum"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations"),
    *("x-kubernetes-preserve-unknown-fields", "description"),
}


def rendered(path: Path) -> str:
    """A path as Kubernetes writes it: spec.entries[0].key."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
