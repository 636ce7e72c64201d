"""Which places are one: a plugin says it of its own, since nobody else can read its configuration."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from harness.virtual_time import Inline
from tenantconfig.conditions import Findings, judge
from tenantconfig.errors import Reason, Stalled, Transient
from tenantconfig.inputs import Facts, inputs
from tenantconfig.known import Known
from tenantconfig.model import Entry, Location, Options, Policy, ResourceRef, Scope, TenantConfig, Value
from tenantconfig.placement import Work
from tenantconfig.plan import Claim, Contents, Desired, Held
from tenantconfig.rations import Rations
from tenantconfig.reconcile import found
from tenantconfig.storecalls import StoreCalls
from tenantconfig.storekeeper import StoreKeeper
from tenantconfig.stores.base import Gate, Store, always
from tenantconfig.stores.memory import MemoryStore

NOW = "2026-01-02T03:04:05Z"
CLAIM = Claim("nobody")
PLACE = Location("test/1", "plugin", (("config", "file"),))
ENTRY = Entry("a_1", Policy.ENFORCE, Value("1"))


class Named(MemoryStore):
    """A plugin's store that says which place it is, whatever its configuration says beside it."""

    def __init__(self, location: Location) -> None:
        super().__init__()
        self.identity = dict(location.place)["config"].split("?")[0]


class Anonymous(MemoryStore):
    """One that does not."""

    def __init__(self, location: Location) -> None:
        super().__init__()


class Unreachable(Anonymous):
    """One that may not answer."""

    down = False

    def read(self, scope: Scope, keys: Collection[str], claim: Claim, gate: Gate = always) -> Contents:
        if self.down:
            raise Transient(Reason.STORE_FAILED, "no answer")
        return super().read(scope, keys, claim, gate)


def config_store(name: str, config: str, *, deleting: bool = False) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": NOW}
    metadata = {"name": name, "uid": name, "generation": 1} | ({"deletionTimestamp": NOW} if deleting else {})
    location = {"id": f"{name}/1", "plugin": "named", "config": config}
    return {
        "metadata": metadata,
        "spec": {"prefixes": ["a_"], "plugin": {"name": "named", "config": config}},
        "status": {"observedGeneration": 1, "conditions": [ready], "locations": [location]},
    }


class Scene:
    """A resource with one entry, in a store that its plugin opens once for each place."""

    def __init__(self, kind: type[Named | Anonymous | Unreachable]) -> None:
        self.known = Known()
        self.opened: dict[str, MemoryStore] = {}
        self._kind = kind
        calls = StoreCalls(self.known, Inline(), always, Rations(wake=lambda ref: None))
        self.keeper = StoreKeeper(self.known, "cluster", self._open, calls)
        scope = Scope("acme")
        self.resource = TenantConfig(
            ResourceRef("acme", "checkout"), "uid", "1", 1, NOW, scope, (ENTRY,), "checkout", "checkout", finalized=True
        )

    def _open(self, location: Location, options: Options) -> Store:
        store = self._kind(location)
        return self.opened.setdefault(getattr(store, "identity", dict(location.place)["config"]), store)

    async def run(self) -> list[Work]:
        location = self.known.router.route(["a_1"])["a_1"].location
        assert location
        desired = {location.id: [Desired(each.key, each.policy, each.value) for each in self.resource.entries]}
        works = await self.keeper.apply(self.resource, await self.keeper.plan(self.resource, desired))
        findings = found(Findings(1, inputs(Facts.of(self.resource), self.known), None, (), ()), self.resource, works)
        self.resource = replace(self.resource, status=judge(findings, self.resource.status, NOW))
        return works

    def want(self, policy: Policy, value: Value | None = None) -> None:
        """An edit of the entry."""
        self.resource = replace(self.resource, entries=(Entry("a_1", policy, value),))

    def texts(self) -> dict[str, dict[str, str]]:
        return {
            name: {key: held.text for key, held in store.read(self.resource.scope, ["a_1"], CLAIM).held.items()}
            for name, store in self.opened.items()
        }


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [(Named, "file", "file?timeout=5"), (Named, "file", "file"), (Anonymous, "file", "file")],
)
async def test_a_configstore_that_is_replaced_by_another_one_of_its_place_keeps_the_values(
    kind: type[Named | Anonymous], before: str, after: str
) -> None:
    scene = Scene(kind)
    scene.known.see_store(config_store("old", before))
    await scene.run()
    scene.known.see_store(config_store("old", before, deleting=True))
    scene.known.see_store(config_store("new", after))
    works = await scene.run()
    assert [bool(work.changes) for work in works] == [False]
    assert scene.texts() == {"file": {"a_1": "1"}}
    assert scene.resource.status.locations == ("new/1",)


async def test_values_move_between_places_that_are_two() -> None:
    scene = Scene(Anonymous)
    scene.known.see_store(config_store("old", "file"))
    await scene.run()
    scene.known.see_store(config_store("old", "file", deleting=True))
    scene.known.see_store(config_store("new", "another"))
    await scene.run()
    assert scene.texts() == {"file": {}, "another": {"a_1": "1"}}
    assert scene.resource.status.locations == ("new/1",)


@pytest.mark.parametrize("text", ["ours", "theirs"])
async def test_what_is_enforced_from_now_on_is_not_taken_for_ours_because_its_store_did_not_answer(text: str) -> None:
    scene, store = Scene(Unreachable), Unreachable(PLACE)
    scene.opened["file"] = store
    scene.known.see_store(config_store("test", "file"))
    store.rows[scene.resource.scope, "a_1"] = Held("theirs", "7")
    scene.want(Policy.OBSERVE)
    await scene.run()
    scene.want(Policy.ENFORCE, Value(text))
    store.down = True
    await scene.run()
    store.down = False
    with pytest.raises(Stalled, match="nobody here wrote it"):
        await scene.run()
    assert scene.texts() == {"file": {"a_1": "theirs"}}


async def test_what_is_ours_is_known_as_ours_until_its_store_answers_that_it_is_only_observed() -> None:
    scene, store = Scene(Unreachable), Unreachable(PLACE)
    scene.opened["file"] = store
    scene.known.see_store(config_store("test", "file"))
    await scene.run()
    scene.want(Policy.OBSERVE)
    store.down = True
    await scene.run()
    assert [each.policy for each in scene.resource.status.entries] == [Policy.ENFORCE]
    store.down = False
    await scene.run()
    assert [each.policy for each in scene.resource.status.entries] == [Policy.OBSERVE]
    assert {held.owner for held in store.rows.values()} == {""}
