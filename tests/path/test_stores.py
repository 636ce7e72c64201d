"""What the stores hold, and whose it is: policies, owners, deletion, moves, sensitive values, requests per second."""

import base64
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from harness import cluster
from harness.api import Object
from harness.aws import create_table
from harness.system import TABLE, System, condition, is_ready
from harness.wait import wait_for
from path.test_controller import (
    ENTRIES,
    MAX,
    STORED,
    URL,
    applied,
    configmap,
    digest,
    gone,
    in_stores,
    parameter_names,
    quiet,
    ready,
    source_secret,
    tenant_config,
)
from path.test_hazards import remove, stalled_for, value_at, written

pytestmark = pytest.mark.timeout(300)  # AWS's rest after a deletion and slow ConfigStores are waited for

BOTH = pytest.mark.parametrize("key", [MAX, URL], ids=["dynamodb", "ssm"])
OTHER = "param_config_other"
API_KEY = "param_config_api_key"
OWNER = "tenantconfig.dev/owner"
ADOPT = "tenantconfig.dev/adopt"
FINALIZER = "tenantconfig.dev/finalizer"
LONG = 150.0  # seconds: for what rests in AWS, or waits for its turn

DYNAMODB_OPERATIONS = {"BatchGetItem", "TransactWriteItems"}

NewStore = Callable[..., Object]


@pytest.fixture(autouse=True)
def new_store(system: System, tenant: str) -> Iterator[NewStore]:
    """Makes ConfigStores, `new_store(name, **spec)`. After a test they and its resources are gone, whatever happened.

    A ConfigStore that is not Ready, or a resource that is tried again and again, would disturb other tests.
    """
    made: list[Object] = []

    def make(name: str, **spec: Any) -> Object:
        store = cluster.config_store(f"{name}-{tenant}", **spec)
        system.admin.create(store)
        made.append(store)
        return store

    yield make
    system.reset()
    assert system.controller
    if not system.controller.running:
        system.start_controller()
    left = [*resources_of(system, tenant), *(store for store in made if system.admin.exists(store))]
    for body in left:
        if system.admin.exists(body):
            system.admin.delete(body)
    for body in left:
        wait_for(lambda body=body: not system.admin.exists(body), "tidied up", LONG)  # type: ignore[misc]


def resources_of(system: System, tenant: str) -> list[Object]:
    """The TenantConfigs in a test's namespaces."""
    listed = system.admin.request("GET", "/apis/tenantconfig.dev/v1alpha1/tenantconfigs")["items"]
    kind = {"apiVersion": "tenantconfig.dev/v1alpha1", "kind": "TenantConfig"}
    return [kind | each for each in listed if f"{each['metadata']['namespace']}-".startswith(f"{tenant}-")]


# What a test says


def enforce(key: str, value: object) -> Object:
    return {"key": key, "value": value}


def seed(key: str, value: object) -> Object:
    return {"key": key, "value": value, "policy": "Seed"}


def observe(key: str) -> Object:
    return {"key": key, "policy": "Observe"}


def from_secret(key: str) -> Object:
    return {"key": key, "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}}


def of(tenant: str, *entries: Object, name: str = "test", **spec: object) -> Object:
    return cluster.tenant_config(tenant, name, tenantId=tenant, environment="prod", entries=list(entries), **spec)


def parameter(tenant: str, key: str) -> str:
    return f"/tenant-config/{tenant}/prod/_/{key}"


# What others do


def write(system: System, tenant: str, key: str, text: str, kind: str = "String", **more: Any) -> None:
    """Someone puts a value where `key` belongs, past the operator."""
    if key.startswith("param_"):
        name, overwrite = parameter(tenant, key), not more  # AWS takes tags at creation alone
        system.parameters.put_parameter(Name=name, Value=text, Type=kind, Overwrite=overwrite, **more)
        return
    system.table.update_item(
        TableName=TABLE,
        Key={"pk": {"S": f"TENANT#{tenant}"}, "sk": {"S": f"CONFIG#prod#_#{key}"}},
        UpdateExpression="SET #key = :key, #value = :value",
        ExpressionAttributeNames={"#key": "key", "#value": "value"},
        ExpressionAttributeValues={":key": {"S": key}, ":value": {"S": text}},
    )


def break_down(system: System, *operations: str, code: str = "InternalServerError", status: int = 500) -> None:
    """Have operations fail until the next `system.reset()`."""
    for operation in operations:
        store = (system.dynamodb or system.aws) if operation in DYNAMODB_OPERATIONS else system.aws
        store.fail(operation, code, status=status, times=100_000)


def adopt(system: System, body: Object, message: str) -> None:
    """Annotate a resource with exactly what a message asks for."""
    asked = re.search(rf'{re.escape(ADOPT)}: "([^"]+)"', message)
    assert asked, message
    system.admin.patch(body, {"metadata": {"annotations": {ADOPT: asked[1]}}})


# What there is


def owner(system: System, tenant: str, key: str) -> str:
    """Whose a value is, as its store records it; empty: nobody's."""
    if key.startswith("param_"):
        answer = system.parameters.list_tags_for_resource(ResourceType="Parameter", ResourceId=parameter(tenant, key))
        return next((tag["Value"] for tag in answer["TagList"] if tag["Key"] == OWNER), "")
    head: Any = system.items(tenant).get("HEAD#prod#_", {})
    return str(head["owner"]["S"]) if key in head.get("entries", {}).get("SS", ()) else ""


def standing(body: Object) -> dict[str, tuple[str, str, str]]:
    """Policy, state and version of each entry, by key, as the status has them."""
    entries = body["status"]["entries"]
    return {each["key"]: (each["policy"], each["state"], each.get("version", "")) for each in entries}


def projected(system: System, tenant: str, name: str = "test") -> dict[str, str]:
    return dict(system.admin.get(configmap(tenant, name)).get("data", {}))


def projected_secret(tenant: str, name: str = "test") -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": tenant, "name": name}}


def secrets(system: System, tenant: str) -> dict[str, str]:
    """What the projected Secret holds, decoded; empty when there is none."""
    body = projected_secret(tenant)
    data = system.admin.get(body).get("data", {}) if system.admin.exists(body) else {}
    return {key: base64.b64decode(text).decode() for key, text in data.items()}


def told(system: System, body: Object, kind: str, reason: str) -> dict[str, Any]:
    """The condition as soon as it is there with this reason, for the present generation."""

    def check() -> dict[str, Any]:
        found = system.admin.get(body)
        has = condition(found, kind)
        assert has, found.get("status")
        assert (has["reason"], has["observedGeneration"]) == (reason, found["metadata"]["generation"]), has
        return has

    return wait_for(check, f"{kind}: {reason}")


def in_time_ready(system: System, body: Object) -> Object:
    """The resource once it is Ready, with the patience that AWS asks for."""
    wait_for(lambda: is_ready(system.admin.get(body)), "Ready", LONG)
    return system.admin.get(body)


# Policies


def test_three_policies_over_both_stores_show_what_the_stores_hold(system: System, tenant: str) -> None:
    prefixes = ("tenant_config_", "param_config_")
    for text in ("first", "theirs"):
        for prefix in prefixes:
            write(system, tenant, f"{prefix}seen", text)
    entries = [[enforce(f"{each}ours", 1), seed(f"{each}seed", "first"), observe(f"{each}seen")] for each in prefixes]
    absent = [observe(f"{each}absent") for each in prefixes]
    body = of(tenant, *entries[0], *entries[1], *absent)
    system.admin.apply(body)
    message = told(system, body, "Ready", "Missing")["message"]

    found = system.admin.get(body)
    assert standing(found) == {
        "tenant_config_ours": ("Enforce", "Synced", "1"),
        "tenant_config_seed": ("Seed", "Synced", "1"),
        "tenant_config_seen": ("Observe", "Synced", "~4c55a855"),  # others do not count as we do
        "tenant_config_absent": ("Observe", "Missing", ""),
        "param_config_ours": ("Enforce", "Synced", "1"),
        "param_config_seed": ("Seed", "Synced", "1"),
        "param_config_seen": ("Observe", "Synced", "2"),
        "param_config_absent": ("Observe", "Missing", ""),
    }
    assert "tenant_config_absent" in message
    assert "param_config_absent" in message
    for kind, status in (("Ready", "False"), ("StoresSynced", "True"), ("Projected", "True")):
        assert condition(found, kind)["status"] == status
    assert not condition(found, "Stalled")
    held = {f"{prefix}{name}": text for prefix in prefixes for name, text in HELD.items()}
    assert in_stores(system, tenant) == held
    assert projected(system, tenant) == held
    assert found["status"]["digest"] == digest(held)


HELD = {"ours": "1", "seed": "first", "seen": "theirs"}


@BOTH
def test_an_observed_key_is_projected_once_it_appears_and_no_longer_once_it_is_gone(
    system: System, tenant: str, key: str
) -> None:
    body = of(tenant, observe(key), enforce(OTHER, 1))
    system.admin.apply(body)
    told(system, body, "Ready", "Missing")
    write(system, tenant, key, "theirs")
    in_time_ready(system, body)  # nobody edits the resource: it is looked for again
    assert projected(system, tenant) == {key: "theirs", OTHER: "1"}

    if key == URL:
        system.parameters.delete_parameter(Name=parameter(tenant, key))
    else:
        system.table.delete_item(TableName=TABLE, Key={name: system.items(tenant)[key][name] for name in ("pk", "sk")})
    system.admin.apply(of(tenant, observe(key), enforce(OTHER, 2)))
    told(system, body, "Ready", "Missing")
    assert projected(system, tenant) == {OTHER: "2"}


@BOTH
def test_an_observed_value_is_enforced_only_once_it_is_adopted(system: System, tenant: str, key: str) -> None:
    write(system, tenant, key, "theirs")
    body = of(tenant, observe(key))
    first = applied(system, body)
    assert projected(system, tenant) == {key: "theirs"}

    system.admin.apply(of(tenant, enforce(key, "ours")))
    message = stalled_for(system, body, "NotOwned")["message"]
    assert key in message
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "theirs"}
    assert system.admin.get(body)["status"]["revision"] == first["status"]["revision"]

    adopt(system, body, message)
    ready(system, body)
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "ours"}
    assert owner(system, tenant, key).endswith(first["metadata"]["uid"])
    remove(system, body)
    assert in_stores(system, tenant) == {}


