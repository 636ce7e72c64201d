"""What the API server takes as a TenantConfig, and what it says when it does not."""

import json
from typing import Any

import pytest

from harness.api import Object, Refused
from harness.cluster import Cluster, tenant_config

SECRET = {"secretKeyRef": {"name": "acme-keys", "key": "api"}}
CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Ready",
    "message": "everything is in the stores and projected",
    "lastTransitionTime": "2026-01-02T03:04:05Z",
    "observedGeneration": 1,
}
JSON_VALUES: list[Any] = ["", "text", 0, 1.5, False, [], {}, [1, {"a": [None]}]]
FULL_STATUS = {
    "observedGeneration": 1,
    "conditions": [{**CONDITION, "type": kind} for kind in ("Ready", "Reconciling", "Stalled", "StoresSynced")],
    "revision": 1767323045123,
    "digest": "3f1c" * 16,
    "entries": [
        {
            "key": f"tenant_config_{state}",
            "store": "dynamodb",
            "location": "dynamodb/1",
            "policy": "Seed",
            "state": state,
            "version": "12",
            "message": "as it should be",
        }
        for state in ("Synced", "Pending", "Drifted", "Missing", "Invalid")
    ],
    "locations": ["dynamodb/1", "ssm/1"],
    "inputs": "9ae0",
}


