"""What IAM decides: the policy documents of manifests/aws, as far as they go, and what recorded calls ask of them.

An operator or an element of a document that is not known here is an error, never a
condition that holds.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.aws import REGION
from harness.recorder import Call

DOCUMENTS = Path(__file__).resolve().parents[2] / "manifests" / "aws"
ACCOUNT = "123456789012"
TABLE = "tenant-config"
PATH = "/tenant-config"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/tenantconfig-tenant"
PLACEHOLDERS = {
    "PARTITION": "aws",
    "REGION": REGION,
    "ACCOUNT_ID": ACCOUNT,
    "TABLE_NAME": TABLE,
    "PATH_PREFIX": PATH,
    "KMS_KEY_ID": KEY.rpartition("/")[2],
    "CONTROLLER_ROLE_NAME": "tenantconfig-controller",
    "TENANT_ROLE_NAME": ROLE.rpartition("/")[2],
}
PLACEHOLDER = re.compile(r"\$\{([A-Z_]+)\}")
VARIABLE = re.compile(r"\$\{([^}]+)\}")
ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}

Document = Mapping[str, Any]
Values = tuple[str, ...]


def text(name: str, **values: str) -> str:
    """A document of manifests/aws with its placeholders filled in."""
    known = {**PLACEHOLDERS, **values}
    return PLACEHOLDER.sub(lambda found: known[found[1]], (DOCUMENTS / name).read_text())


def document(name: str, **values: str) -> Document:
    found: Document = json.loads(text(name, **values))
    return found


@dataclass(frozen=True, slots=True)
class Request:
    """What IAM is asked: an action on a resource, and the condition keys that the service tells."""

    action: str
    resource: str
    context: Mapping[str, Values] = field(default_factory=dict)

    def by(self, **tags: str) -> "Request":
        """The same of a principal with these tags."""
        return Request(
            self.action, self.resource, {**self.context, **{f"aws:PrincipalTag/{k}": (v,) for k, v in tags.items()}}
        )


def allows(policy: Document, request: Request) -> bool:
    """Whether the policy allows the request, were it the only one."""
    effects = {each["Effect"] for each in policy["Statement"] if _matches(each, request)}
    return effects == {"Allow"}


def actions(policy: Document) -> set[str]:
    """Every action that the document names."""
    return {action for each in policy["Statement"] for action in _several(each["Action"])}


def _matches(statement: Mapping[str, Any], request: Request) -> bool:
    assert statement.keys() <= ELEMENTS, f"unknown elements: {statement.keys() - ELEMENTS}"
    resources = _several(statement.get("Resource", "*"))  # a trust policy names none
    return (
        any(_like(action.lower(), request.action.lower(), {}) for action in _several(statement["Action"]))
        and any(_like(resource, request.resource, request.context) for resource in resources)
        and all(
            _holds(operator, request.context.get(key, ()), _several(wanted), request.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    )


def _holds(operator: str, present: Values, wanted: Iterable[str], context: Mapping[str, Values]) -> bool:
    if operator == "Null":
        return [str(not present).lower()] == list(wanted)
    quantifier, _, comparison = operator.rpartition(":")

    def fits(value: str) -> bool:
        return any(_compares(comparison, pattern, value, context) for pattern in wanted)

    if quantifier == "ForAllValues":
        return all(map(fits, present))  # as in AWS: it holds where there is no value at all
    assert not quantifier, f"unknown operator: {operator}"
    return len(present) == 1 and fits(present[0])


def _compares(comparison: str, pattern: str, value: str, context: Mapping[str, Values]) -> bool:
    if comparison == "StringEquals":
        return _like(pattern, value, context, wildcards=False)
    assert comparison == "StringLike", f"unknown operator: {comparison}"
    return _like(pattern, value, context)


def _like(pattern: str, value: str, context: Mapping[str, Values], *, wildcards: bool = True) -> bool:
    """Whether `value` is as `pattern` says. What a variable stands for is literal; without a value nothing matches."""
    expression = ""
    for index, part in enumerate(VARIABLE.split(pattern)):
        if index % 2:
            if part not in context:
                return False
            (part,) = context[part]
        escaped = re.escape(part)
        if wildcards and not index % 2:
            escaped = escaped.replace(r"\*", ".*").replace(r"\?", ".")
        expression += escaped
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _several(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# What a call asks for


def table(name: str = TABLE) -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"


def parameter(name: str) -> str:
    return f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{name}"


def on_items(action: str, *tenants: str, name: str = TABLE) -> Request:
    return Request(f"dynamodb:{action}", table(name), {"dynamodb:LeadingKeys": tuple(f"TENANT#{t}" for t in tenants)})


def on_parameter(action: str, name: str) -> Request:
    return Request(f"ssm:{action}", parameter(name))


def with_key(action: str, name: str) -> Request:
    """What SSM asks of KMS, in the caller's name, for a SecureString."""
    context = {
        "kms:ViaService": (f"ssm.{REGION}.amazonaws.com",),
        "kms:EncryptionContext:PARAMETER_ARN": (parameter(name),),
    }
    return Request(f"kms:{action}", KEY, context)


