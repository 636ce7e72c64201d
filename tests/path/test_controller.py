"""From `kubectl apply` to both stores, the ConfigMap and the status, and what it costs in calls."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from harness import cluster
from harness.api import Object, Refused
from harness.aws import create_table
from harness.system import System, condition, is_ready
from harness.wait import wait_for

MAX, JSON, URL = "tenant_config_max", "tenant_config_json", "param_config_url"
ENTRIES = {MAX: 500, JSON: {"b": [1, 2.50, None], "a": "ü"}, URL: "https://pay.example/ä"}
STORED = {MAX: "500", JSON: '{"a":"ü","b":[1,2.5,null]}', URL: "https://pay.example/ä"}


def tenant_config(tenant: str, entries: dict[str, Any], **spec: Any) -> Object:
    listed = [{"key": key, "value": value} for key, value in entries.items()]
    return cluster.tenant_config(tenant, tenantId=tenant, environment="prod", entries=listed, **spec)


def configmap(tenant: str, name: str = "test") -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": tenant, "name": name}}


def ready(system: System, body: Object) -> Object:
    """The resource as soon as its present generation is Ready."""

    def check() -> Object:
        found = system.admin.get(body)
        assert is_ready(found), found.get("status")
        return found

    return wait_for(check, "Ready")


def applied(system: System, body: Object) -> Object:
    system.admin.apply(body)
    return ready(system, body)


def stalled(system: System, body: Object) -> dict[str, Any]:
    """The Stalled condition as soon as there is one for the present generation."""

    def check() -> dict[str, Any]:
        found = system.admin.get(body)
        assert found["status"].get("observedGeneration") == found["metadata"]["generation"]
        return condition(found, "Stalled")

    return wait_for(check, "Stalled")


def gone(system: System, body: Object) -> bool:
    return wait_for(lambda: not system.admin.exists(body), f"{body['kind']} gone")


def in_stores(system: System, tenant: str) -> dict[str, str]:
    """What both stores hold of a tenant, by key."""
    items = {key: item["value"]["S"] for key, item in system.items(tenant).items() if "value" in item}
    parameters = {name.rpartition("/")[2]: each["Value"] for name, each in system.parameter_values(tenant).items()}
    return items | parameters


def parameter_names(system: System, tenant: str) -> list[str]:
    """Parameters of a tenant under any path."""
    pages = system.parameters.get_paginator("describe_parameters").paginate()
    names = (each["Name"] for page in pages for each in page["Parameters"])
    return [name for name in names if f"/{tenant}/" in name]


def digest(data: dict[str, str]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def quiet(system: System) -> None:
    """Wait until the controller has answered every change so far: its tick has come past now."""
    now = datetime.now(UTC)
    wait_for(lambda: system.fresh_as_of() > now, "a newer tick")


@pytest.fixture
def while_down(system: System, tenant: str) -> Iterator[System]:
    """No controller runs in the test until it starts one; there is one again after it."""
    system.stop_controller()
    yield system
    assert system.controller
    if not system.controller.running:
        system.start_controller()


def test_apply_lands_in_both_stores_and_one_digest_names_it_everywhere(system: System, tenant: str) -> None:
    resource = applied(system, tenant_config(tenant, ENTRIES))

    assert in_stores(system, tenant) == STORED
    items = system.items(tenant)
    assert items[MAX]["sk"] == {"S": f"CONFIG#prod#_#{MAX}"}
    assert items["HEAD#prod#_"]["entries"] == {"SS": sorted([MAX, JSON])}
    assert list(system.parameter_values(tenant)) == [f"/tenant-config/{tenant}/prod/_/{URL}"]
    found = system.admin.get(configmap(tenant))
    assert found["data"] == STORED
    assert resource["status"]["digest"] == digest(STORED)
    assert found["metadata"]["annotations"]["tenantconfig.dev/digest"] == resource["status"]["digest"]
    assert found["metadata"]["annotations"]["tenantconfig.dev/revision"] == str(resource["status"]["revision"])
    assert found["metadata"]["labels"] == {
        "tenantconfig.dev/tenant": tenant,
        "tenantconfig.dev/environment": "prod",
        "app.kubernetes.io/managed-by": "tenantconfig",
    }
    assert [each["state"] for each in resource["status"]["entries"]] == ["Synced"] * 3
    assert resource["status"]["locations"] == ["dynamodb/1", "ssm/1"]


def test_create_update_and_no_change_cost_what_they_must(system: System, tenant: str) -> None:
    quiet(system)
    mark = system.reset()
    created = applied(system, tenant_config(tenant, ENTRIES))
    quiet(system)
    writes = [(each.verb, each.resource, each.code) for each in system.writes(mark)]
    assert writes == [
        ("patch", "tenantconfigs", 200),  # the finalizer
        ("create", "configmaps", 201),
        ("patch", "tenantconfigs/status", 200),
    ]
    assert system.aws_calls() == {"BatchGetItem": 1, "GetParameters": 1, "TransactWriteItems": 1, "PutParameter": 1}

    mark = system.reset()
    updated = applied(system, tenant_config(tenant, ENTRIES | {MAX: 501}))
    quiet(system)
    writes = [(each.verb, each.resource, each.code) for each in system.writes(mark)]
    assert writes == [("patch", "configmaps", 200), ("patch", "tenantconfigs/status", 200)]
    assert system.aws_calls() == {"BatchGetItem": 1, "GetParameters": 1, "TransactWriteItems": 1}
    transaction = (system.dynamodb or system.aws).recorded("TransactWriteItems")[0].parameters
    written = [action["Put"]["Item"]["sk"]["S"] for action in transaction["TransactItems"]]
    assert written == [f"CONFIG#prod#_#{MAX}", "HEAD#prod#_"]
    assert updated["status"]["revision"] == created["status"]["revision"] + 1
    assert updated["status"]["digest"] == digest(STORED | {MAX: "501"})

    mark = system.reset()
    applied(system, tenant_config(tenant, ENTRIES | {MAX: 501}))
    quiet(system)
    assert system.writes(mark) == []
    assert system.aws_calls() == {}


def test_restart_with_nothing_changed_costs_nothing(while_down: System, tenant: str) -> None:
    system = while_down
    system.start_controller()
    applied(system, tenant_config(tenant, ENTRIES))
    quiet(system)
    system.stop_controller()
    mark = system.reset()
    system.start_controller()
    quiet(system)
    quiet(system)
    assert system.writes(mark) == []
    assert system.aws_calls() == {}
    asked = {each.resource for each in system.plane.audit("tenantconfig-system/controller", mark) if each.verb == "get"}
    assert "tenantconfigs" not in asked


def test_deletion_leaves_nothing_and_what_is_made_again_is_newer(system: System, tenant: str) -> None:
    body = tenant_config(tenant, ENTRIES)
    first = applied(system, body)
    system.admin.delete(body)
    gone(system, body)
    assert not system.admin.exists(configmap(tenant))
    assert in_stores(system, tenant) == {}
    assert system.items(tenant) == {}

    again = applied(system, body)
    assert again["status"]["revision"] > first["status"]["revision"]
    assert again["status"]["digest"] == first["status"]["digest"]


def test_retained_values_stay_without_an_owner(system: System, tenant: str) -> None:
    body = tenant_config(tenant, ENTRIES, deletionPolicy="Retain")
    applied(system, body)
    system.admin.delete(body)
    gone(system, body)
    assert not system.admin.exists(configmap(tenant))
    assert in_stores(system, tenant) == STORED
    assert "HEAD#prod#_" not in system.items(tenant)
    name = f"/tenant-config/{tenant}/prod/_/{URL}"
    assert system.parameters.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"] == []


def test_removed_entry_leaves_its_store_and_the_configmap(system: System, tenant: str) -> None:
    applied(system, tenant_config(tenant, ENTRIES))
    applied(system, tenant_config(tenant, {MAX: 500}))
    assert in_stores(system, tenant) == {MAX: "500"}
    assert system.admin.get(configmap(tenant))["data"] == {MAX: "500"}


@pytest.mark.parametrize(
    "edit",
    [
        {"data": {MAX: "666"}},
        {"data": {"added": "by hand"}},
        {"data": {MAX: None}},
        {"data": {MAX: "666"}, "metadata": {"annotations": {"tenantconfig.dev/revision": "1"}}},
        {"binaryData": {"added": "AAAA"}},
    ],
    ids=["changed", "key added", "key removed", "annotation too", "binary key added"],
)
def test_configmap_edited_by_hand_is_put_back(system: System, tenant: str, edit: Object) -> None:
    resource = applied(system, tenant_config(tenant, ENTRIES))
    by_hand = system.admin.as_service_account("tenantconfig-system", "controller")  # whom the policy lets through
    by_hand.patch(configmap(tenant), edit)

    def put_back() -> bool:
        found = system.admin.get(configmap(tenant))
        assert found["data"] == STORED
        assert "binaryData" not in found
        return bool(found["metadata"]["annotations"]["tenantconfig.dev/digest"] == resource["status"]["digest"])

    wait_for(put_back, "ConfigMap put back")
    quiet(system)
    assert ready(system, resource)["status"]["revision"] == resource["status"]["revision"]


def test_configmap_deleted_by_hand_is_put_back_at_the_same_revision(system: System, tenant: str) -> None:
    resource = applied(system, tenant_config(tenant, ENTRIES))
    system.admin.delete(configmap(tenant))
    found = wait_for(lambda: system.admin.exists(configmap(tenant)) and system.admin.get(configmap(tenant)), "put back")
    assert found["data"] == STORED
    assert found["metadata"]["annotations"]["tenantconfig.dev/revision"] == str(resource["status"]["revision"])


def test_a_configmap_of_someone_else_is_not_touched(system: System, tenant: str) -> None:
    system.admin.create({**configmap(tenant), "data": {"theirs": "yes"}})
    body = tenant_config(tenant, {MAX: 1})
    system.admin.apply(body)
    found = stalled(system, body)
    assert found["reason"] == "ConfigMapConflict"
    assert "spec.target.configMapName" in found["message"]
    assert system.admin.get(configmap(tenant))["data"] == {"theirs": "yes"}
    assert in_stores(system, tenant) == {}

    renamed = tenant_config(tenant, {MAX: 1}, target={"configMapName": "other"})
    applied(system, renamed)
    assert system.admin.get(configmap(tenant, "other"))["data"] == {MAX: "1"}


def test_a_changed_target_replaces_the_former_configmap(system: System, tenant: str) -> None:
    applied(system, tenant_config(tenant, {MAX: 1}))
    applied(system, tenant_config(tenant, {MAX: 1}, target={"configMapName": "other"}))
    assert system.admin.get(configmap(tenant, "other"))["data"] == {MAX: "1"}
    gone(system, configmap(tenant))


def test_a_key_without_a_store_stalls_and_writes_nothing(system: System, tenant: str) -> None:
    mark = system.reset()
    body = tenant_config(tenant, {MAX: 1, "unknown_key": 2})
    system.admin.apply(body)
    found = stalled(system, body)
    assert found["reason"] == "NoStore"
    assert "unknown_key" in found["message"]
    assert "tenant_config_" in found["message"]
    assert "param_config_" in found["message"]
    quiet(system)
    assert [(each.verb, each.resource) for each in system.writes(mark)] == [
        ("patch", "tenantconfigs"),
        ("patch", "tenantconfigs/status"),
    ]
    assert system.aws_calls() == {}


def test_an_invalid_change_leaves_stores_and_configmap_as_they_were(system: System, tenant: str) -> None:
    good = applied(system, tenant_config(tenant, ENTRIES))
    for key, value, reason in [
        ("unknown_key", 1, "NoStore"),
        ("param_config_empty", "", "Invalid"),
        ("param_config_template", "{{x}}", "Invalid"),
        ("param_config_large", "x" * 4097, "Invalid"),
        ("tenant_config_huge_number", 2**60, "Invalid"),
    ]:
        body = tenant_config(tenant, ENTRIES | {MAX: 999, key: value})
        system.admin.apply(body)
        found = stalled(system, body)
        assert (found["reason"], key in found["message"]) == (reason, True)
        assert in_stores(system, tenant) == STORED
        assert system.admin.get(configmap(tenant))["data"] == STORED
    status = system.admin.get(good)["status"]
    assert (status["revision"], status["digest"]) == (good["status"]["revision"], good["status"]["digest"])

    applied(system, tenant_config(tenant, ENTRIES | {MAX: 999}))
    assert in_stores(system, tenant) == STORED | {MAX: "999"}


def test_foreign_values_are_not_overwritten(system: System, tenant: str) -> None:
    name = f"/tenant-config/{tenant}/prod/_/{URL}"
    system.parameters.put_parameter(Name=name, Value="theirs", Type="String")
    body = tenant_config(tenant, ENTRIES)
    system.admin.apply(body)
    found = stalled(system, body)
    assert found["reason"] == "NotOwned"
    assert URL in found["message"]
    assert "tenantconfig.dev/adopt" in found["message"]
    assert in_stores(system, tenant) == {URL: "theirs"}

    system.admin.patch(body, {"metadata": {"annotations": {"tenantconfig.dev/adopt": "unowned"}}})
    wait_for(lambda: in_stores(system, tenant) == STORED, "adopted")


def test_two_resources_of_one_scope_the_first_keeps_it(system: System, tenant: str) -> None:
    first = applied(system, tenant_config(tenant, ENTRIES))
    second = tenant_config(tenant, ENTRIES | {MAX: 1})
    second["metadata"]["name"] = "second"
    system.admin.apply(second)
    found = stalled(system, second)
    assert found["reason"] == "ScopeConflict"
    assert first["metadata"]["uid"] in found["message"]
    assert in_stores(system, tenant) == STORED
    system.admin.delete(second)
    gone(system, second)
    assert in_stores(system, tenant) == STORED


def test_a_store_that_fails_delays_and_loses_nothing(system: System, tenant: str) -> None:
    applied(system, tenant_config(tenant, ENTRIES))
    system.reset()
    system.aws.fail("PutParameter", "ThrottlingException")
    applied(system, tenant_config(tenant, ENTRIES | {URL: "https://new.example", MAX: 501}))
    assert in_stores(system, tenant) == STORED | {URL: "https://new.example", MAX: "501"}
    assert system.aws_calls()["PutParameter"] == 2
    assert system.aws_calls()["TransactWriteItems"] == 1


def test_deletion_waits_for_a_store_that_is_down(system: System, tenant: str) -> None:
    body = tenant_config(tenant, ENTRIES)
    applied(system, body)
    system.aws.fail("DeleteParameters", "InternalServerError", status=500, times=2)
    system.admin.delete(body)
    gone(system, body)
    assert in_stores(system, tenant) == {}


def test_suspended_resource_is_left_alone(system: System, tenant: str) -> None:
    applied(system, tenant_config(tenant, {MAX: 1}))
    body = tenant_config(tenant, {MAX: 2}, suspend=True)
    system.admin.apply(body)
    wait_for(lambda: condition(system.admin.get(body), "Ready").get("reason") == "Suspended", "Suspended")
    assert in_stores(system, tenant) == {MAX: "1"}
    applied(system, tenant_config(tenant, {MAX: 2}))
    assert in_stores(system, tenant) == {MAX: "2"}


def test_policies_seed_and_observe(system: System, tenant: str) -> None:
    body = cluster.tenant_config(
        tenant,
        tenantId=tenant,
        entries=[
            {"key": "param_config_seed", "value": "first", "policy": "Seed"},
            {"key": "tenant_config_seen", "policy": "Observe"},
        ],
    )
    system.admin.apply(body)
    wait_for(lambda: condition(system.admin.get(body), "Ready").get("reason") == "Missing", "Missing")
    assert system.admin.get(configmap(tenant))["data"] == {"param_config_seed": "first"}
    name = f"/tenant-config/{tenant}/_/_/param_config_seed"
    system.parameters.put_parameter(Name=name, Value="theirs", Type="String", Overwrite=True)
    body["spec"]["entries"][0]["value"] = "second"
    system.admin.apply(body)
    wait_for(lambda: system.admin.get(configmap(tenant))["data"] == {"param_config_seed": "theirs"}, "seed kept")
    system.admin.delete(body)
    gone(system, body)
    assert in_stores(system, tenant) == {"param_config_seed": "theirs"}


def source_secret(tenant: str, text: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": tenant, "name": "keys", "labels": {"tenantconfig.dev/source": "true"}},
        "stringData": {"api": text},
    }


def sensitive(tenant: str) -> Object:
    source = {"key": "param_config_api_key", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}}
    return cluster.tenant_config(tenant, tenantId=tenant, entries=[source, {"key": MAX, "value": 1}])


def test_sensitive_value_goes_to_a_securestring_and_a_secret_alone(system: System, tenant: str) -> None:
    body = sensitive(tenant)
    system.admin.apply(body)
    assert stalled(system, body)["reason"] == "SecretNotFound"
    system.admin.create(source_secret(tenant, "s3cret-one"))
    resource = ready(system, body)
    parameter = system.parameter_values(tenant)[f"/tenant-config/{tenant}/_/_/param_config_api_key"]
    assert (parameter["Type"], parameter["Value"]) == ("SecureString", "s3cret-one")
    assert system.admin.get(configmap(tenant))["data"] == {MAX: "1"}
    projected = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": tenant, "name": "test"}}
    assert system.admin.get(projected)["data"] == {"param_config_api_key": "czNjcmV0LW9uZQ=="}
    assert "s3cret" not in json.dumps(resource["status"])

    system.admin.patch(source_secret(tenant, ""), {"stringData": {"api": "s3cret-two"}})
    wait_for(lambda: in_stores(system, tenant)["param_config_api_key"] == "s3cret-two", "rotated")
    assert system.controller
    assert "s3cret" not in system.controller.output()
    system.admin.delete(body)
    gone(system, body)
    assert not system.admin.exists(projected)
    assert in_stores(system, tenant) == {}


def test_secret_changed_while_the_controller_was_down_is_seen_at_its_start(while_down: System, tenant: str) -> None:
    system, body = while_down, sensitive(tenant)
    system.start_controller()
    system.admin.create(source_secret(tenant, "one"))
    applied(system, body)
    system.stop_controller()
    system.admin.patch(source_secret(tenant, ""), {"stringData": {"api": "two"}})
    system.start_controller()
    wait_for(lambda: in_stores(system, tenant)["param_config_api_key"] == "two", "the new value")


def test_configmap_edited_while_the_controller_was_down_is_put_back_at_its_start(
    while_down: System, tenant: str
) -> None:
    system = while_down
    system.start_controller()
    applied(system, tenant_config(tenant, ENTRIES))
    system.stop_controller()
    by_hand = system.admin.as_service_account("tenantconfig-system", "controller")
    by_hand.patch(configmap(tenant), {"data": {MAX: "666"}})
    system.start_controller()
    wait_for(lambda: system.admin.get(configmap(tenant))["data"] == STORED, "put back")


def test_configstore_changed_while_the_controller_was_down_is_seen_at_its_start(
    while_down: System, tenant: str
) -> None:
    system = while_down
    store = cluster.config_store(f"extra-{tenant}", prefixes=[f"{tenant}_"], ssm={"pathPrefix": f"/{tenant}-one"})
    system.admin.create(store)
    system.start_controller()
    body = tenant_config(tenant, {f"{tenant}_key": "x"})
    applied(system, body)
    system.stop_controller()
    system.admin.patch(store, {"spec": {"ssm": {"pathPrefix": f"/{tenant}-two"}}})
    system.start_controller()
    moved = f"/{tenant}-two/{tenant}/prod/_/{tenant}_key"

    wait_for(lambda: parameter_names(system, tenant) == [moved], "moved to the new path")
    assert wait_for(lambda: system.admin.get(body)["status"]["locations"] == [f"extra-{tenant}/2"], "location")
    system.admin.delete(body)
    gone(system, body)
    system.admin.delete(store)
    assert parameter_names(system, tenant) == []


def test_permission_withdrawn_while_the_controller_was_down_is_seen_at_its_start(
    while_down: System, tenant: str
) -> None:
    system, body = while_down, tenant_config(tenant, ENTRIES)
    system.start_controller()
    applied(system, body)
    system.stop_controller()
    annotate(system, tenant, None)
    system.start_controller()
    assert stalled(system, body)["reason"] == "TenantNotAllowed"
    assert in_stores(system, tenant) == STORED
    annotate(system, tenant, tenant)
    ready(system, body)


def annotate(system: System, name: str, tenants: str | None) -> None:
    system.admin.patch(cluster.namespace(name), {"metadata": {"annotations": {"tenantconfig.dev/tenants": tenants}}})


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_deletion_works_without_the_permission(system: System, tenant: str, propagation: str) -> None:
    body = tenant_config(tenant, ENTRIES)
    applied(system, body)
    annotate(system, tenant, None)
    wait_for(lambda: condition(system.admin.get(body), "Stalled").get("reason") == "TenantNotAllowed", "Stalled")
    system.admin.delete(body, propagation)
    gone(system, body)
    gone(system, configmap(tenant))
    assert in_stores(system, tenant) == {}


def test_orphaning_leaves_the_configmap_without_an_owner_and_withdrawn(system: System, tenant: str) -> None:
    body = tenant_config(tenant, ENTRIES)
    applied(system, body)
    system.admin.delete(body, "Orphan")
    gone(system, body)
    metadata = system.admin.get(configmap(tenant))["metadata"]
    assert "ownerReferences" not in metadata
    assert metadata["annotations"]["tenantconfig.dev/withdrawn"] == "true"
    assert in_stores(system, tenant) == {}


def test_namespace_deletion_takes_everything_with_it(system: System, tenant: str) -> None:
    applied(system, tenant_config(tenant, ENTRIES))
    system.admin.delete(cluster.namespace(tenant))
    gone(system, cluster.namespace(tenant))
    assert in_stores(system, tenant) == {}


def test_a_forbidden_tenant_is_refused_by_the_api_server(system: System, tenant: str) -> None:
    body = tenant_config(tenant, ENTRIES)
    body["spec"]["tenantId"] = "someone-else"
    with pytest.raises(Refused, match=r"spec\.tenantId"):
        system.admin.apply(body)


def test_a_configstore_in_use_stays_until_its_values_have_moved(system: System, tenant: str) -> None:
    first = cluster.config_store(f"first-{tenant}", prefixes=[f"{tenant}_"], ssm={"pathPrefix": f"/{tenant}-one"})
    second = cluster.config_store(f"second-{tenant}", prefixes=[f"{tenant}_"], ssm={"pathPrefix": f"/{tenant}-two"})
    system.admin.create(first)
    body = tenant_config(tenant, {f"{tenant}_key": "x"})
    applied(system, body)
    system.admin.delete(first)
    wait_for(lambda: condition(system.admin.get(first), "Ready").get("reason") == "Deleting", "held back")
    assert stalled(system, body)["reason"] == "NoStore"
    assert system.admin.get(configmap(tenant))["data"] == {f"{tenant}_key": "x"}

    system.admin.create(second)
    gone(system, first)
    assert ready(system, body)["status"]["locations"] == [f"second-{tenant}/1"]
    assert parameter_names(system, tenant) == [f"/{tenant}-two/{tenant}/prod/_/{tenant}_key"]
    system.admin.delete(body)
    gone(system, body)
    system.admin.delete(second)
    gone(system, second)


def test_two_configstores_with_one_prefix_the_older_keeps_it(system: System, tenant: str) -> None:
    late = cluster.config_store(f"late-{tenant}", prefixes=["tenant_config_"], ssm={"pathPrefix": f"/{tenant}"})
    system.admin.create(late)
    found = stalled(system, late)
    assert found["reason"] == "AmbiguousPrefix"
    assert "tenant_config_ (dynamodb)" in found["message"]
    applied(system, tenant_config(tenant, ENTRIES))
    assert in_stores(system, tenant) == STORED
    system.admin.delete(late)


def test_a_configstore_whose_table_is_missing_is_not_ready(system: System, tenant: str) -> None:
    store = cluster.config_store(f"lost-{tenant}", prefixes=[f"{tenant}_"], dynamodb={"tableName": f"{tenant}-table"})
    system.admin.create(store)
    wait_for(lambda: condition(system.admin.get(store), "Reconciling"), "Reconciling")
    assert f"{tenant}-table does not exist" in condition(system.admin.get(store), "Ready")["message"]
    body = tenant_config(tenant, {f"{tenant}_key": 1})
    system.admin.apply(body)
    wait_for(lambda: condition(system.admin.get(body), "Ready").get("reason") == "StoreNotReady", "StoreNotReady")
    create_table(system.table, f"{tenant}-table")
    ready(system, body)
    system.admin.delete(body)
    gone(system, body)
    system.admin.delete(store)