@BOTH
def test_a_seed_that_becomes_enforced_takes_the_resources_value(system: System, tenant: str, key: str) -> None:
    applied(system, of(tenant, seed(key, "first")))
    write(system, tenant, key, "theirs")
    body = applied(system, of(tenant, enforce(key, "ours")))
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "ours"}
    assert standing(body)[key] == ("Enforce", "Synced", "3" if key == URL else "2")
    remove(system, body)
    assert in_stores(system, tenant) == {}


@BOTH
def test_a_seed_that_was_there_before_becomes_enforced_only_once_it_is_adopted(
    system: System, tenant: str, key: str
) -> None:
    write(system, tenant, key, "theirs")
    body = of(tenant, seed(key, "first"))
    applied(system, body)
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "theirs"}
    assert owner(system, tenant, key) == ""

    system.admin.apply(of(tenant, enforce(key, "ours")))
    message = stalled_for(system, body, "NotOwned")["message"]
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "theirs"}
    adopt(system, body, message)
    ready(system, body)
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "ours"}


@BOTH
def test_an_enforced_value_that_becomes_a_seed_is_the_stores_from_then_on(
    system: System, tenant: str, key: str
) -> None:
    applied(system, of(tenant, enforce(key, "ours")))
    applied(system, of(tenant, seed(key, "another")))
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "ours"}
    write(system, tenant, key, "theirs")
    body = applied(system, of(tenant, seed(key, "a third")))
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "theirs"}
    remove(system, body)
    assert in_stores(system, tenant) == {key: "theirs"}
    assert owner(system, tenant, key) == ""


@BOTH
def test_an_enforced_value_that_becomes_observed_is_not_ours_any_more(system: System, tenant: str, key: str) -> None:
    body = applied(system, of(tenant, enforce(key, "ours"), enforce(OTHER, 1)))
    assert owner(system, tenant, key).endswith(body["metadata"]["uid"])
    applied(system, of(tenant, observe(key), enforce(OTHER, 1)))
    assert owner(system, tenant, key) == ""
    assert projected(system, tenant) == {key: "ours", OTHER: "1"}

    write(system, tenant, key, "theirs")
    applied(system, of(tenant, observe(key), enforce(OTHER, 2)))
    assert projected(system, tenant) == {key: "theirs", OTHER: "2"}
    remove(system, body)
    assert in_stores(system, tenant) == {key: "theirs"}


@pytest.mark.parametrize("whole", [False, True], ids=["the entries", "the resource"])
def test_seeds_that_others_changed_are_projected_and_outlive(system: System, tenant: str, whole: bool) -> None:
    seeds = [seed(MAX, "first"), seed(URL, "first")]
    applied(system, of(tenant, *seeds, enforce(OTHER, 1)))
    write(system, tenant, MAX, "their own")
    write(system, tenant, URL, "their own too")
    body = applied(system, of(tenant, *seeds, enforce(OTHER, 2)))
    theirs = {MAX: "their own", URL: "their own too"}
    assert projected(system, tenant) == theirs | {OTHER: "2"}
    assert standing(body)[URL] == ("Seed", "Synced", "2")

    if whole:
        remove(system, body)
        assert in_stores(system, tenant) == theirs
    else:
        applied(system, of(tenant, enforce(OTHER, 2)))
        assert in_stores(system, tenant) == theirs | {OTHER: "2"}
        assert projected(system, tenant) == {OTHER: "2"}
    assert owner(system, tenant, MAX) == owner(system, tenant, URL) == ""


