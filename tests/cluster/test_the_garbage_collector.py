"""Kubernetes' real garbage collector, with its own service account, against the policies.

The last of the files, because in a fresh control plane the collector learns of
TenantConfigs only after half a minute, which the others fill.
"""

import pytest

from harness.api import Object
from harness.cluster import Cluster, projection, tenant_config
from harness.wait import wait_for

LEARNING_TIME = 90.0  # it looks for new kinds every 30 s


def projections(cluster: Cluster, owner: Object) -> list[Object]:
    """A ConfigMap and a Secret of the controller's, which the TenantConfig owns."""
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    bodies = [
        projection(owner["metadata"]["namespace"], owner["metadata"]["name"], kind) for kind in ("ConfigMap", "Secret")
    ]
    for body in bodies:
        body["metadata"]["ownerReferences"] = [reference]
    return [cluster.controller.create(body) for body in bodies]


def wait_until_gone(cluster: Cluster, body: Object, timeout: float = 30.0) -> None:
    """Waits for the end of an object."""
    wait_for(lambda: not cluster.admin.exists(body), f"end of {body['kind']} {body['metadata']['name']}", timeout)


def wait_until_orphaned(cluster: Cluster, body: Object) -> None:
    """Waits until nobody owns an object."""
    wait_for(lambda: "ownerReferences" not in cluster.admin.get(body)["metadata"], "no owner")


@pytest.fixture(scope="module")
def collected(cluster: Cluster) -> str:
    """A namespace, once the garbage collector knows of TenantConfigs: it alone ends one that is to be orphaned."""
    namespace = cluster.namespace("acme")
    probe = cluster.admin.create(tenant_config(namespace, "probe"))
    cluster.admin.delete(probe, propagation="Orphan")
    wait_until_gone(cluster, probe, LEARNING_TIME)
    return namespace


@pytest.mark.timeout(180)
def test_deletion_that_orphans(cluster: Cluster, collected: str) -> None:
    owner = cluster.admin.create(tenant_config(collected, "orphans"))
    owned = projections(cluster, owner)
    cluster.admin.delete(owner, propagation="Orphan")
    for body in owned:
        wait_until_orphaned(cluster, body)
    wait_until_gone(cluster, owner)


def test_deletion_in_the_foreground(cluster: Cluster, collected: str) -> None:
    owner = cluster.admin.create(tenant_config(collected, "foreground"))
    owned = projections(cluster, owner)
    cluster.admin.delete(owner, propagation="Foreground")
    wait_until_gone(cluster, owner)
    assert not any(cluster.admin.exists(body) for body in owned), "they go before their owner"


def test_deletion_in_the_background(cluster: Cluster, collected: str) -> None:
    owner = cluster.admin.create(tenant_config(collected, "background"))
    owned = projections(cluster, owner)
    cluster.admin.delete(owner)
    for body in owned:
        wait_until_gone(cluster, body)