def entries(*fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries with the given fields, each with a key of its own unless it brings one."""
    return [{"key": f"tenant_config_{number}", **each} for number, each in enumerate(fields)]


ACCEPTED: dict[str, dict[str, Any]] = {
    "the least": {},
    "no entries": {"entries": []},
    "every field": {
        "environment": "prod",
        "service": "checkout",
        "entries": entries({"value": 1, "policy": "Enforce"}, {"valueFrom": SECRET}, {"policy": "Observe"}),
        "target": {"configMapName": "checkout-config", "secretName": "checkout.secrets"},
        "deletionPolicy": "Retain",
        "suspend": True,
    },
    "any JSON": {"entries": entries(*({"value": value} for value in JSON_VALUES))},
    "a seed": {"entries": entries({"value": "text", "policy": "Seed"}, {"valueFrom": SECRET, "policy": "Seed"})},
    "all that a key may be": {"entries": [{"key": key, "value": 1} for key in ("A", "_", "-", "a.b..c", "k" * 200)]},
    "a thousand entries of a kilobyte": {"entries": entries(*({"value": "v" * 1000} for _ in range(1000)))},
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no tenant": ({"tenantId": None}, "spec.tenantId: Required value"),
    "an upper-case tenant": ({"tenantId": "Acme"}, "spec.tenantId"),
    "a tenant of 64": ({"tenantId": "a" * 64}, "spec.tenantId"),
    "an environment of _": ({"environment": "_"}, "spec.environment"),
    "an environment with _": ({"environment": "pre_prod"}, "spec.environment"),
    "an empty environment": ({"environment": ""}, "spec.environment"),
    "a service with #": ({"service": "check#out"}, "spec.service"),
    "an entry without a key": ({"entries": [{"value": 1}]}, "spec.entries[0].key: Required value"),
    "a key twice": ({"entries": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]}, "spec.entries[1]: Duplicate"),
    "a key with /": ({"entries": [{"key": "a/b", "value": 1}]}, "spec.entries[0].key"),
    "a key with #": ({"entries": [{"key": "a#b", "value": 1}]}, "spec.entries[0].key"),
    "a key of ..": ({"entries": [{"key": "..", "value": 1}]}, "spec.entries[0].key"),
    "a key with a new line": ({"entries": [{"key": "a\n", "value": 1}]}, "spec.entries[0].key"),
    "an empty key": ({"entries": [{"key": "", "value": 1}]}, "spec.entries[0].key"),
    "a key of 201": ({"entries": [{"key": "k" * 201, "value": 1}]}, "spec.entries[0].key"),
    "1001 entries": ({"entries": entries(*({"value": 1} for _ in range(1001)))}, "spec.entries: Too many"),
    "value and valueFrom": (
        {"entries": entries({"value": 1}, {"value": 1, "valueFrom": SECRET})},
        "spec.entries: an entry has a value or a valueFrom, not both: tenant_config_1",
    ),
    "neither": (
        {"entries": entries({}, {"value": 1}, {"policy": "Seed"})},
        "unless its policy is Observe: tenant_config_0, tenant_config_2",
    ),
    "null": (
        {"entries": entries({"value": None})},
        "spec.entries: an entry needs a value (null is none) or a valueFrom, unless its policy is Observe: "
        "tenant_config_0",
    ),
    "neither, in so many entries that the message cannot name them": (
        {"entries": entries(*({} for _ in range(1000)))},
        "spec.entries: an entry needs a value",
    ),
    "a value to observe": (
        {"entries": entries({"value": 1, "policy": "Observe"})},
        "spec.entries: an entry with policy Observe takes its value from the store and has no value here: "
        "tenant_config_0",
    ),
    "a valueFrom to observe": (
        {"entries": entries({"valueFrom": SECRET, "policy": "Observe"})},
        "spec.entries[0].valueFrom: Forbidden: an entry with policy Observe",
    ),
    "an unknown policy": ({"entries": entries({"value": 1, "policy": "enforce"})}, "spec.entries[0].policy"),
    "half a reference": (
        {"entries": entries({"valueFrom": {"secretKeyRef": {"name": "acme-keys"}}})},
        "spec.entries[0].valueFrom.secretKeyRef.key: Required value",
    ),
    "an impossible ConfigMap": ({"target": {"configMapName": "Config"}}, "spec.target.configMapName"),
    "an unknown deletion policy": ({"deletionPolicy": "Orphan"}, "spec.deletionPolicy"),
    "a suspend in quotes": ({"suspend": "true"}, "spec.suspend"),
}


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(cluster: Cluster, acme: str, spec: dict[str, Any]) -> None:
    body = tenant_config(acme, **spec)
    assert cluster.admin.create(body, dry_run=True)["spec"] == body["spec"], "as it was written: no defaults"
    assert cluster.admin.apply(body, dry_run=True)["spec"] == body["spec"]


@pytest.mark.parametrize(("spec", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(cluster: Cluster, acme: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refusal:
        cluster.admin.create(tenant_config(acme, **spec), dry_run=True)
    assert message in str(refusal.value)
    with pytest.raises(Refused):
        cluster.admin.apply(tenant_config(acme, **spec), dry_run=True)


def test_server_side_apply_of_null_is_refused_only_by_the_policy(cluster: Cluster, acme: str) -> None:
    """Where the policy is not installed, the API server stores such an entry with neither value nor null."""
    null = tenant_config(acme, entries=[{"key": "tenant_config_a", "value": None}])
    with pytest.raises(Refused, match=r"ValidatingAdmissionPolicy.*null is none.*tenant_config_a"):
        cluster.admin.apply(null, dry_run=True)
    null["spec"]["entries"] = [{"key": "tenant_config_a", "valueFrom": None}]
    with pytest.raises(Refused, match="valueFrom"):
        cluster.admin.apply(null, dry_run=True)


def test_null_is_dropped_where_it_is_not_judged(cluster: Cluster, acme: str) -> None:
    """An observed entry may say `value: null`; nothing of it is kept."""
    entry = {"key": "tenant_config_a", "policy": "Observe"}
    applied = cluster.admin.apply(tenant_config(acme, entries=[{**entry, "value": None}]), dry_run=True)
    assert applied["spec"]["entries"] == [entry]


def test_unknown_fields_are_refused_by_kubectl(cluster: Cluster, acme: str) -> None:
    mistyped = tenant_config(acme, entires=[])
    refused = cluster.plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(mistyped), check=False)
    assert 'unknown field "spec.entires"' in refused.stderr


@pytest.mark.parametrize("field", ["tenantId", "environment", "service"])
def test_the_scope_is_immutable(cluster: Cluster, field: str) -> None:
    namespace = cluster.namespace("*")
    whole = cluster.admin.create(tenant_config(namespace, "whole", environment="prod", service="checkout"))
    message = rf"spec\.{field}: Forbidden: spec\.{field} is immutable.*: create another TenantConfig"
    with pytest.raises(Refused, match=message):
        cluster.admin.patch(whole, {"spec": {field: "changed"}})
    if field == "tenantId":
        return
    with pytest.raises(Refused, match=message):
        cluster.admin.patch(whole, {"spec": {field: None}})
    bare = cluster.admin.create(tenant_config(namespace, "bare"))
    with pytest.raises(Refused, match=message):
        cluster.admin.patch(bare, {"spec": {field: "added"}})


def test_all_but_the_scope_may_change(cluster: Cluster) -> None:
    body = cluster.admin.create(tenant_config(cluster.namespace(), environment="prod", entries=entries({"value": 1})))
    changes = {"entries": entries({"value": "2"}), "suspend": True, "deletionPolicy": "Retain"}
    changed = cluster.admin.patch(body, {"spec": changes})
    assert changed["spec"] == {"tenantId": "acme", "environment": "prod", **changes}
    assert changed["metadata"]["generation"] == 2


def test_the_api_server_normalises_numbers(cluster: Cluster, acme: str) -> None:
    """Which is why the field's description says to quote them."""
    text = json.dumps(tenant_config(acme, entries=entries({"value": 1}))).replace('"value": 1', '"value": 1.10')
    kept = cluster.plane.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=text).stdout
    assert json.loads(kept)["spec"]["entries"][0]["value"] == 1.1
    assert '"value": 1.1\n' in kept