@BOTH
def test_a_value_that_others_changed_is_put_back_at_the_next_pass(system: System, tenant: str, key: str) -> None:
    applied(system, of(tenant, enforce(key, "ours"), enforce(OTHER, 1)))
    write(system, tenant, key, "theirs")
    body = applied(system, of(tenant, enforce(key, "ours"), enforce(OTHER, 2)))
    assert in_stores(system, tenant) == projected(system, tenant) == {key: "ours", OTHER: "2"}
    assert standing(body)[key] == ("Enforce", "Synced", "3" if key == URL else "2")
    assert owner(system, tenant, key).endswith(body["metadata"]["uid"])


@pytest.mark.parametrize(
    ("key", "former"),
    [
        (MAX, "a Seed from the first"),
        (MAX, "enforced before"),
        (URL, "a Seed from the first"),
        pytest.param(
            *(URL, "enforced before"),
            marks=pytest.mark.xfail(
                strict=True, reason="any version but the first counts as changed by others, and the value stays"
            ),
        ),
    ],
)
def test_a_seed_that_nobody_else_changed_leaves_with_its_entry(
    system: System, tenant: str, key: str, former: str
) -> None:
    if former == "enforced before":
        applied(system, of(tenant, enforce(key, "one"), enforce(OTHER, 1)))
        applied(system, of(tenant, enforce(key, "two"), enforce(OTHER, 1)))
    applied(system, of(tenant, seed(key, "three"), enforce(OTHER, 1)))
    applied(system, of(tenant, enforce(OTHER, 1)))
    assert in_stores(system, tenant) == {OTHER: "1"}


def test_versions_in_the_status_are_those_of_the_store(system: System, tenant: str) -> None:
    for number in (1, 2, 3):
        body = applied(system, of(tenant, enforce(URL, number), enforce(MAX, number), enforce(OTHER, "same")))
    for key in (URL, OTHER):
        held = system.parameter_values(tenant)[parameter(tenant, key)]
        assert standing(body)[key] == ("Enforce", "Synced", str(held["Version"]))
    assert standing(body)[URL] == ("Enforce", "Synced", "3")
    assert standing(body)[MAX] == ("Enforce", "Synced", system.items(tenant)[MAX]["revision"]["N"])


# Owners


def forget_it_ever_was(system: System, body: Object) -> None:
    """The resource goes past its finalizer, as with a cluster that is thrown away and made again from Git."""
    system.stop_controller()
    system.admin.delete(configmap(body["metadata"]["namespace"]))
    system.admin.patch(body, {"metadata": {"finalizers": None}})
    system.admin.delete(body)
    gone(system, body)


def test_a_resource_made_again_under_its_name_takes_over_the_values(system: System, tenant: str) -> None:
    former = applied(system, tenant_config(tenant, ENTRIES))
    forget_it_ever_was(system, former)
    assert in_stores(system, tenant) == STORED
    system.reset()
    system.admin.apply(tenant_config(tenant, ENTRIES))
    system.start_controller()
    body = ready(system, former)

    assert body["metadata"]["uid"] != former["metadata"]["uid"]
    assert in_stores(system, tenant) == projected(system, tenant) == STORED
    assert "DeleteParameters" not in written(system, tenant)
    for key in ENTRIES:
        assert owner(system, tenant, key).endswith(body["metadata"]["uid"])
    remove(system, body)
    assert in_stores(system, tenant) == {}
    assert system.items(tenant) == {}


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(MAX, id="dynamodb"),
        pytest.param(
            URL,
            id="ssm",
            marks=pytest.mark.xfail(
                strict=True, reason="a new resource looks through no SSM path: its former self's parameters stay"
            ),
        ),
    ],
)
def test_a_resource_made_again_under_its_name_lets_go_what_it_no_longer_names(
    system: System, tenant: str, key: str
) -> None:
    former = applied(system, of(tenant, enforce(key, 1), enforce("tenant_config_kept", 2), enforce(OTHER, 3)))
    forget_it_ever_was(system, former)
    system.admin.apply(of(tenant, enforce("tenant_config_kept", 2), enforce(OTHER, 3)))
    system.start_controller()
    ready(system, former)
    assert in_stores(system, tenant) == {"tenant_config_kept": "2", OTHER: "3"}


def test_an_orphaned_and_retained_scope_is_taken_up_again_step_by_step(system: System, tenant: str) -> None:
    body = tenant_config(tenant, ENTRIES, deletionPolicy="Retain")
    first = applied(system, body)
    system.plane.kubectl("delete", "tenantconfig", "test", "-n", tenant, "--cascade=orphan", "--wait=false")
    gone(system, body)
    assert in_stores(system, tenant) == projected(system, tenant) == STORED

    system.admin.apply(body)
    adopt(system, body, stalled_for(system, body, "NotOwned")["message"])
    message = stalled_for(system, body, "ConfigMapConflict")["message"]
    assert "delete it" in message
    assert in_stores(system, tenant) == projected(system, tenant) == STORED
    system.admin.delete(configmap(tenant))
    again = in_time_ready(system, body)
    assert in_stores(system, tenant) == projected(system, tenant) == STORED
    assert again["status"]["revision"] > first["status"]["revision"]
    for key in ENTRIES:
        assert owner(system, tenant, key).endswith(again["metadata"]["uid"])


def claim_for_another_cluster(system: System, tenant: str, *keys: str) -> str:
    """Values of a resource of the same namespace and name, in another cluster; returns their owner."""
    stranger = f"another-cluster/{tenant}/test/00000000-0000-0000-0000-000000000000"
    for key in keys:
        tags: Any = {"Tags": [{"Key": OWNER, "Value": stranger}]} if key.startswith("param_") else {}
        write(system, tenant, key, "theirs", **tags)
    if listed := [key for key in keys if not key.startswith("param_")]:
        item = {"owner": {"S": stranger}, "epoch": {"N": "7"}, "entries": {"SS": listed}}
        at = {"pk": {"S": f"TENANT#{tenant}"}, "sk": {"S": "HEAD#prod#_"}}
        system.table.put_item(TableName=TABLE, Item={**at, **item})
    return stranger