def asked(call: Call) -> list[Request]:
    """What IAM is asked for a recorded call. Every parameter that is read may be a SecureString."""
    if call.service.startswith("DynamoDB"):
        return list(_of_items(call.operation, call.parameters))
    if call.service == "AmazonSSM":
        return list(_of_parameters(call.operation, call.parameters))
    assert call.operation == "AssumeRole", f"nobody has said what {call.operation} asks for"
    return list(_of_session(call))


def _of_items(operation: str, told: Mapping[str, Any]) -> Iterator[Request]:
    if operation == "TransactWriteItems":  # is no action of its own
        for each in told["TransactItems"]:
            ((kind, what),) = each.items()
            yield on_items(f"{kind}Item", _tenant(what.get("Item") or what["Key"]), name=what["TableName"])
    elif operation == "BatchGetItem":
        for name, wanted in told["RequestItems"].items():
            yield on_items(operation, *map(_tenant, wanted["Keys"]), name=name)
    else:
        yield on_items(operation, _tenant(told["Key"]), name=told["TableName"])


def _of_parameters(operation: str, told: Mapping[str, Any]) -> Iterator[Request]:
    names = told.get("Names") or [next(told[name] for name in ("Name", "Path", "ResourceId") if name in told)]
    for name in names:
        yield on_parameter(operation, name)
        if "ResourceId" in told:
            yield on_parameter(operation, f"/{name}")  # how AWS words it when it refuses
        if told.get("Tags") and "Name" in told:
            yield on_parameter("AddTagsToResource", name)
            yield on_parameter("AddTagsToResource", f"/{name}")
        if told.get("WithDecryption"):
            yield with_key("Decrypt", f"{name}/key" if "Path" in told else name)
        if told.get("Type") == "SecureString":
            yield with_key("Encrypt" if told["Tier"] == "Standard" else "GenerateDataKey", name)


def _of_session(call: Call) -> Iterator[Request]:
    tags = session_tags(call)
    context = {f"aws:RequestTag/{key}": (value,) for key, value in tags.items()} | {"aws:TagKeys": (*tags,)}
    for action in ("AssumeRole", "TagSession") if tags else ("AssumeRole",):
        yield Request(f"sts:{action}", call.parameters["RoleArn"], context)


def session_tags(call: Call) -> dict[str, str]:
    """The tags that an AssumeRole asks for."""
    told = call.parameters
    keys = [name for name in told if re.fullmatch(r"Tags\.member\.\d+\.Key", name)]
    return {told[name]: told[f"{name.removesuffix('Key')}Value"] for name in keys}


def _tenant(item: Mapping[str, Any]) -> str:
    return str(item["pk"]["S"]).removeprefix("TENANT#")
