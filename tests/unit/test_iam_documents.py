"""The IAM documents of manifests/aws: what they allow whom, request by request, and what a linter says of them."""

import re
import sys
from collections.abc import Sequence
from importlib.resources import files
from types import ModuleType
from typing import Any

import pytest

from harness.iam import (
    ACCOUNT,
    DOCUMENTS,
    KEY,
    PATH,
    PLACEHOLDER,
    PLACEHOLDERS,
    ROLE,
    Request,
    allows,
    document,
    on_items,
    on_parameter,
    parameter,
    table,
    text,
    with_key,
)

NAMES = sorted(each.name for each in DOCUMENTS.glob("*.json"))
OURS, THEIRS = f"{PATH}/acme/prod/checkout/key", f"{PATH}/globex/prod/checkout/key"
NEIGHBOUR = f"{PATH}/acme-2/prod/checkout/key"
WITHOUT_VALUES = {"dynamodb:LeadingKeys": ()}


def scan() -> Request:
    """A Scan names no partition."""
    return Request("dynamodb:Scan", table())


def directly(action: str, name: str) -> Request:
    """KMS is called by the principal itself, past SSM."""
    context = {"kms:EncryptionContext:PARAMETER_ARN": (parameter(name),)}
    return Request(f"kms:{action}", KEY, context)


def through(service: str, name: str) -> Request:
    return Request("kms:Decrypt", KEY, {**with_key("Decrypt", name).context, "kms:ViaService": (service,)})


def session(role: str = ROLE, action: str = "AssumeRole", **tags: str) -> Request:
    context = {f"aws:RequestTag/{key}": (value,) for key, value in tags.items()} | {"aws:TagKeys": (*tags,)}
    return Request(f"sts:{action}", role, context)


READS = [on_items(action, "acme") for action in ("GetItem", "BatchGetItem", "Query")]
WRITES = [on_items(action, "acme") for action in ("PutItem", "DeleteItem")]
OTHER_WRITES = [on_items(action, "acme") for action in ("UpdateItem", "BatchWriteItem", "ConditionCheckItem")]
TABLES = [Request(f"dynamodb:{action}", table()) for action in ("DeleteTable", "UpdateTable", "DescribeTable")]
TABLES += [scan(), on_items("PartiQLSelect", "acme"), on_items("Query", "acme", name=f"{table()}/index/x")]
PARAMETER_READS = [on_parameter(action, OURS) for action in ("GetParameters", "GetParametersByPath")]
PARAMETER_WRITES = [on_parameter(action, OURS) for action in ("PutParameter", "DeleteParameters")]
TAGS = [on_parameter(f"{action}Resource", OURS) for action in ("AddTagsTo", "RemoveTagsFrom", "ListTagsFor")]
OTHER_SSM = [
    on_parameter(action, OURS)
    for action in ("GetParameterHistory", "DeleteParameter", "LabelParameterVersion", "UnlabelParameterVersion")
]
OTHER_SSM += [Request("ssm:DescribeParameters", "*"), Request("ssm:SendCommand", "*")]
KMS = [with_key(action, OURS) for action in ("Encrypt", "GenerateDataKey")]
OTHER_KMS = [
    directly("Decrypt", OURS),
    through("s3.eu-west-1.amazonaws.com", OURS),
    with_key("ScheduleKeyDeletion", OURS),
]
OTHER_KMS += [with_key("Decrypt", "/elsewhere/acme/prod/checkout/key")]
FOREIGN = [on_items(action, "globex") for action in ("GetItem", "BatchGetItem", "Query", "PutItem", "DeleteItem")]
FOREIGN += [on_items("BatchGetItem", "acme", "globex"), on_items("GetItem", "acme-2")]
FOREIGN += [
    on_parameter(action, name)
    for action in ("GetParameter", "GetParameters", "GetParametersByPath", "PutParameter", "AddTagsToResource")
    for name in (
        THEIRS,
        NEIGHBOUR,
        f"/{THEIRS}",
        PATH,
        f"{PATH}/",
        f"{PATH}/globex",
        "/elsewhere/acme/prod/checkout/key",
    )
]
FOREIGN += [with_key(action, name) for action in ("Decrypt", "Encrypt") for name in (THEIRS, NEIGHBOUR)]
ELSEWHERE = [on_items("GetItem", "acme", name="another"), on_parameter("GetParameters", "/elsewhere/acme/key")]
ELSEWHERE += [on_parameter("GetParameters", f"{PATH}-2/acme/prod/checkout/key")]
ONE_BY_ONE = [on_parameter("GetParameter", OURS)]
QUERIES = [on_items("Query", "acme")]
ROLES = [session(tenant="acme"), session(action="TagSession", tenant="acme")]


def both(*groups: Sequence[Request]) -> list[Request]:
    return [each for group in groups for each in group]