def test_the_status_begins_as_not_observed(cluster: Cluster, acme: str) -> None:
    made = cluster.admin.create(tenant_config(acme), dry_run=True)
    assert made["status"] == {"observedGeneration": -1}, "so that kstatus reads InProgress"


def test_every_field_of_the_status_is_kept(cluster: Cluster) -> None:
    made = cluster.admin.create(tenant_config(cluster.namespace(), environment="prod"))
    written = cluster.controller.patch(made, {"status": FULL_STATUS}, subresource="status")
    assert written["status"] == FULL_STATUS
    assert cluster.admin.get(made)["status"] == FULL_STATUS
    assert written["metadata"]["generation"] == 1, "a status does not count as a change"


def test_the_status_is_not_written_with_the_resource(cluster: Cluster, acme: str) -> None:
    made: Object = cluster.admin.create({**tenant_config(acme), "status": FULL_STATUS}, dry_run=True)
    assert made["status"] == {"observedGeneration": -1}


def test_columns_and_field_selectors(cluster: Cluster) -> None:
    namespace = cluster.namespace("acme,globex")
    made = cluster.admin.create(tenant_config(namespace, "checkout-prod", environment="prod", service="checkout"))
    cluster.controller.patch(made, {"status": FULL_STATUS}, subresource="status")
    cluster.admin.create(tenant_config(namespace, "other", tenantId="globex"))
    table = cluster.plane.kubectl(
        "get", "tc", "-n", namespace, "--field-selector", "spec.tenantId=acme,spec.environment=prod", "-o", "wide"
    ).stdout
    header, line = table.splitlines()
    assert " ".join(header.split()) == "NAME TENANT ENVIRONMENT SERVICE READY REASON REVISION AGE DIGEST MESSAGE"
    row = line.split()
    assert row[:7] == ["checkout-prod", "acme", "prod", "checkout", "True", "Ready", "1767323045123"]
    assert row[8:10] == ["3f1c" * 16, "everything"]


def test_names(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    cluster.admin.create(tenant_config(namespace))
    for name in ("tc", "tcs", "tenantconfig", "tenantconfigs"):
        # A category of the same name would hide the kind, and mean ConfigStores too.
        listed = cluster.plane.kubectl("get", name, "-n", namespace, "-o", "name").stdout
        assert listed.split() == ["tenantconfig.tenantconfig.dev/test"]
    for name in ("cstore", "configstore", "configstores"):
        listed = cluster.plane.kubectl("get", name, "-o", "name").stdout
        assert "configstore.tenantconfig.dev/dynamodb" in listed.split()
