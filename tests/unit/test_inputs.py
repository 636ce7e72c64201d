"""What makes a pass due that no handler asks for."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import pytest

from tenantconfig.inputs import (
    Facts,
    SourceSecret,
    Target,
    inputs,
    needs_pass,
    needs_pass_at_start,
    source_secrets,
    tampered,
)
from tenantconfig.model import (
    Condition,
    ConfigStore,
    Entry,
    Location,
    NamespaceRights,
    Options,
    Policy,
    ResourceRef,
    Scope,
    SecretKeyRef,
    Status,
    TenantConfig,
    Value,
    Version,
)
from tenantconfig.routing import Router

PLACE = (("tableName", "t"),)


def store(name: str, *prefixes: str, uid: str = "", generation: int = 1, accepted: bool = True) -> ConfigStore:
    return ConfigStore(
        name=name,
        uid=uid or f"uid-{name}",
        generation=generation,
        created="2026-01-01T00:00:00Z",
        prefixes=prefixes,
        kind="dynamodb",
        place=PLACE,
        locations=(Location(f"{name}/1", "dynamodb", PLACE),),
        observed_generation=generation,
        conditions=(Condition("Ready", accepted, "Ready", "", 1),),
    )


@dataclass
class Cluster:
    """Surroundings that a test can change."""

    stores: dict[str, ConfigStore] = field(
        default_factory=lambda: {"a": store("a", "a_"), "b": store("b", "b_"), "other": store("other", "other_")}
    )
    annotations: dict[str, str] = field(default_factory=lambda: {"team": "acme,globex"})
    secrets: dict[tuple[str, str], SourceSecret] = field(
        default_factory=lambda: {
            ("team", "keys"): SourceSecret("uid-keys", "1"),
            ("team", "unused"): SourceSecret("uid-unused", "1"),
        }
    )

    rivals: dict[str, Facts] = field(default_factory=dict)

    @property
    def router(self) -> Router:
        return Router(self.stores.values())

    def rights(self, namespace: str) -> NamespaceRights:
        return NamespaceRights.from_annotations({"tenantconfig.dev/tenants": self.annotations.get(namespace, "")})

    def secret(self, namespace: str, name: str) -> SourceSecret | None:
        return self.secrets.get((namespace, name))

    def place(self, location_id: str) -> tuple[Location, Options] | None:
        found = [each for store in self.stores.values() for each in store.locations if each.id == location_id]
        return (found[0], ()) if found else None

    def locations(self) -> Collection[str]:
        return [each.id for store in self.stores.values() for each in store.locations]

    def rival(self, facts: Facts) -> Facts | None:
        return self.rivals.get(facts.uid)

    def projections(self, uid: str) -> Collection[tuple[str, str]]:
        return ()


RESOURCE = TenantConfig(
    ref=ResourceRef("team", "checkout"),
    uid="uid-1",
    resource_version="5",
    generation=3,
    created="2026-01-01",
    scope=Scope("acme", "prod"),
    entries=(
        Entry("a_1", Policy.ENFORCE, Value("1")),
        Entry("b_1", Policy.ENFORCE, source=SecretKeyRef("keys", "x")),
        Entry("b_2", Policy.ENFORCE, source=SecretKeyRef("keys", "y")),
        Entry("b_3", Policy.OBSERVE),
    ),
    configmap_name="config",
    secret_name="secrets",
    status=Status(3, (Condition("Ready", True, "Ready", "", 3),), Version(57, "3f1c"), locations=("a/1", "b/1")),
)
FACTS = replace(Facts.of(RESOURCE), inputs=inputs(Facts.of(RESOURCE), Cluster()))
TARGET = Target("uid-1", 57, "3f1c", "3f1c")


def test_facts_are_taken_from_the_resource() -> None:
    assert Facts.of(RESOURCE) == Facts(
        ref=ResourceRef("team", "checkout"),
        uid="uid-1",
        created="2026-01-01",
        scope=Scope("acme", "prod"),
        keys=("a_1", "b_1", "b_2", "b_3"),
        secrets=("keys",),
        locations=("a/1", "b/1"),
        adopt="",
        configmap_name="config",
        generation=3,
        observed_generation=3,
        inputs="",
        revision=57,
        digest="3f1c",
        ready=True,
        deleting=False,
    )
    assert source_secrets(RESOURCE) == ("keys",)
    bare = Facts.of(replace(RESOURCE, status=Status()))
    assert (bare.revision, bare.digest, bare.ready, bare.observed_generation) == (0, "", False, -1)


def set_store(*stores: ConfigStore) -> Callable[[Cluster], None]:
    return lambda cluster: cluster.stores.update({each.name: each for each in stores})


def remove_store(name: str) -> Callable[[Cluster], None]:
    return lambda cluster: cluster.stores.__delitem__(name)


def annotate(text: str, namespace: str = "team") -> Callable[[Cluster], None]:
    return lambda cluster: cluster.annotations.update({namespace: text})


def set_secret(name: str, secret: SourceSecret, namespace: str = "team") -> Callable[[Cluster], None]:
    return lambda cluster: cluster.secrets.update({(namespace, name): secret})


def remove_secret(name: str) -> Callable[[Cluster], None]:
    return lambda cluster: cluster.secrets.__delitem__(("team", name))


CHANGES = [
    ("a used store's generation", set_store(store("a", "a_", generation=2)), True),
    ("a used store made again", set_store(store("a", "a_", uid="uid-new")), True),
    ("a used store no longer accepted", set_store(store("a", "a_", accepted=False)), True),
    ("a used store removed", remove_store("a"), True),
    ("a new store with a longer prefix", set_store(store("new", "a_1")), True),
    ("a new store with a prefix of no key", set_store(store("new", "a_2")), False),
    ("another store's generation", set_store(store("other", "other_", generation=2)), False),
    ("another store removed", remove_store("other"), False),
    ("the permission withdrawn", annotate("globex"), True),
    ("the annotation removed", annotate(""), True),
    ("another tenant permitted too", annotate("acme,globex,initech"), False),
    ("all tenants permitted", annotate("*"), False),
    ("another namespace's permission", annotate("acme", "elsewhere"), False),
    ("a source Secret written", set_secret("keys", SourceSecret("uid-keys", "2")), True),
    ("a source Secret made again", set_secret("keys", SourceSecret("uid-new", "1")), True),
    ("a source Secret removed", remove_secret("keys"), True),
    ("another Secret written", set_secret("unused", SourceSecret("uid-unused", "2")), False),
    ("a Secret of the same name elsewhere", set_secret("keys", SourceSecret("uid", "9"), "elsewhere"), False),
]


@pytest.mark.parametrize(("change", "matters"), [each[1:] for each in CHANGES], ids=[each[0] for each in CHANGES])
def test_what_around_a_resource_matters_to_it(change: Callable[[Cluster], None], matters: bool) -> None:
    cluster = Cluster()
    assert not needs_pass(FACTS, cluster)
    change(cluster)
    assert needs_pass(FACTS, cluster) is matters
    assert needs_pass_at_start(FACTS, cluster, TARGET) is matters


@pytest.mark.parametrize(
    ("changed", "matters"),
    [
        (replace(FACTS, adopt="unowned"), True),
        (replace(FACTS, revision=58), False),
        (replace(FACTS, ready=False), False),
        (replace(FACTS, configmap_name="other"), False),
    ],
)
def test_what_of_a_resource_beside_its_spec_matters(changed: Facts, matters: bool) -> None:
    assert needs_pass(changed, Cluster()) is matters


def test_a_place_that_is_recorded_again_matters_to_who_has_values_there() -> None:
    status = replace(RESOURCE.status, locations=("a/1", "b/1", "gone/1"))
    facts = Facts.of(replace(RESOURCE, status=status))
    stalled = replace(facts, inputs=inputs(facts, Cluster()))
    restored = Cluster()
    set_store(store("gone", "gone_"))(restored)
    assert needs_pass(stalled, restored)


def test_the_hash_does_not_depend_on_the_order_of_things() -> None:
    backwards = Cluster(stores=dict(reversed(Cluster().stores.items())))
    assert inputs(replace(FACTS, keys=FACTS.keys[::-1]), backwards) == FACTS.inputs


def test_the_hash_tells_nothing_and_is_short() -> None:
    assert len(FACTS.inputs) == 32
    assert set(FACTS.inputs) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "facts",
    [replace(FACTS, generation=4), replace(FACTS, observed_generation=-1), replace(FACTS, deleting=True)],
    ids=["a newer generation", "never observed", "deletion"],
)
def test_what_has_a_handler_is_left_to_it(facts: Facts) -> None:
    cluster = Cluster()
    remove_store("a")(cluster)
    assert not needs_pass(facts, cluster)
    assert not needs_pass_at_start(facts, cluster, None)


# At start, and when a ConfigMap changes


@pytest.mark.parametrize(
    ("facts", "target", "due"),
    [
        (FACTS, TARGET, False),
        (FACTS, None, True),
        (replace(FACTS, ready=False), TARGET, True),
        (FACTS, replace(TARGET, digest="edited"), True),
        (FACTS, replace(TARGET, annotated="edited"), True),
        (FACTS, replace(TARGET, revision=56), True),
        (FACTS, replace(TARGET, revision=58), True),
        (FACTS, replace(TARGET, owner="uid-2"), True),
    ],
    ids=["all as it was", "gone", "not ready", "data", "digest", "older", "newer", "owner"],
)
def test_what_is_due_at_start(facts: Facts, target: Target | None, due: bool) -> None:
    assert needs_pass_at_start(facts, Cluster(), target) is due


NEWER = Target("uid-1", 58, "new", "new")


@pytest.mark.parametrize(
    ("facts", "target", "found"),
    [
        (FACTS, TARGET, False),
        (FACTS, None, True),
        (FACTS, NEWER, False),
        (FACTS, replace(NEWER, digest="edited"), True),
        (FACTS, replace(NEWER, owner="uid-2"), True),
        (FACTS, replace(NEWER, revision=57), True),
        (FACTS, replace(NEWER, revision=56), True),
        (FACTS, replace(TARGET, digest="edited"), True),
        (FACTS, replace(TARGET, annotated="edited"), True),
        (FACTS, replace(TARGET, owner=""), True),
        (replace(FACTS, deleting=True), None, False),
        (replace(FACTS, deleting=True), replace(TARGET, digest="edited"), False),
        (replace(FACTS, revision=0, digest=""), NEWER, False),
    ],
    ids=[
        "as it was",
        "gone",
        "a pass's own, ahead of its status",
        "newer, with other data",
        "newer, of another owner",
        "other data at the same revision",
        "other data at an older revision",
        "data",
        "digest",
        "owner",
        "gone with its resource",
        "edited while its resource goes",
        "the first, ahead of its status",
    ],
)
def test_when_a_configmap_was_tampered_with(facts: Facts, target: Target | None, found: bool) -> None:
    assert tampered(facts, target) is found
