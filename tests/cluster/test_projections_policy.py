"""Watch servers believe every ConfigMap with the tenant label, so nobody but the controller may write one.

The same is said of Secrets, where the overlay lets the controller write them.
"""

import base64
from typing import Any

import pytest

from harness.api import Api, Object, Refused
from harness.cluster import Cluster, projection

TENANT = "tenantconfig.dev/tenant"
KINDS = pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
MESSAGE = r"{kind} with the label tenantconfig\.dev/tenant .* from a TenantConfig alone"


def text(kind: str, value: str) -> str:
    """A value as it stands in the data of a ConfigMap or a Secret."""
    return base64.b64encode(value.encode()).decode() if kind == "Secret" else value


@pytest.fixture(scope="module")
def projected(cluster: Cluster, home: str) -> dict[str, Object]:
    """What the controller has written, by kind."""
    annotations = {"tenantconfig.dev/revision": "1"}
    made = {}
    for kind in ("ConfigMap", "Secret"):
        body = projection(home, "projected", kind, data={"a": text(kind, "1")})
        body["metadata"]["annotations"] = annotations
        made[kind] = cluster.controller.create(body)
    return made


@KINDS
def test_nobody_else_creates_one(cluster: Cluster, home: str, editor: Api, kind: str) -> None:
    for someone in (editor, cluster.admin):
        with pytest.raises(Refused, match=MESSAGE.format(kind=kind)) as refusal:
            someone.create(projection(home, "forged", kind))
        assert refusal.value.code == 403
        with pytest.raises(Refused, match=MESSAGE.format(kind=kind)):
            someone.apply(projection(home, "forged", kind))
    forged = projection(home, "forged", kind)
    forged["metadata"]["labels"] = {TENANT: ""}
    with pytest.raises(Refused, match=MESSAGE.format(kind=kind)):
        editor.create(forged)
    editor.create({**forged, "metadata": {"name": "forged", "namespace": home, "labels": {"tenant": "acme"}}})
    with pytest.raises(Refused, match=MESSAGE.format(kind=kind)):
        editor.patch(forged, {"metadata": {"labels": {TENANT: "acme"}}})


FORGERIES: dict[str, dict[str, Any]] = {
    "a value": {"data": {"a": "Mg=="}},
    "one more value": {"data": {"b": "Mg=="}},
    "no values": {"data": None},
    "another tenant": {"metadata": {"labels": {TENANT: "globex"}}},
    "no tenant": {"metadata": {"labels": {TENANT: None}}},
    "no labels": {"metadata": {"labels": None}},
    "another scope": {"metadata": {"labels": {"tenantconfig.dev/environment": "prod"}}},
    "a revision": {"metadata": {"annotations": {"tenantconfig.dev/revision": "2"}}},
    "a withdrawal": {"metadata": {"annotations": {"tenantconfig.dev/withdrawn": "true"}}},
    "no annotations": {"metadata": {"annotations": None}},
    "a lock": {"immutable": True},
}


@KINDS
@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_nobody_else_changes_one(
    cluster: Cluster, editor: Api, projected: dict[str, Object], kind: str, forgery: dict[str, Any]
) -> None:
    for someone in (editor, cluster.admin):
        with pytest.raises(Refused, match=MESSAGE.format(kind=kind)):
            someone.patch(projected[kind], forgery)


@pytest.mark.parametrize(("kind", "field"), [("ConfigMap", "binaryData"), ("Secret", "stringData")])
def test_nobody_else_adds_values_by_another_field(
    editor: Api, projected: dict[str, Object], kind: str, field: str
) -> None:
    with pytest.raises(Refused, match=MESSAGE.format(kind=kind)):
        editor.patch(projected[kind], {field: {"b": "Mg=="}})


@KINDS
def test_owners_and_finalizers_are_everybodys(editor: Api, projected: dict[str, Object], kind: str) -> None:
    """The garbage collector changes them; see test_garbage_collection for the real one."""
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "someone", "uid": "0"}
    changes = {"finalizers": ["example.com/hold"], "ownerReferences": [owner]}
    assert editor.patch(projected[kind], {"metadata": changes}, dry_run=True)["metadata"]["ownerReferences"]
    editor.replace(editor.get(projected[kind]))


@KINDS
def test_the_controller_may_do_all_of_it(cluster: Cluster, home: str, kind: str) -> None:
    made = cluster.controller.create(projection(home, "working", kind, data={"a": text(kind, "1")}))
    cluster.controller.patch(made, {"data": {"a": text(kind, "2")}, "metadata": {"annotations": {"b": "c"}}})
    applied = projection(home, "working", kind, data={"c": text(kind, "3")})
    cluster.controller.apply({**applied, "metadata": {**applied["metadata"], "uid": made["metadata"]["uid"]}})
    cluster.controller.replace({**cluster.controller.get(made), "data": {}})
    cluster.controller.delete(made)
    assert not cluster.admin.exists(made)


@KINDS
def test_deletion_is_not_judged(cluster: Cluster, home: str, editor: Api, kind: str) -> None:
    made = cluster.controller.create(projection(home, "deleted", kind))
    editor.delete(made)
    assert not cluster.admin.exists(made)


@KINDS
def test_without_the_label_nothing_is_judged(home: str, editor: Api, kind: str) -> None:
    own = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "own", "namespace": home}}
    editor.create(own)
    editor.patch(own, {"data": {"a": text(kind, "1")}, "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}})
