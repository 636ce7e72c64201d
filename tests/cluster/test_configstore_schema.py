"""What the API server takes as a ConfigStore, and what it says when it does not."""

from typing import Any

import pytest

from harness.api import Refused
from harness.cluster import Cluster, config_store

DYNAMODB = {"tableName": "tenant-config"}
SSM = {"pathPrefix": "/tenant-config"}
PREFIXES = {"prefixes": ["tenant_config_"]}
ROLE = "arn:aws:iam::123456789012:role/tenantconfig"

ACCEPTED: dict[str, dict[str, Any]] = {
    "a table": {"prefixes": ["tenant_config_", "tenantconfig"], "dynamodb": DYNAMODB},
    "a table elsewhere": {**PREFIXES, "dynamodb": {**DYNAMODB, "region": "us-gov-west-1", "assumeRoleArn": ROLE}},
    "parameters": {
        **PREFIXES,
        "ssm": {
            "pathPrefix": "/one/two/three",
            "region": "eu-west-1",
            "tier": "Intelligent-Tiering",
            "kmsKeyId": "alias/tenant-config",
            "writesPerSecond": 0.5,
            "readsPerSecond": 40,
            "assumeRoleArn": ROLE,
            "sessionTagKey": "acme:tenant",
        },
    },
    "sessions of one tenant": {**PREFIXES, "dynamodb": {**DYNAMODB, "assumeRoleArn": ROLE, "sessionTagKey": "tenant"}},
    "a plugin": {**PREFIXES, "plugin": {"name": "memory"}},
    "a plugin's own settings": {**PREFIXES, "plugin": {"name": "memory", "config": {"any": [1, {"thing": None}]}}},
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no prefixes": ({"dynamodb": DYNAMODB}, "spec.prefixes: Required value"),
    "an empty list of prefixes": ({"prefixes": [], "dynamodb": DYNAMODB}, "spec.prefixes"),
    "an empty prefix": ({"prefixes": [""], "dynamodb": DYNAMODB}, "spec.prefixes[0]"),
    "a prefix that no key has": ({"prefixes": ["a/"], "dynamodb": DYNAMODB}, "spec.prefixes[0]"),
    "a prefix twice": ({"prefixes": ["a", "a"], "dynamodb": DYNAMODB}, "spec.prefixes[1]: Duplicate value"),
    "no store": (PREFIXES, "exactly one of spec.dynamodb, spec.ssm and spec.plugin"),
    "two stores": ({**PREFIXES, "dynamodb": DYNAMODB, "ssm": SSM}, "exactly one of spec.dynamodb, spec.ssm"),
    "three stores": (
        {**PREFIXES, "dynamodb": DYNAMODB, "ssm": SSM, "plugin": {"name": "memory"}},
        "exactly one of spec.dynamodb, spec.ssm",
    ),
    "no table": ({**PREFIXES, "dynamodb": {}}, "spec.dynamodb.tableName: Required value"),
    "a short table": ({**PREFIXES, "dynamodb": {"tableName": "ab"}}, "spec.dynamodb.tableName"),
    "a table with a space": ({**PREFIXES, "dynamodb": {"tableName": "a table"}}, "spec.dynamodb.tableName"),
    "a role's name": ({**PREFIXES, "dynamodb": {**DYNAMODB, "assumeRoleArn": "role"}}, "spec.dynamodb.assumeRoleArn"),
    "tags without a role": ({**PREFIXES, "dynamodb": {**DYNAMODB, "sessionTagKey": "tenant"}}, "name it in assumeRole"),
    "parameters' tags without a role": ({**PREFIXES, "ssm": {**SSM, "sessionTagKey": "x"}}, "name it in assumeRole"),
    "a tag key of AWS": (
        {**PREFIXES, "ssm": {**SSM, "assumeRoleArn": ROLE, "sessionTagKey": "aws:x"}},
        "AWS reserves tag keys",
    ),
    "a tag key with a space": (
        {**PREFIXES, "dynamodb": {**DYNAMODB, "assumeRoleArn": ROLE, "sessionTagKey": "a b"}},
        "spec.dynamodb.sessionTagKey",
    ),
    "no path": ({**PREFIXES, "ssm": {}}, "spec.ssm.pathPrefix: Required value"),
    "a relative path": ({**PREFIXES, "ssm": {"pathPrefix": "tenant-config"}}, "spec.ssm.pathPrefix"),
    "a trailing slash": ({**PREFIXES, "ssm": {"pathPrefix": "/tenant-config/"}}, "spec.ssm.pathPrefix"),
    "a path of AWS": ({**PREFIXES, "ssm": {"pathPrefix": "/AWS/tenant"}}, "AWS reserves names"),
    "twelve levels": ({**PREFIXES, "ssm": {"pathPrefix": "/a" * 12}}, "spec.ssm.pathPrefix"),
    "an unknown tier": ({**PREFIXES, "ssm": {**SSM, "tier": "standard"}}, "spec.ssm.tier"),
    "no writes": ({**PREFIXES, "ssm": {**SSM, "writesPerSecond": 0}}, "spec.ssm.writesPerSecond"),
    "a plugin without a name": ({**PREFIXES, "plugin": {"config": {}}}, "spec.plugin.name: Required value"),
}


@pytest.mark.parametrize("spec", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(cluster: Cluster, spec: dict[str, Any]) -> None:
    made = cluster.admin.create(config_store("test", **spec), dry_run=True)
    assert made["spec"] == spec, "as it was written: no defaults"
    assert made["status"] == {"observedGeneration": -1}


@pytest.mark.parametrize(("spec", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(cluster: Cluster, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused) as refusal:
        cluster.admin.create(config_store("test", **spec), dry_run=True)
    assert message in str(refusal.value)


def test_every_field_of_the_status_is_kept(cluster: Cluster) -> None:
    store = cluster.admin.create(config_store("cluster-status", prefixes=["cluster_status_"], dynamodb=DYNAMODB))
    places = [
        {"tableName": "tenant-config", "region": "eu-west-1", "assumeRoleArn": ROLE, "sessionTagKey": "tenant"},
        {"pathPrefix": "/tenant-config", "region": "eu-west-1"},
        {"plugin": "memory"},
    ]
    status = {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Ready",
                "message": "accepted",
                "lastTransitionTime": "2026-01-02T03:04:05Z",
                "observedGeneration": 1,
            }
        ],
        "entries": 1234,
        "locations": [{"id": f"cluster-status/{number}", **place} for number, place in enumerate(places, 1)],
    }
    assert cluster.controller.patch(store, {"status": status}, subresource="status")["status"] == status
    header, row = cluster.plane.kubectl("get", "cstore", "cluster-status").stdout.splitlines()
    assert header.split() == ["NAME", "PREFIXES", "READY", "REASON", "AGE"]
    assert row.split()[:4] == ["cluster-status", '["cluster_status_"]', "True", "Ready"]
    cluster.admin.delete(store)