@pytest.mark.parametrize("theirs", [(MAX,), (URL,), (MAX, URL)], ids=["dynamodb", "ssm", "both"])
def test_values_of_another_cluster_are_theirs_until_they_are_adopted(
    system: System, tenant: str, theirs: tuple[str, ...]
) -> None:
    stranger = claim_for_another_cluster(system, tenant, *theirs)
    before = system.items(tenant), system.parameter_values(tenant)
    quiet(system)
    system.reset()
    body = tenant_config(tenant, ENTRIES)
    system.admin.apply(body)
    message = stalled_for(system, body, "ScopeConflict")["message"]
    assert stranger in message
    quiet(system)
    assert (system.items(tenant), system.parameter_values(tenant)) == before
    assert written(system, tenant) == []
    assert "TransactWriteItems" not in system.aws_calls()
    assert not system.admin.exists(configmap(tenant))

    adopt(system, body, message)
    found = ready(system, body)
    assert in_stores(system, tenant) == projected(system, tenant) == STORED
    for key in ENTRIES:
        assert owner(system, tenant, key).endswith(found["metadata"]["uid"])
    remove(system, body)
    assert in_stores(system, tenant) == {}


# Deletion


@pytest.mark.parametrize(
    ("operation", "key", "place"),
    [
        ("GetParameters", URL, "SSM path /tenant-config"),
        ("DeleteParameters", URL, "SSM path /tenant-config"),
        ("BatchGetItem", MAX, "DynamoDB table tenant-config"),
        ("TransactWriteItems", MAX, "DynamoDB table tenant-config"),
    ],
)
def test_deletion_says_which_store_is_down_and_ends_when_it_is_back(
    system: System, tenant: str, operation: str, key: str, place: str
) -> None:
    body = tenant_config(tenant, ENTRIES)
    applied(system, body)
    break_down(system, operation)
    system.admin.delete(body)
    message = told(system, body, "Reconciling", "StoreFailed")["message"]
    assert place in message
    assert operation in message
    assert condition(system.admin.get(body), "Ready")["status"] == "False"
    assert in_stores(system, tenant)[key] == STORED[key]
    assert owner(system, tenant, key)

    system.reset()
    gone(system, body)
    assert in_stores(system, tenant) == {}
    assert system.items(tenant) == {}
    assert not system.admin.exists(configmap(tenant))


@pytest.mark.parametrize(
    ("operation", "key"),
    [("RemoveTagsFromResource", URL), ("TransactWriteItems", MAX), ("GetParameters", URL), ("BatchGetItem", MAX)],
)
def test_retained_values_are_let_go_when_their_store_is_back(
    system: System, tenant: str, operation: str, key: str
) -> None:
    body = tenant_config(tenant, ENTRIES, deletionPolicy="Retain")
    applied(system, body)
    break_down(system, operation)
    system.admin.delete(body)
    assert operation in told(system, body, "Reconciling", "StoreFailed")["message"]
    assert in_stores(system, tenant) == STORED
    assert owner(system, tenant, key)

    system.reset()
    gone(system, body)
    assert in_stores(system, tenant) == STORED
    assert {owner(system, tenant, each) for each in ENTRIES} == {""}


def test_a_deletion_that_is_held_up_obeys_a_policy_that_becomes_retain(system: System, tenant: str) -> None:
    body = tenant_config(tenant, ENTRIES)
    applied(system, body)
    break_down(system, "DeleteParameters", "TransactWriteItems")
    system.admin.delete(body)
    told(system, body, "Reconciling", "StoreFailed")
    system.admin.patch(body, {"spec": {"deletionPolicy": "Retain"}})
    told(system, body, "Reconciling", "StoreFailed")  # by a pass over what it says now
    system.reset()
    gone(system, body)
    assert in_stores(system, tenant) == STORED
    assert {owner(system, tenant, each) for each in ENTRIES} == {""}
    assert not system.admin.exists(configmap(tenant))


def test_a_configstore_says_how_many_resources_keep_it_and_goes_after_them(
    system: System, tenant: str, new_store: NewStore
) -> None:
    store = new_store("kept", prefixes=[f"{tenant}_"], ssm={"pathPrefix": f"/{tenant}"})
    bodies = [of(tenant, enforce(f"{tenant}_key", 1), name=name, service=name) for name in ("one", "two")]
    for body in bodies:
        applied(system, body)
    system.plane.kubectl("delete", "configstore", store["metadata"]["name"], "--wait=false")
    for count, body in ((2, bodies[0]), (1, bodies[1])):
        wait_for(lambda count=count: f"the values of {count} TenantConfig" in why(system, store), "the number")  # type: ignore[misc]
        assert condition(system.admin.get(store), "Ready")["reason"] == "Deleting"
        assert FINALIZER in system.admin.get(store)["metadata"]["finalizers"]
        remove(system, body)
    gone(system, store)
    assert parameter_names(system, tenant) == []


def why(system: System, body: Object) -> str:
    return str(condition(system.admin.get(body), "Ready").get("message", ""))


def test_a_namespace_waits_for_a_store_that_is_down_and_leaves_nothing_in_either(system: System, tenant: str) -> None:
    system.admin.create(source_secret(tenant, "hush"))
    bodies = [
        of(tenant, enforce(MAX, 1), enforce(URL, 2), from_secret(API_KEY), name=name, service=name)
        for name in ("one", "two")
    ]
    for body in bodies:
        applied(system, body)
    assert len(parameter_names(system, tenant)) == 4
    break_down(system, "DeleteParameters")
    system.plane.kubectl("delete", "namespace", tenant, "--wait=false")
    for body in bodies:
        told(system, body, "Reconciling", "StoreFailed")
    assert len(parameter_names(system, tenant)) == 4
    system.reset()
    wait_for(lambda: not system.admin.exists(cluster.namespace(tenant)), "the namespace gone", LONG)
    assert parameter_names(system, tenant) == []
    assert system.items(tenant) == {}


# Moves