ALLOWED: dict[str, list[Request]] = {
    "controller.json": both(
        READS[:2], WRITES, PARAMETER_READS, PARAMETER_WRITES, TAGS, KMS, [with_key("Decrypt", OURS)]
    ),
    "tenant-role.json": both(
        READS[:2], WRITES, PARAMETER_READS, PARAMETER_WRITES, TAGS, KMS, [with_key("Decrypt", OURS)]
    ),
    "read-dynamodb.json": READS,
    "read-ssm.json": both(
        PARAMETER_READS, ONE_BY_ONE, [with_key("Decrypt", OURS), on_parameter("GetParametersByPath", f"{PATH}/acme")]
    ),
    "controller-assume-role.json": ROLES,
    "tenant-role-trust.json": ROLES,
}
ALL = both(
    READS,
    WRITES,
    OTHER_WRITES,
    TABLES,
    PARAMETER_READS,
    PARAMETER_WRITES,
    TAGS,
    OTHER_SSM,
    KMS,
    [with_key("Decrypt", OURS)],
    OTHER_KMS,
    ELSEWHERE,
    ONE_BY_ONE,
    ROLES,
)


def named(request: Request) -> str:
    keys = "+".join(value for values in request.context.values() for value in values)
    return f"{request.action} {request.resource.rpartition(':')[2]} {keys}".strip()


def decided(name: str, requests: list[Request]) -> list[str]:
    """The requests that a document allows a principal whose tag says acme."""
    policy = document(name)
    return [named(each) for each in requests if allows(policy, each.by(tenant="acme"))]


@pytest.mark.parametrize("name", ALLOWED)
def test_a_tenants_own_is_allowed_as_far_as_the_document_says_and_nothing_else(name: str) -> None:
    assert set(decided(name, ALL + ALLOWED[name])) == {named(each) for each in ALLOWED[name]}


@pytest.mark.parametrize("name", ["tenant-role.json", "read-dynamodb.json", "read-ssm.json"])
def test_nothing_of_another_tenant_is_allowed(name: str) -> None:
    assert decided(name, FOREIGN) == []


@pytest.mark.parametrize("name", ["tenant-role.json", "read-dynamodb.json", "read-ssm.json"])
@pytest.mark.parametrize("tags", [{}, {"tenant": ""}, {"tenant": "*"}, {"Tenant": "acme", "team": "acme"}], ids=str)
def test_a_principal_whose_tag_names_no_tenant_reads_nothing(name: str, tags: dict[str, str]) -> None:
    policy = document(name)
    assert [named(each) for each in [*ALL, *FOREIGN] if allows(policy, each.by(**tags))] == []


@pytest.mark.parametrize("name", ["tenant-role.json", "read-dynamodb.json"])
@pytest.mark.parametrize("action", ["GetItem", "Query", "BatchGetItem"])
def test_a_request_that_tells_no_partition_is_refused(name: str, action: str) -> None:
    assert not allows(document(name), Request(f"dynamodb:{action}", table(), WITHOUT_VALUES).by(tenant="acme"))


@pytest.mark.parametrize("name", ["controller-assume-role.json", "tenant-role-trust.json"])
@pytest.mark.parametrize(
    "request_",
    [
        session(),
        session(tenant=""),
        session(team="acme"),
        session(tenant="acme", admin="true"),
        session(action="TagSession", tenant="acme", admin="true"),
        session(action="SetSourceIdentity", tenant="acme"),
    ],
    ids=named,
)
def test_a_session_has_the_tag_of_a_tenant_and_no_other(name: str, request_: Request) -> None:
    assert not allows(document(name), request_)


def test_the_controller_assumes_the_one_role() -> None:
    assert not allows(document("controller-assume-role.json"), session(role=f"{ROLE}-2", tenant="acme"))
    (statement,) = document("tenant-role-trust.json")["Statement"]
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{ACCOUNT}:role/tenantconfig-controller"}


# Documents as files


def test_the_page_explains_every_placeholder_and_document() -> None:
    page = (DOCUMENTS / "README.md").read_text()
    used = {found for each in NAMES for found in PLACEHOLDER.findall((DOCUMENTS / each).read_text())}
    assert used == PLACEHOLDERS.keys()
    assert set(re.findall(r"`\$\{([A-Z_]+)\}`", page)) == used
    assert set(re.findall(r"`([a-z-]+\.json)`", page)) == set(NAMES) == ALLOWED.keys()


@pytest.fixture
def parliament(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The linter. It wants the paths of two of its own files from pkg_resources, which setuptools brings no more."""
    shim = ModuleType("pkg_resources")
    vars(shim)["resource_filename"] = lambda package, name: str(files(package) / name)
    monkeypatch.setitem(sys.modules, "pkg_resources", shim)
    import parliament

    return parliament


def findings(parliament: Any, policy: str) -> list[str]:
    return [each.issue for each in parliament.analyze_policy_string(policy, include_community_auditors=True).findings]


@pytest.mark.parametrize("name", NAMES)
def test_the_linter_has_nothing_to_say(parliament: Any, name: str) -> None:
    policy = text(name)
    if "trust" in name:  # it knows identity-based policies only
        policy = re.sub(r'"Principal": \{[^}]*\}', f'"Resource": "{ROLE}"', policy)
    # To give credentials out is what these two are for.
    assert findings(parliament, policy) == (["CREDENTIALS_EXPOSURE"] if "sts:AssumeRole" in policy else [])


def test_the_linter_would_say_something(parliament: Any) -> None:
    policy = text("controller.json")
    assert findings(parliament, policy.replace("dynamodb:GetItem", "dynamodb:GetItems"))
    assert findings(parliament, policy.replace("kms:ViaService", "kms:ViaServices"))
    assert findings(parliament, policy.replace(":table/", ":tables/"))
