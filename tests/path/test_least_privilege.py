"""Each process does its whole work with its own account, and every verb that the account has is used in it.

So no rule can be taken away without this failing, and none is there for nothing. What
the processes asked for is in the API server's audit log.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from harness.api import Api, Object, Refused
from harness.aws import LocalAws, Moto
from harness.cluster import namespace, projection, tenant_config
from harness.controlplane import AuditEvent, ControlPlane
from harness.install import BASE, WITH_SECRETS
from harness.system import NAMESPACE, TABLE, System, condition
from harness.wait import wait_for

TENANT = "least"
# What is open to every account, and what the audit log does not show: the API server looks at it itself when an
# owner reference is written that blocks its owner's deletion (see the last test).
EVERYBODYS = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", ""}
LOOKED_AT = {("controller", "update", "tenantconfigs/finalizers")}
TESTS_OWN = "python-urllib3"  # the agent of what the tests themselves ask

Right = tuple[str, str, str]  # account, verb, resource


def granted() -> set[Right]:
    """What the manifests give, cluster-wide or in the operator's namespace."""
    documents = [
        each for folder in (BASE, WITH_SECRETS) for each in yaml.safe_load_all((folder / "rbac.yaml").read_text())
    ]
    rules = {each["metadata"]["name"]: each["rules"] for each in documents if each["kind"].endswith("Role")}
    return {
        (subject["name"], verb, resource)
        for each in documents
        if each["kind"].endswith("Binding")
        for subject in each["subjects"]
        for rule in rules[each["roleRef"]["name"]]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, moto: Moto, dynamodb_local: LocalAws) -> Iterator[list[AuditEvent]]:
    """What the processes asked for in a life of a resource: from their start to their end."""
    directory = tmp_path_factory.mktemp("least")
    plane = ControlPlane.start(directory / "control-plane")
    try:
        system = System(directory, plane, moto, dynamodb_local, requests_per_second=1000)
        try:
            live(system)
        finally:
            system.stop()
        yield [each for each in plane.audit() if not each.user_agent.startswith(TESTS_OWN)]
    finally:
        plane.stop()


def live(system: System) -> None:
    """Everything that makes the processes ask for something."""
    system.start_controller()
    system.start_watch_server()
    admin, controller = system.admin, system.admin.as_service_account(NAMESPACE, "controller")
    admin.create(namespace(TENANT, {"tenantconfig.dev/tenants": TENANT}))
    source = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"namespace": TENANT, "name": "keys", "labels": {"tenantconfig.dev/source": "true"}},
        "stringData": {"api": "hush"},
    }
    admin.create(source)
    secret = {"key": "param_config_api", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}}
    body = tenant_config(TENANT, tenantId=TENANT, entries=[{"key": "tenant_config_a", "value": "1"}, secret])
    admin.create(body)
    ready(admin, body)
    got = system.client("get", TENANT, f"--tenant={TENANT}")
    got.wait_until(lambda: "tenant_config_a" in got.output(), "the values at a subscriber")

    system.table.put_item(TableName=TABLE, Item=system.items(TENANT)["tenant_config_a"] | {"value": {"S": "foreign"}})
    admin.patch(body, {"spec": {"entries": [{"key": "tenant_config_a", "value": "2"}, secret]}})
    wait_for(lambda: admin.get(projection(TENANT))["data"] == {"tenant_config_a": "2"}, "the change")
    admin.patch(source, {"stringData": {"api": "another"}})
    another = base64.b64encode(b"another").decode()
    wait_for(
        lambda: admin.get(projection(TENANT, kind="Secret"))["data"]["param_config_api"] == another, "the rotation"
    )
    # What others' managers own, apply does not take away: that takes an update.
    edited(controller, projection(TENANT), {"foreign": "x"})
    wait_for(lambda: admin.get(projection(TENANT))["data"] == {"tenant_config_a": "2"}, "the ConfigMap put back")
    foreign = base64.b64encode(b"x").decode()
    edited(controller, projection(TENANT, kind="Secret"), {"foreign": foreign})
    admin.patch(source, {"stringData": {"api": "hush again"}})
    wait_for(lambda: list(admin.get(projection(TENANT, kind="Secret"))["data"]) == ["param_config_api"], "the Secret")
    admin.delete(body)
    wait_for(lambda: not admin.exists(body), "the resource gone")
    store = {"apiVersion": "tenantconfig.dev/v1alpha1", "kind": "ConfigStore", "metadata": {"name": "ssm"}}
    admin.delete(store)
    wait_for(lambda: not admin.exists(store), "the ConfigStore gone")


def edited(controller: Api, body: Object, data: dict[str, str]) -> None:
    """Someone with the controller's rights adds to a projection."""
    labels = {"tenantconfig.dev/tenant": TENANT}
    metadata = {**body["metadata"], "labels": labels}
    controller.apply({**body, "metadata": metadata, "data": data})


def ready(admin: Api, body: Object) -> None:
    wait_for(lambda: condition(admin.get(body), "Ready").get("status") == "True", "Ready")


def account(event: AuditEvent) -> str:
    return event.user.rpartition(":")[2]


def test_nothing_was_refused(asked: list[AuditEvent]) -> None:
    assert [each for each in asked if each.code in {401, 403}] == []


@pytest.mark.parametrize("name", ["controller", "watch-server"])
def test_an_account_has_what_its_process_asks_for_and_nothing_else(asked: list[AuditEvent], name: str) -> None:
    used = {(account(each), each.verb, each.resource) for each in asked if each.user.endswith(f"{NAMESPACE}:{name}")}
    used = {each for each in used if each[2] not in EVERYBODYS}
    given = {each for each in granted() if each[0] == name}
    assert used == given - LOOKED_AT


def test_the_right_to_block_an_owners_deletion(cluster_without_it: Api) -> None:
    owner = {"apiVersion": "tenantconfig.dev/v1alpha1", "kind": "TenantConfig", "name": "test", "uid": "x"}
    reference = {**owner, "controller": True, "blockOwnerDeletion": True}
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "owned", "namespace": "default", "ownerReferences": [reference]},
    }
    with pytest.raises(Refused, match="cannot set blockOwnerDeletion"):
        cluster_without_it.create(body, dry_run=True)
    reference["blockOwnerDeletion"] = False
    cluster_without_it.create(body, dry_run=True)


@pytest.fixture
def cluster_without_it(control_plane: ControlPlane) -> Api:
    """One with all the controller's rights but the one to update a TenantConfig's finalizers."""
    admin = Api.of_administrator(control_plane)
    name = "without-finalizers"
    rules = [
        rule
        for each in yaml.safe_load_all(Path(BASE / "rbac.yaml").read_text())
        if each["metadata"]["name"] == "tenantconfig-controller" and each["kind"] == "ClusterRole"
        for rule in each["rules"]
        if rule["resources"] != ["tenantconfigs/finalizers"]
    ]
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "ClusterRole", "name": name}
    control_plane.apply(
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": "default"}},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": role,
            "subjects": [subject],
        },
    )
    return admin.as_service_account("default", name)