class Move:
    """A ConfigStore whose place changes, and what is at the old and the new one by the same names."""

    def __init__(self, system: System, tenant: str, kind: str) -> None:
        self._system = system
        self._kind = kind
        self._names = [f"{tenant}-one", f"{tenant}-two"]
        self._tenant = tenant
        if kind == "dynamodb":
            for name in self._names:
                create_table(system.table, name)

    def spec(self, number: int, writes_per_second: float = 100) -> Object:
        name = self._names[number]
        if self._kind == "dynamodb":
            return {"dynamodb": {"tableName": name}}
        return {"ssm": {"pathPrefix": f"/{name}", "writesPerSecond": writes_per_second}}

    def place(self, number: int) -> str:
        return self._names[number] if self._kind == "dynamodb" else f"/{self._names[number]}"

    def values(self, number: int) -> dict[str, str]:
        """All that one of the two places has, by key; a head by its owner."""
        if self._kind == "dynamodb":
            items = self._system.table.scan(TableName=self.place(number), ConsistentRead=True)["Items"]
            return {item["sk"]["S"].split("#")[-1]: item.get("value", item.get("owner"))["S"] for item in items}
        pages = self._system.parameters.get_paginator("get_parameters_by_path")
        found = pages.paginate(Path=self.place(number), Recursive=True, WithDecryption=True)
        return {each["Name"].rpartition("/")[2]: each["Value"] for page in found for each in page["Parameters"]}

    def write(self, number: int, key: str, text: str) -> None:
        """Someone else changes a value at one of the two places."""
        if self._kind == "ssm":
            name = f"{self.place(number)}/{self._tenant}/prod/_/{key}"
            self._system.parameters.put_parameter(Name=name, Value=text, Type="String", Overwrite=True)
            return
        self._system.table.update_item(
            TableName=self.place(number),
            Key={"pk": {"S": f"TENANT#{self._tenant}"}, "sk": {"S": f"CONFIG#prod#_#{key}"}},
            UpdateExpression="SET #value = :value",
            ExpressionAttributeNames={"#value": "value"},
            ExpressionAttributeValues={":value": {"S": text}},
        )


KINDS = pytest.mark.parametrize("kind", ["ssm", "dynamodb"])
WRITES = {"ssm": "PutParameter", "dynamodb": "TransactWriteItems"}


@KINDS
def test_a_configstore_changes_its_place_and_no_value_is_ever_in_neither(
    system: System, tenant: str, new_store: NewStore, kind: str
) -> None:
    move = Move(system, tenant, kind)
    store = new_store("moved", prefixes=[f"{tenant}_"], **move.spec(0, 5))
    values = {f"{tenant}_{number}": f"value {number}" for number in range(25)}  # SSM: three turns of ten
    body = of(tenant, *(enforce(key, value) for key, value in values.items()), seed(f"{tenant}_seed", "ours"))
    assert applied(system, body)["status"]["locations"] == [f"moved-{tenant}/1"]
    move.write(0, f"{tenant}_seed", "theirs")
    values[f"{tenant}_seed"] = "theirs"
    quiet(system)
    break_down(system, WRITES[kind])
    system.admin.patch(store, {"spec": move.spec(1, 5)})
    told(system, body, "Reconciling", "StoreFailed")
    assert values.items() <= move.values(0).items()
    lost: list[str] = []

    def moved() -> bool:
        old, new = move.values(0), move.values(1)  # the old first: what has left it since must be in the new
        lost.extend(key for key, value in values.items() if value not in (old.get(key), new.get(key)))
        return not old and is_ready(system.admin.get(body))

    system.reset()
    wait_for(moved, "moved", LONG)
    assert lost == []
    assert values.items() <= move.values(1).items()
    assert projected(system, tenant) == values
    found = system.admin.get(body)["status"]
    assert found["locations"] == [f"moved-{tenant}/2"]
    assert {each["location"] for each in found["entries"]} == {f"moved-{tenant}/2"}
    wait_for(lambda: places(system, store) == [(f"moved-{tenant}/2", move.place(1))], "the old place forgotten")
    remove(system, body)
    assert move.values(1) == {f"{tenant}_seed": "theirs"}


def test_a_resource_that_is_deleted_in_the_middle_of_a_move_leaves_nothing_at_either_place(
    system: System, tenant: str, new_store: NewStore
) -> None:
    move = Move(system, tenant, "ssm")
    store = new_store("moved", prefixes=[f"{tenant}_"], **move.spec(0))
    body = of(tenant, *(enforce(f"{tenant}_{number}", number) for number in range(25)))
    applied(system, body)
    system.admin.patch(store, {"spec": move.spec(1, 0.5)})
    told(system, body, "Reconciling", "RateLimited")
    assert len(move.values(0)) == 25
    assert 0 < len(move.values(1)) < 25
    system.admin.delete(body)
    wait_for(lambda: not system.admin.exists(body), "gone", LONG)
    assert (move.values(0), move.values(1)) == ({}, {})


def places(system: System, store: Object) -> list[tuple[str, str]]:
    """The places that a ConfigStore records."""
    recorded = system.admin.get(store)["status"]["locations"]
    return [(each["id"], each.get("pathPrefix") or each["tableName"]) for each in recorded]


@KINDS
def test_a_place_that_changes_back_in_the_middle_of_a_move_loses_nothing(
    system: System, tenant: str, new_store: NewStore, kind: str
) -> None:
    move = Move(system, tenant, kind)
    store = new_store("moved", prefixes=[f"{tenant}_"], **move.spec(0, 5))
    values = {f"{tenant}_{number}": f"value {number}" for number in range(25)}
    body = of(tenant, *(enforce(key, value) for key, value in values.items()))
    applied(system, body)
    system.admin.patch(store, {"spec": move.spec(1, 5)})
    wait_for(lambda: move.values(1), "the first values at the new place")
    system.admin.patch(store, {"spec": move.spec(0, 5)})
    lost: list[str] = []

    def back() -> bool:
        seen = [move.values(number) for number in (0, 1, 0)]  # whichever way it goes, one of these has it
        lost.extend(key for key, value in values.items() if all(each.get(key) != value for each in seen))
        return not seen[1] and is_ready(system.admin.get(body))

    wait_for(back, "back", LONG)
    assert lost == []
    assert values.items() <= move.values(0).items()
    assert projected(system, tenant) == values
    wait_for(lambda: places(system, store) == [(f"moved-{tenant}/1", move.place(0))], "the other place forgotten")


@KINDS
def test_a_strangers_value_at_the_new_place_holds_the_move_up_until_it_is_adopted(
    system: System, tenant: str, new_store: NewStore, kind: str
) -> None:
    key, seeded, free = (f"{tenant}_{name}" for name in ("key", "seed", "free"))
    move = Move(system, tenant, kind)
    store = new_store("moved", prefixes=[f"{tenant}_"], **move.spec(0))
    body = of(tenant, enforce(key, "ours"), seed(seeded, "ours"), enforce(free, "ours"))
    applied(system, body)
    before = move.values(0)
    for each in (key, seeded):
        move.write(1, each, "theirs")
    system.admin.patch(store, {"spec": move.spec(1)})
    message = stalled_for(system, body, "NotOwned")["message"]
    assert move.values(0) == before
    assert move.values(1) == {key: "theirs", seeded: "theirs"}
    assert projected(system, tenant) == {key: "ours", seeded: "ours", free: "ours"}

    adopt(system, body, message)
    ready(system, body)
    assert move.values(0) == {}
    assert projected(system, tenant) == {key: "ours", seeded: "theirs", free: "ours"}
    assert projected(system, tenant).items() <= move.values(1).items()


