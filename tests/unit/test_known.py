"""What is remembered of the cluster as its objects come and go."""

import base64
from typing import Any

import pytest

from tenantconfig.configmaps import controller_uid
from tenantconfig.inputs import SourceSecret, Target
from tenantconfig.known import Known
from tenantconfig.model import Location, NamespaceRights, ResourceRef, digest

REF = ResourceRef("team", "checkout")


def owners(uid: str, controller: bool = True) -> list[dict[str, Any]]:
    return [{"uid": "uid-pet", "controller": False}, {"uid": uid, "controller": controller}]


def tenant_config(uid: str = "uid-1", name: str = "checkout", namespace: str = "team", **spec: Any) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": "1", "generation": 1}
    return {"metadata": metadata, "spec": {"tenantId": "acme", **spec}}


def configmap(uid: str = "uid-1", name: str = "config", revision: int = 57, **data: str) -> dict[str, Any]:
    annotations = {"tenantconfig.dev/revision": str(revision), "tenantconfig.dev/digest": "annotated"}
    metadata = {"namespace": "team", "name": name, "uid": "uid-cm", "resourceVersion": "1"}
    metadata |= {"annotations": annotations, "ownerReferences": owners(uid)}  # type: ignore[dict-item]
    return {"kind": "ConfigMap", "metadata": metadata, "data": data}


def secret(name: str, label: str | None, owner: str = "", version: str = "1") -> dict[str, Any]:
    metadata: dict[str, Any] = {"namespace": "team", "name": name, "uid": f"uid-{name}", "resourceVersion": version}
    if label is not None:
        metadata["labels"] = {"tenantconfig.dev/source": label}
    if owner:
        metadata["ownerReferences"] = owners(owner)
    return {"kind": "Secret", "metadata": metadata, "data": {"k": base64.b64encode(b"hush").decode()}}


def config_store(name: str, *prefixes: str, locations: tuple[str, ...] = (), created: str = "2026") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1, "creationTimestamp": created},
        "spec": {"prefixes": list(prefixes), "ssm": {"pathPrefix": "/x", "tier": "Advanced"}},
        "status": {"locations": [{"id": id, "pathPrefix": f"/{id}"} for id in locations]},
    }


@pytest.fixture
def known() -> Known:
    return Known()


def test_nothing_is_known_at_first(known: Known) -> None:
    assert known.facts(REF) is None
    assert (list(known.all()), list(known.in_namespace("team")), list(known.stores())) == ([], [], [])
    assert (known.owner("uid-1"), known.secret("team", "keys"), known.place("a/1")) == (None, None, None)
    assert (known.rights("team"), list(known.projections("uid-1"))) == (NamespaceRights(), [])
    assert known.router.find("a_1") is None


def test_a_tenantconfig_is_found_by_name_namespace_and_uid(known: Known) -> None:
    known.see_tenant_config(tenant_config())
    known.see_tenant_config(tenant_config("uid-2", "billing"))
    known.see_tenant_config(tenant_config("uid-3", "checkout", "elsewhere"))
    facts = known.facts(REF)
    assert facts is not None
    assert (facts.uid, known.owner("uid-1")) == ("uid-1", facts)
    assert {each.uid for each in known.in_namespace("team")} == {"uid-1", "uid-2"}
    assert {each.uid for each in known.all()} == {"uid-1", "uid-2", "uid-3"}


def test_the_latest_sight_replaces_the_former(known: Known) -> None:
    known.see_tenant_config(tenant_config())
    known.see_tenant_config(tenant_config(entries=[{"key": "a", "value": "1"}]))
    facts = known.facts(REF)
    assert facts is not None
    assert facts.keys == ("a",)
    assert len(list(known.all())) == 1


def test_a_forgotten_tenantconfig_is_gone_everywhere(known: Known) -> None:
    known.see_tenant_config(tenant_config())
    known.see_configmap(configmap())
    known.forget_tenant_config(REF, "uid-1")
    assert (known.facts(REF), known.owner("uid-1"), list(known.in_namespace("team"))) == (None, None, [])
    assert list(known.projections("uid-1")) == []


def test_the_end_of_a_former_self_does_not_touch_the_one_made_again(known: Known) -> None:
    known.see_tenant_config(tenant_config("uid-1"))
    known.see_tenant_config(tenant_config("uid-2"))
    known.forget_tenant_config(REF, "uid-1")
    facts = known.facts(REF)
    assert facts is not None
    assert facts.uid == "uid-2"
    assert known.owner("uid-1") is None
    assert list(known.in_namespace("team")) == [facts]


