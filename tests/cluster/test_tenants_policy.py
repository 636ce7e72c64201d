"""A namespace declares only the tenants that its administrator permits, and what it has declared can always end."""

import pytest

from harness.api import Object, Refused
from harness.cluster import Cluster, namespace, tenant_config
from harness.wait import wait_for

FINALIZER = "tenantconfig.dev/finalizer"


@pytest.mark.parametrize("tenants", ["acme", "globex,acme", " globex , acme ", "acme,", "*", "globex, *"])
def test_permitted(cluster: Cluster, tenants: str) -> None:
    cluster.admin.create(tenant_config(cluster.namespace(tenants)))


@pytest.mark.parametrize(
    ("tenants", "known"),
    [
        (None, "nor any other"),
        ("", "nor any other"),
        (",", "nor any other"),
        ("globex, initech", "only globex, initech"),
        ("acme-2", "only acme-2"),
        ("acm*", r"only acm\*"),
        ("acme globex", "only acme globex"),
    ],
)
def test_refused(cluster: Cluster, tenants: str | None, known: str) -> None:
    name = cluster.namespace(tenants)
    message = (
        rf"spec\.tenantId: namespace {name} may not declare tenant acme \({known}\): "
        r"its administrator permits it in the namespace's annotation tenantconfig\.dev/tenants"
    )
    with pytest.raises(Refused, match=message) as refusal:
        cluster.admin.create(tenant_config(name))
    assert refusal.value.code == 403


def withdraw_permission(cluster: Cluster, name: str) -> None:
    """Takes the namespace's annotation away and waits until the policy has noticed."""
    cluster.admin.patch(namespace(name), {"metadata": {"annotations": {"tenantconfig.dev/tenants": None}}})

    def refused() -> bool:
        try:
            cluster.admin.create(tenant_config(name, "probe"), dry_run=True)
        except Refused:
            return True
        return False

    wait_for(refused, "permission withdrawn")


@pytest.fixture
def declared(cluster: Cluster) -> Object:
    """A TenantConfig with the controller's finalizer, whose namespace may no longer declare its tenant."""
    name = cluster.namespace("acme")
    body = tenant_config(name, entries=[{"key": "tenant_config_a", "value": {"b": 1}}])
    body["metadata"]["finalizers"] = [FINALIZER]
    declared = cluster.admin.create(body)
    withdraw_permission(cluster, name)
    return declared


def test_without_permission_only_the_spec_is_judged(cluster: Cluster, declared: Object) -> None:
    with pytest.raises(Refused, match=r"spec\.tenantId: .* may not declare tenant acme"):
        cluster.admin.patch(declared, {"spec": {"suspend": True}})
    cluster.admin.patch(declared, {"metadata": {"labels": {"team": "checkout"}}})
    cluster.admin.patch(declared, {"spec": declared["spec"]})
    written = cluster.controller.patch(declared, {"status": {"observedGeneration": 1}}, subresource="status")
    assert written["status"] == {"observedGeneration": 1}


def test_without_permission_it_can_be_deleted(cluster: Cluster, declared: Object) -> None:
    cluster.admin.delete(declared)
    # What its owner still changes while it goes is of no consequence.
    cluster.admin.patch(declared, {"spec": {"suspend": True}})
    assert cluster.admin.get(declared)["metadata"]["deletionTimestamp"]
    cluster.controller.patch(declared, {"metadata": {"finalizers": None}})
    assert not cluster.admin.exists(declared)


def test_without_permission_the_namespace_ends(cluster: Cluster, declared: Object) -> None:
    home = namespace(declared["metadata"]["namespace"])
    cluster.admin.delete(home)
    wait_for(lambda: "deletionTimestamp" in cluster.admin.get(declared)["metadata"], "deletion reaches the resource")
    cluster.controller.patch(declared, {"metadata": {"finalizers": None}})
    wait_for(lambda: not cluster.admin.exists(home), "the namespace ends")