@KINDS
def test_a_configstore_that_was_made_again_elsewhere_is_not_taken_for_what_it_was(
    system: System, tenant: str, new_store: NewStore, kind: str
) -> None:
    move = Move(system, tenant, kind)
    store = new_store("again", prefixes=[f"{tenant}_"], **move.spec(0))
    key = f"{tenant}_key"
    body = of(tenant, enforce(key, "ours"), enforce(MAX, 1))
    applied(system, body)
    system.stop_controller()
    system.admin.patch(store, {"metadata": {"finalizers": None}})
    system.admin.delete(store)
    gone(system, store)
    system.admin.create({**store, "spec": {"prefixes": [f"{tenant}_"], **move.spec(1)}})
    system.start_controller()
    message = told(system, body, "Stalled", "StoreFailed")["message"]
    annotation = f'tenantconfig.dev/adopt: "again-{tenant}/1"'
    assert annotation in message
    assert (move.values(0)[key], move.values(1)) == ("ours", {})
    assert projected(system, tenant) == {key: "ours", MAX: "1"}

    system.admin.patch(store, {"spec": move.spec(0), "metadata": {"annotations": {ADOPT: f"again-{tenant}/1"}}})
    ready(system, body)
    assert (move.values(0)[key], move.values(1)) == ("ours", {})
    applied(system, of(tenant, enforce(key, "changed"), enforce(MAX, 1)))
    assert (move.values(0)[key], move.values(1)) == ("changed", {})


def test_a_configstore_that_is_gone_for_good_is_let_go_of_with_retain(
    system: System, tenant: str, new_store: NewStore
) -> None:
    move = Move(system, tenant, "ssm")
    store = new_store("lost", prefixes=[f"{tenant}_"], **move.spec(0))
    body = of(tenant, enforce(f"{tenant}_key", "ours"), enforce(MAX, 1))
    applied(system, body)
    system.stop_controller()
    system.admin.patch(store, {"metadata": {"finalizers": None}})
    system.admin.delete(store)
    gone(system, store)
    system.start_controller()
    system.admin.delete(body)
    message = told(system, body, "Stalled", "StoreFailed")["message"]
    assert f"lost-{tenant}/1" in message
    assert "deletionPolicy Retain" in message
    system.admin.patch(body, {"spec": {"deletionPolicy": "Retain"}})
    gone(system, body)
    assert move.values(0) == {f"{tenant}_key": "ours"}
    assert in_stores(system, tenant) == {MAX: "1"}
    assert owner(system, tenant, MAX) == ""


@KINDS
def test_a_configstore_is_renamed_and_no_value_is_written_or_deleted(
    system: System, tenant: str, new_store: NewStore, kind: str
) -> None:
    move = Move(system, tenant, kind)
    spec = {"prefixes": [f"{tenant}_"], **move.spec(0)}
    old = new_store("old", **spec)
    body = of(tenant, enforce(f"{tenant}_key", "ours"), seed(f"{tenant}_seed", "ours too"))
    before = applied(system, body)
    held = move.values(0)
    new = new_store("new", **spec)
    told(system, new, "Stalled", "AmbiguousPrefix")
    quiet(system)
    system.reset()
    system.admin.delete(old)
    gone(system, old)
    ready(system, new)
    wait_for(lambda: system.admin.get(body)["status"]["locations"] == [f"new-{tenant}/1"], "the new name")
    quiet(system)
    calls = system.aws_calls()
    assert not {"DeleteParameters", "DeleteItem", "PutParameter", "TransactWriteItems"} & calls.keys(), calls
    after = ready(system, body)
    assert standing(after) == standing(before)
    assert {each["store"] for each in after["status"]["entries"]} == {f"new-{tenant}"}
    assert after["status"]["revision"] == before["status"]["revision"]
    assert move.values(0) == held

    applied(system, of(tenant, enforce(f"{tenant}_key", "new"), seed(f"{tenant}_seed", "ours too")))
    assert move.values(0) == held | {f"{tenant}_key": "new"}
    remove(system, body)
    assert move.values(0) == {}


@KINDS
def test_of_two_configstores_of_one_place_the_second_is_told_what_to_do(
    system: System, tenant: str, new_store: NewStore, kind: str
) -> None:
    move = Move(system, tenant, kind)
    first = new_store("first", prefixes=[f"{tenant}_a_"], **move.spec(0))
    ready(system, first)
    second = new_store("second", prefixes=[f"{tenant}_b_"], **move.spec(0))
    message = told(system, second, "Stalled", "AmbiguousPlace")["message"]
    assert f"first-{tenant}" in message
    assert f"spec.{kind}" in message
    assert "give it the prefixes instead" in message
    assert is_ready(system.admin.get(first))
    body = of(tenant, enforce(f"{tenant}_a_key", 1), enforce(f"{tenant}_b_key", 2))
    system.admin.apply(body)
    assert f"second-{tenant}" in told(system, body, "Reconciling", "StoreNotReady")["message"]
    assert move.values(0) == {}

    system.admin.delete(second)
    gone(system, second)
    system.admin.patch(first, {"spec": {"prefixes": [f"{tenant}_a_", f"{tenant}_b_"]}})
    ready(system, body)
    assert {f"{tenant}_a_key": "1", f"{tenant}_b_key": "2"}.items() <= move.values(0).items()


# Sensitive values


def test_a_rotated_secret_reaches_store_and_pods_and_leaves_the_snapshot_as_it_is(system: System, tenant: str) -> None:
    system.admin.create(source_secret(tenant, "hush-one"))
    body = of(tenant, from_secret(API_KEY), enforce(MAX, 1))
    before = applied(system, body)
    assert secrets(system, tenant) == {API_KEY: "hush-one"}
    system.admin.patch(source_secret(tenant, ""), {"stringData": {"api": "hush-two"}})
    wait_for(lambda: secrets(system, tenant) == {API_KEY: "hush-two"}, "rotated")
    wait_for(lambda: standing(system.admin.get(body))[API_KEY] == ("Enforce", "Synced", "2"), "the new version")
    held = system.parameter_values(tenant)[parameter(tenant, API_KEY)]
    assert (held["Type"], held["Value"]) == ("SecureString", "hush-two")

    system.admin.delete(source_secret(tenant, ""))
    assert "keys" in stalled_for(system, body, "SecretNotFound")["message"]
    assert secrets(system, tenant) == {API_KEY: "hush-two"}
    assert value_at(system, parameter(tenant, API_KEY)) == "hush-two"
    system.admin.create(source_secret(tenant, "hush-three"))
    after = in_time_ready(system, body)
    assert secrets(system, tenant) == {API_KEY: "hush-three"}
    assert value_at(system, parameter(tenant, API_KEY)) == "hush-three"
    assert [after["status"][name] for name in ("revision", "digest")] == [
        before["status"][name] for name in ("revision", "digest")
    ]