def test_forgetting_what_was_never_seen_is_nothing(known: Known) -> None:
    known.forget_tenant_config(REF, "uid-1")
    known.forget_store("a")
    known.forget_namespace("team")
    known.forget_configmap(configmap())
    known.forget_secret(secret("keys", "true"))


def test_stores_route_while_they_are_there(known: Known) -> None:
    known.see_store(config_store("a", "a_"))
    known.see_store(config_store("b", "a_1"))
    assert [store.name for key in ("a_1", "a_2") if (store := known.router.find(key))] == ["b", "a"]
    known.forget_store("b")
    assert [store.name for key in ("a_1", "a_2") if (store := known.router.find(key))] == ["a", "a"]
    known.see_store(config_store("a", "c_"))
    assert known.router.find("a_1") is None
    assert [store.name for store in known.stores()] == ["a"]


def test_a_recorded_place_is_found_with_the_options_of_its_store(known: Known) -> None:
    known.see_store(config_store("a", "a_", locations=("a/1", "a/2")))
    assert known.place("a/2") == (Location("a/2", "ssm", (("pathPrefix", "/a/2"),)), (("tier", "Advanced"),))
    assert known.place("a/3") is None
    known.forget_store("a")
    assert known.place("a/2") is None


def test_a_namespaces_rights_are_those_of_its_annotations(known: Known) -> None:
    known.see_namespace({"metadata": {"name": "team", "annotations": {"tenantconfig.dev/tenants": "acme, globex"}}})
    assert known.rights("team").declares == {"acme", "globex"}
    known.see_namespace({"metadata": {"name": "team"}})
    assert known.rights("team") == NamespaceRights()
    known.see_namespace({"metadata": {"name": "team", "annotations": {"tenantconfig.dev/tenants": "*"}}})
    known.forget_namespace("team")
    assert known.rights("team") == NamespaceRights()


def test_a_configmap_is_remembered_by_what_decides_and_no_value(known: Known) -> None:
    known.see_tenant_config(tenant_config(target={"configMapName": "config"}))
    assert known.see_configmap(configmap(a="hush")) == "uid-1"
    facts = known.facts(REF)
    assert facts is not None
    assert known.target(facts) == Target("uid-1", 57, "annotated", digest({"a": "hush"}))
    assert list(known.projections("uid-1")) == [("configmaps", "config")]
    assert "hush" not in repr(vars(known))


def test_a_configmap_that_goes_says_whose_it_was(known: Known) -> None:
    known.see_tenant_config(tenant_config(target={"configMapName": "config"}))
    known.see_configmap(configmap())
    assert known.forget_configmap(configmap()) == "uid-1"
    facts = known.facts(REF)
    assert facts is not None
    assert known.target(facts) is None
    assert list(known.projections("uid-1")) == []


def test_a_configmap_without_an_owner_is_nobodys(known: Known) -> None:
    assert known.see_configmap({**configmap(), "metadata": configmap()["metadata"] | {"ownerReferences": None}}) == ""


def test_source_secrets_are_remembered_without_their_data(known: Known) -> None:
    known.see_secret(secret("keys", "true"))
    assert known.secret("team", "keys") == SourceSecret("uid-keys", "1")
    assert known.secret("elsewhere", "keys") is None
    known.see_secret(secret("keys", "true", version="2"))
    assert known.secret("team", "keys") == SourceSecret("uid-keys", "2")
    assert base64.b64encode(b"hush").decode() not in repr(vars(known))
    known.forget_secret(secret("keys", "true"))
    assert known.secret("team", "keys") is None


def test_a_projected_secret_is_a_projection_and_no_source(known: Known) -> None:
    known.see_secret(secret("secrets", "false", owner="uid-1"))
    assert known.secret("team", "secrets") is None
    assert list(known.projections("uid-1")) == [("secrets", "secrets")]
    known.forget_secret(secret("secrets", "false", owner="uid-1"))
    assert list(known.projections("uid-1")) == []


def test_a_secret_that_stops_being_a_source_is_none(known: Known) -> None:
    known.see_secret(secret("keys", "true"))
    known.see_secret(secret("keys", "false"))
    assert known.secret("team", "keys") is None


@pytest.mark.parametrize(
    ("references", "uid"),
    [(None, ""), ([], ""), (owners("uid-1"), "uid-1"), (owners("uid-1", controller=False), "")],
)
def test_the_controlling_owner_is_the_one_that_says_so(references: list[dict[str, Any]] | None, uid: str) -> None:
    assert controller_uid({"metadata": {"ownerReferences": references}}) == uid
