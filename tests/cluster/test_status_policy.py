"""The controller believes the status that it wrote before, so nobody else may write one.

Not even someone who may do anything in the namespace, as a team often may.
"""

from typing import Any

import pytest

from harness.api import Api, Object, Refused
from harness.cluster import Cluster, config_store, namespace, tenant_config
from harness.wait import wait_for

MESSAGE = (
    r"status: only the operator \(service account controller in namespace tenantconfig-system\) writes it, "
    r"as what it found and did: change spec"
)
STATUS: dict[str, Any] = {"observedGeneration": 1, "revision": 57, "digest": "3f1c" * 16, "locations": ["dynamodb/1"]}


@pytest.fixture(scope="module")
def projected(cluster: Cluster, home: str, editor: Api) -> Object:
    """A resource of the team's, of which the controller has written what it did."""
    made = editor.create(tenant_config(home))
    return cluster.controller.patch(made, {"status": STATUS}, subresource="status")


FORGERIES: dict[str, Any] = {
    "a revision": {"revision": 2**62},
    "a place": {"locations": ["dynamodb/1", "ssm/1"]},
    "no places": {"locations": None},
    "a generation": {"observedGeneration": 2},
    "inputs": {"inputs": "x"},
    "nothing in it": dict.fromkeys(STATUS),
    "none": None,
}


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_nobody_else_writes_one(
    cluster: Cluster, editor: Api, projected: Object, forgery: dict[str, Any] | None
) -> None:
    for someone in (editor, cluster.admin):
        with pytest.raises(Refused, match=MESSAGE) as refusal:
            someone.patch(projected, {"status": forgery}, subresource="status")
        assert refusal.value.code == 403
        with pytest.raises(Refused, match=MESSAGE):
            someone.replace({**someone.get(projected), "status": forgery}, subresource="status")


def test_nobody_writes_one_along_with_the_resource(cluster: Cluster, home: str, editor: Api) -> None:
    """No policy is needed there: the API server takes a status by its subresource alone."""
    body = {**tenant_config(home, "along"), "status": STATUS}
    unwritten = {"observedGeneration": -1}
    assert editor.create(body)["status"] == unwritten
    assert editor.patch(body, {"status": STATUS})["status"] == unwritten
    assert editor.replace({**editor.get(body), "status": STATUS})["status"] == unwritten
    assert editor.apply(body)["status"] == unwritten
    body["metadata"]["name"] = "applied"
    assert editor.apply(body)["status"] == unwritten
    assert cluster.admin.get(body)["status"] == unwritten


def test_one_that_stays_as_it_is_passes(editor: Api, projected: Object) -> None:
    assert editor.patch(projected, {"status": STATUS}, subresource="status")["status"] == STATUS
    assert editor.replace(editor.get(projected), subresource="status")["status"] == STATUS


def test_all_else_is_still_the_teams(editor: Api, projected: Object) -> None:
    changed = editor.patch(projected, {"metadata": {"labels": {"a": "b"}}, "spec": {"suspend": True}})
    assert (changed["spec"]["suspend"], changed["status"]) == (True, STATUS)


def test_the_controller_writes_it(cluster: Cluster, home: str) -> None:
    made = cluster.admin.create(tenant_config(home, "working"))
    assert cluster.controller.patch(made, {"status": STATUS}, subresource="status")["status"] == STATUS


def test_nobody_else_writes_that_of_a_configstore(cluster: Cluster) -> None:
    store = config_store("status-policy", prefixes=["status_policy_"], plugin={"name": "memory"})
    cluster.admin.create(store)
    places = {"status": {"locations": [{"id": "status-policy/1", "plugin": "memory"}]}}
    with pytest.raises(Refused, match=MESSAGE):
        cluster.admin.patch(store, places, subresource="status")
    written = cluster.controller.patch(store, places, subresource="status")
    assert written["status"]["locations"] == places["status"]["locations"]
    cluster.admin.delete(store)


def test_a_namespace_ends_with_what_has_a_status(cluster: Cluster) -> None:
    """The namespace controller and the garbage collector act with accounts of their own."""
    name = cluster.namespace("acme")
    body = tenant_config(name)
    body["metadata"]["finalizers"] = ["tenantconfig.dev/finalizer"]
    made = cluster.admin.create(body)
    cluster.controller.patch(made, {"status": STATUS}, subresource="status")
    cluster.admin.delete(namespace(name))
    wait_for(lambda: "deletionTimestamp" in cluster.admin.get(made)["metadata"], "deletion reaches the resource")
    cluster.controller.patch(made, {"status": {"observedGeneration": 2}}, subresource="status")
    cluster.controller.patch(made, {"metadata": {"finalizers": None}})
    wait_for(lambda: not cluster.admin.exists(namespace(name)), "the namespace ends")