@pytest.mark.parametrize(
    "edit",
    [{"data": {API_KEY: "AAAA"}}, {"stringData": {"added": "x"}}, None],
    ids=["changed", "key added", "deleted"],
)
def test_a_projected_secret_that_is_edited_or_deleted_by_hand_is_put_back(
    system: System, tenant: str, edit: Object | None
) -> None:
    system.admin.create(source_secret(tenant, "hush"))
    before = applied(system, of(tenant, from_secret(API_KEY)))
    if edit:
        by_hand = system.admin.as_service_account("tenantconfig-system", "controller")
        by_hand.patch(projected_secret(tenant), edit)
    else:
        system.admin.delete(projected_secret(tenant))
    wait_for(lambda: secrets(system, tenant) == {API_KEY: "hush"}, "put back")
    quiet(system)
    assert standing(ready(system, before)) == standing(before)


def test_a_sensitive_key_of_a_dynamodb_store_is_refused_and_nothing_is_written(system: System, tenant: str) -> None:
    system.admin.create(source_secret(tenant, "hush"))
    quiet(system)
    system.reset()
    body = of(tenant, from_secret(MAX), enforce(URL, 1), enforce("tenant_config_other", 2))
    system.admin.apply(body)
    message = stalled_for(system, body, "Invalid")["message"]
    assert MAX in message
    assert "prefix of an SSM store" in message
    quiet(system)
    assert system.aws_calls() == {}
    assert in_stores(system, tenant) == system.items(tenant) == {}
    assert not system.admin.exists(configmap(tenant))
    assert not system.admin.exists(projected_secret(tenant))


def test_sensitive_values_stay_where_they_are_when_their_prefix_goes_to_dynamodb(
    system: System, tenant: str, new_store: NewStore
) -> None:
    ssm, dynamodb = Move(system, tenant, "ssm"), Move(system, tenant, "dynamodb")
    store = new_store("moved", prefixes=[f"{tenant}_"], **ssm.spec(0))
    key, seeded, plain = (f"{tenant}_{name}" for name in ("key", "seed", "plain"))
    name = f"{ssm.place(0)}/{tenant}/prod/_/{seeded}"
    system.parameters.put_parameter(Name=name, Value="hush too", Type="SecureString")
    system.admin.create(source_secret(tenant, "hush"))
    body = of(tenant, from_secret(key), seed(seeded, "first"), enforce(plain, 1))
    applied(system, body)
    before = ssm.values(0)
    system.admin.patch(store, {"spec": {"ssm": None, **dynamodb.spec(0)}})
    assert key in stalled_for(system, body, "Invalid")["message"]
    system.admin.apply(of(tenant, enforce(key, "public now"), seed(seeded, "first"), enforce(plain, 1)))
    wait_for(lambda: seeded in stalled_for(system, body, "Invalid")["message"], "the other")
    assert (ssm.values(0), dynamodb.values(0)) == (before, {})
    assert secrets(system, tenant) == {key: "hush", seeded: "hush too"}
    assert projected(system, tenant) == {plain: "1"}

    applied(system, of(tenant, enforce(key, "public now"), enforce(plain, 1)))
    assert ssm.values(0) == {seeded: "hush too"}
    assert projected(system, tenant) == {key: "public now", plain: "1"}
    assert projected(system, tenant).items() <= dynamodb.values(0).items()
    assert not system.admin.exists(projected_secret(tenant))


def test_securestrings_of_others_go_to_the_secret_alone(system: System, tenant: str) -> None:
    seen, seeded = "param_config_seen", "param_config_seeded"
    for key in (seen, seeded):
        write(system, tenant, key, f"hush {key}", "SecureString")
    write(system, tenant, OTHER, "plain")
    entries = [observe(seen), seed(seeded, "first"), observe(OTHER), enforce(MAX, 1)]
    body = applied(system, of(tenant, *entries))
    assert secrets(system, tenant) == {seen: f"hush {seen}", seeded: f"hush {seeded}"}
    assert projected(system, tenant) == {OTHER: "plain", MAX: "1"}
    assert body["status"]["digest"] == digest({OTHER: "plain", MAX: "1"})

    system.parameters.delete_parameter(Name=parameter(tenant, OTHER))
    write(system, tenant, OTHER, "hush now", "SecureString")
    applied(system, of(tenant, *entries[:3], enforce(MAX, 2)))
    assert secrets(system, tenant) == {seen: f"hush {seen}", seeded: f"hush {seeded}", OTHER: "hush now"}
    assert projected(system, tenant) == {MAX: "2"}
    remove(system, body)
    assert not system.admin.exists(projected_secret(tenant))
    assert in_stores(system, tenant) == {seen: f"hush {seen}", seeded: f"hush {seeded}", OTHER: "hush now"}


def test_a_change_of_type_keeps_the_last_snapshot_until_the_value_is_there_again(system: System, tenant: str) -> None:
    system.admin.create(source_secret(tenant, "hush"))

    def others(number: int) -> list[Object]:
        return [enforce(MAX, number), enforce(OTHER, number)]

    first = applied(system, of(tenant, enforce(URL, "plain"), *others(1)))
    body = of(tenant, from_secret(URL), *others(2))
    system.admin.apply(body)
    assert "30 s" in told(system, body, "Reconciling", "Progressing")["message"]
    assert in_stores(system, tenant) == {MAX: "2", OTHER: "2"}
    assert projected(system, tenant) == {URL: "plain", MAX: "1", OTHER: "1"}
    assert secrets(system, tenant) == {}
    second = in_time_ready(system, body)
    assert system.parameter_values(tenant)[parameter(tenant, URL)]["Type"] == "SecureString"
    assert in_stores(system, tenant) == {URL: "hush", MAX: "2", OTHER: "2"}
    assert (projected(system, tenant), secrets(system, tenant)) == ({MAX: "2", OTHER: "2"}, {URL: "hush"})
    assert second["status"]["revision"] == first["status"]["revision"] + 1

    body = of(tenant, enforce(URL, "plain again"), *others(3))
    system.admin.apply(body)
    told(system, body, "Reconciling", "Progressing")
    assert in_stores(system, tenant) == {MAX: "3", OTHER: "3"}
    assert (projected(system, tenant), secrets(system, tenant)) == ({MAX: "2", OTHER: "2"}, {URL: "hush"})
    third = in_time_ready(system, body)
    assert system.parameter_values(tenant)[parameter(tenant, URL)]["Type"] == "String"
    assert in_stores(system, tenant) == projected(system, tenant) == {URL: "plain again", MAX: "3", OTHER: "3"}
    assert not system.admin.exists(projected_secret(tenant))
    assert third["status"]["revision"] == second["status"]["revision"] + 1


# Requests per second


class Crowd:
    """Resources of different tenants in one namespace, over a ConfigStore that allows few requests a second."""

    def __init__(self, system: System, tenant: str, new_store: NewStore, writes_per_second: float) -> None:
        self._system = system
        self.name = f"{tenant}-crowd"
        self.prefix = f"{tenant}_"
        system.admin.create(cluster.namespace(self.name, {"tenantconfig.dev/tenants": "*"}))
        ssm = {"pathPrefix": f"/{tenant}", "writesPerSecond": writes_per_second}
        ready(system, new_store("slow", prefixes=[self.prefix], ssm=ssm))
        self._path = f"/{tenant}/"
        quiet(system)
        system.reset()

    def resource(self, name: str, keys: int) -> Object:
        entries = [enforce(f"{self.prefix}{number}", f"{name} {number}") for number in range(keys)]
        return cluster.tenant_config(self.name, name, tenantId=f"{self.name}-{name}", entries=entries)

    def values(self, body: Object) -> dict[str, str]:
        """What SSM has of a resource, by key."""
        pages = self._system.parameters.get_paginator("get_parameters_by_path")
        path = f"{self._path}{body['spec']['tenantId']}"
        found = [each for page in pages.paginate(Path=path, Recursive=True) for each in page["Parameters"]]
        return {each["Name"].rpartition("/")[2]: each["Value"] for each in found}

    def writes(self, operation: str, of: str = "") -> int:
        """How many names the controller has asked SSM to put or to delete, for all resources or for one."""
        recorded = [each.parameters for each in self._system.aws.recorded(operation)]
        names = [name for each in recorded for name in each.get("Names", [each.get("Name", "")])]
        return sum(name.startswith(self._path) and f"-{of}" in name for name in names)


def wanted(body: Object) -> dict[str, str]:
    return {each["key"]: each["value"] for each in body["spec"]["entries"]}


WAITS = re.compile(r"(\d+) writes to ConfigStore \S+ wait .* (\d+) are ahead, at [\d.]+ a second until (\S+)")


def waits(body: Object) -> tuple[int, int, datetime] | None:
    """Of a resource that waits: its writes, those that are ahead, and the time it reckons with."""
    reconciling = condition(body, "Reconciling")
    if reconciling.get("reason") != "RateLimited":
        return None
    said = WAITS.search(reconciling["message"])
    assert said, reconciling
    return int(said[1]), int(said[2]), datetime.fromisoformat(said[3])


def test_one_key_passes_eighty_that_wait_and_all_are_written_once(
    system: System, tenant: str, new_store: NewStore
) -> None:
    crowd = Crowd(system, tenant, new_store, writes_per_second=3)
    many = [crowd.resource(f"many-{number}", keys=10) for number in range(8)]
    single = crowd.resource("single", keys=1)
    for body in (*many, single):
        system.admin.create(body)
    in_time_ready(system, single)
    assert crowd.writes("PutParameter") <= 40
    waiting = [body for body in map(system.admin.get, many) if not is_ready(body)]
    assert len(waiting) >= 4
    created = datetime.fromisoformat(waiting[0]["metadata"]["creationTimestamp"])

    def one_tells() -> bool:
        lines = [said for body in many if (said := waits(system.admin.get(body)))]
        return any(0 < writes <= 10 and ahead > 0 and until > created for writes, ahead, until in lines)

    wait_for(one_tells, "writes ahead of one that waits, and until when")
    for body in many:
        in_time_ready(system, body)
    assert crowd.writes("PutParameter") == 81
    for body in (*many, single):
        assert crowd.values(body) == wanted(body)
        assert projected(system, crowd.name, body["metadata"]["name"]) == wanted(body)


def test_throttled_writes_and_reads_end_with_the_right_values(system: System, tenant: str, new_store: NewStore) -> None:
    crowd = Crowd(system, tenant, new_store, writes_per_second=3)
    several = [crowd.resource(f"several-{number}", keys=4) for number in range(3)]
    system.aws.fail("PutParameter", "ThrottlingException", times=4)
    system.aws.fail("GetParameters", "ThrottlingException", times=2)
    for body in several:
        system.admin.create(body)

    def throttled() -> bool:
        return any("AWS slows" in why(system, body) for body in several)

    wait_for(throttled, "throttled")
    for body in several:
        found = in_time_ready(system, body)
        assert crowd.values(body) == wanted(body)
        assert projected(system, crowd.name, body["metadata"]["name"]) == wanted(body)
        assert set(standing(found).values()) == {("Enforce", "Synced", "1")}  # nothing was written twice
    assert crowd.writes("PutParameter") == 12 + 4


def test_a_resource_that_waits_in_the_line_can_be_deleted(system: System, tenant: str, new_store: NewStore) -> None:
    crowd = Crowd(system, tenant, new_store, writes_per_second=0.5)
    begun = crowd.resource("begun", keys=30)
    system.admin.create(begun)
    wait_for(lambda: waits(system.admin.get(begun)), "the rest of the first waits")
    assert len(crowd.values(begun)) == 10
    untouched = crowd.resource("untouched", keys=10)
    system.admin.create(untouched)
    wait_for(lambda: waits(system.admin.get(untouched)), "the second waits")
    system.admin.delete(untouched)
    gone(system, untouched)
    assert crowd.writes("PutParameter", of="untouched") == 0

    system.admin.delete(begun)
    wait_for(lambda: not system.admin.exists(begun), "the first gone", LONG)
    assert crowd.writes("PutParameter", of="begun") == crowd.writes("DeleteParameters", of="begun") < 30
    assert crowd.values(begun) == {}
    assert not system.admin.exists(configmap(crowd.name, "begun"))


@pytest.mark.parametrize("way", ["observed", "retained"])
def test_more_keys_than_one_turns_are_all_let_go(system: System, tenant: str, new_store: NewStore, way: str) -> None:
    crowd = Crowd(system, tenant, new_store, writes_per_second=10)
    body = crowd.resource("large", 25)
    applied(system, body)
    stored = crowd.values(body)
    system.reset()
    if way == "observed":
        entries = [observe(entry["key"]) for entry in body["spec"]["entries"]]
        applied(system, cluster.tenant_config(crowd.name, "large", tenantId=body["spec"]["tenantId"], entries=entries))
    else:
        system.admin.patch(body, {"spec": {"deletionPolicy": "Retain"}})
        system.admin.delete(body)
        gone(system, body)
    assert crowd.values(body) == stored
    released = [each.parameters["ResourceId"] for each in system.aws.recorded("RemoveTagsFromResource")]
    # kopf asks once more for a deletion that a turn has ended, and the last turn's are let go once more.
    assert len(set(released)) == len(stored) <= len(released) <= len(stored) + 10
    for name in released:
        tags = system.parameters.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        assert tags == []
