"""When a ConfigStore is accepted, and under which id its place is recorded."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tenantconfig import spec
from tenantconfig.acceptance import Acceptance, new_location
from tenantconfig.errors import Conflict, Missing, Reason, Stalled, TenantConfigError, Transient
from tenantconfig.inputs import Facts, inputs
from tenantconfig.known import Known
from tenantconfig.model import Location, Options
from tenantconfig.passes import Outcome
from tenantconfig.stores.base import Store
from tenantconfig.stores.memory import MemoryStore


def body(name: str = "tables", table: str = "here", generation: int = 1, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": generation, "creationTimestamp": "2026-01-02"}
    metadata["resourceVersion"] = "5"
    return {
        "metadata": metadata,
        "spec": {"prefixes": ["a_", "b_"], "dynamodb": {"tableName": table}},
        "status": status,
    }


class Kube:
    """One ConfigStore on an API server, and what is written to its status."""

    def __init__(self, found: dict[str, Any] | None) -> None:
        self.found = found
        self.written: list[dict[str, Any]] = []
        self.refusal: TenantConfigError | None = None

    async def get(self, path: str) -> dict[str, Any]:
        if self.found is None:
            raise Missing(path)
        return self.found

    async def merge(self, path: str, patch: dict[str, Any]) -> dict[str, Any]:
        if self.refusal:
            raise self.refusal
        assert path.endswith("/configstores/tables/status")
        assert patch["metadata"] == {"resourceVersion": "5"}
        self.written.append(patch["status"])
        assert self.found
        self.found = {**self.found, "status": patch["status"]}
        return self.found


class Probed(MemoryStore):
    """A store that answers its probe as it is told."""

    failure: TenantConfigError | None = None

    def probe(self) -> None:
        if self.failure:
            raise self.failure


def resource(name: str, location: str) -> dict[str, Any]:
    metadata = {"namespace": "team", "name": name, "uid": name, "generation": 1, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"tenantId": "acme"}, "status": {"locations": [location]}}


def settled(known: Known, body: dict[str, Any]) -> dict[str, Any]:
    """The resource as it is after a pass over all that is known."""
    used = inputs(Facts.of(spec.tenant_config(body)), known)
    return {**body, "status": {**body["status"], "observedGeneration": 1, "inputs": used}}


class World:
    def __init__(
        self, found: dict[str, Any] | None, *others: dict[str, Any], holders: int = 0, at: str = "tables/1"
    ) -> None:
        self.kube = Kube(found)
        self.store = Probed()
        self.opened: list[Location] = []
        self.known = known = Known()
        for each in (*others, *([found] if found else [])):
            known.see_store(each)
        for number in range(holders):
            known.see_tenant_config(settled(known, resource(f"r{number}", at)))
        known.see_tenant_config(settled(known, resource("elsewhere", "other/1")))
        # The passes call the probe on this.
        self.acceptance = Acceptance(self.kube, known, self.open, ThreadPoolExecutor(1))  # type: ignore[arg-type]

    def open(self, location: Location, options: Options) -> Store:
        self.opened.append(location)
        return self.store

    async def __call__(self) -> Outcome:
        return await self.acceptance("tables")


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}


async def test_a_store_that_answers_is_accepted_and_its_place_recorded() -> None:
    world = World(body())
    assert await world() == Outcome()
    (status,) = world.kube.written
    assert conditions(status) == {"Ready": ("True", "Ready")}
    assert status["observedGeneration"] == 1
    assert status["locations"] == [{"id": "tables/1", "tableName": "here"}]
    assert world.kube.found is not None
    assert spec.config_store(world.kube.found).accepted


async def test_what_is_accepted_already_is_not_written_again() -> None:
    world = World(body())
    await world()
    assert await world() == Outcome()
    assert len(world.kube.written) == 1


async def test_a_new_place_is_recorded_beside_the_former_one() -> None:
    former = [{"id": "tables/1", "tableName": "here"}]
    world = World(body(generation=2, table="there", observedGeneration=1, locations=former), holders=1)
    await world()
    assert world.kube.written[0]["locations"] == [
        {"id": "tables/1", "tableName": "here"},
        {"id": "tables/2", "tableName": "there"},
    ]
    assert [each.id for each in world.opened] == ["tables/2"]


async def test_a_place_that_was_left_and_is_used_again_keeps_its_id() -> None:
    locations = [{"id": "tables/1", "tableName": "here"}, {"id": "tables/2", "tableName": "there"}]
    world = World(body(generation=3, observedGeneration=2, locations=locations), holders=1, at="tables/2")
    await world()
    assert sorted(world.kube.written[0]["locations"], key=lambda each: each["id"]) == locations
    assert [each.id for each in world.opened] == ["tables/1"]


async def test_a_former_place_is_forgotten_once_nobody_has_values_there() -> None:
    locations = [{"id": "tables/1", "tableName": "here"}, {"id": "tables/2", "tableName": "there"}]
    world = World(body(generation=3, observedGeneration=2, locations=locations))
    await world()
    assert world.kube.written[0]["locations"] == locations[:1]


async def test_a_former_place_is_kept_while_a_resource_may_still_be_writing_there() -> None:
    locations = [{"id": "tables/1", "tableName": "here"}, {"id": "tables/2", "tableName": "there"}]
    world = World(body(generation=3, observedGeneration=2, locations=locations))
    world.known.see_tenant_config(resource("changing", "other/1"))
    await world()
    assert world.kube.written[0]["locations"] == locations


async def test_two_stores_of_one_place_are_one_too_many() -> None:
    elder = body("elder", generation=1, observedGeneration=1)
    elder["spec"] = {**elder["spec"], "prefixes": ["c_"]}
    elder["metadata"]["creationTimestamp"] = "2026-01-01"
    world = World(body(), elder)
    outcome = await world()
    assert isinstance(outcome.error, Stalled)
    assert outcome.error.reason is Reason.AMBIGUOUS_PLACE
    assert "elder" in outcome.error.message
    elder["metadata"]["deletionTimestamp"] = "2026-01-03"
    assert await World(body(), elder)() == Outcome(), "its successor may have the place"


@pytest.mark.parametrize(
    ("failure", "condition", "retry"),
    [
        (Stalled(Reason.STORE_FAILED, "no such plugin"), {"Stalled": ("True", "StoreFailed")}, False),
        (Transient(Reason.ACCESS_DENIED, "denied"), {"Reconciling": ("True", "AccessDenied")}, True),
    ],
)
async def test_a_store_that_fails_its_probe_is_not_ready(
    failure: TenantConfigError, condition: dict[str, tuple[str, str]], retry: bool
) -> None:
    world = World(body())
    world.store.failure = failure
    outcome = await world()
    assert (outcome.error, bool(outcome.retry_within)) == (failure, retry)
    assert conditions(world.kube.written[0]) == {"Ready": ("False", failure.reason.value), **condition}
    assert world.kube.found is not None
    assert not spec.config_store(world.kube.found).accepted

    world.store.failure = None
    assert await world() == Outcome()
    assert conditions(world.kube.written[-1]) == {"Ready": ("True", "Ready")}


async def test_prefixes_of_an_older_store_are_named_and_nothing_is_asked() -> None:
    older = body("older")
    older["metadata"]["creationTimestamp"] = "2026-01-01"
    older["spec"]["prefixes"] = ["b_", "x_"]
    world = World(body(), older)
    outcome = await world()
    assert isinstance(outcome.error, Stalled)
    assert outcome.error.reason is Reason.AMBIGUOUS_PREFIX
    assert outcome.error.message.endswith("b_ (older)")
    assert not outcome.retry_within
    assert world.opened == []


async def test_a_store_that_is_deleted_is_held_while_resources_have_values_there() -> None:
    deleted = body(locations=[{"id": "tables/1", "tableName": "here"}])
    deleted["metadata"]["deletionTimestamp"] = "2026-01-03"
    world = World(deleted, holders=2)
    outcome = await world()
    assert isinstance(outcome.error, Transient)
    assert "2 TenantConfigs" in outcome.error.message
    assert conditions(world.kube.written[0])["Ready"] == ("False", "Deleting")

    world = World(deleted)
    assert await world() == Outcome()
    assert world.kube.written == []


async def test_prefixes_of_a_store_that_is_deleted_are_free() -> None:
    older = body("older")
    older["metadata"] |= {"creationTimestamp": "2026-01-01", "deletionTimestamp": "2026-01-03"}
    assert await World(body(), older)() == Outcome()


async def test_a_store_that_is_gone_needs_nothing() -> None:
    world = World(None)
    assert await world() == Outcome()
    assert (world.opened, world.kube.written) == ([], [])


async def test_a_conflict_at_the_api_server_is_tried_again() -> None:
    world = World(body())
    world.kube.refusal = Conflict("changed")
    outcome = await world()
    assert outcome.error is world.kube.refusal
    assert outcome.retry_within


@pytest.mark.parametrize(
    ("ids", "used", "following"),
    [
        ([], [], "tables/1"),
        (["tables/1"], ["tables/1"], "tables/2"),
        (["tables/9", "tables/2"], [], "tables/10"),
        ([], ["tables/3", "other/7"], "tables/4"),
    ],
)
def test_ids_count_on_from_the_highest_that_anyone_knows(ids: list[str], used: list[str], following: str) -> None:
    store = spec.config_store(body(locations=[{"id": id, "tableName": id} for id in ids]))
    assert new_location(store, used) == Location(following, "dynamodb", (("tableName", "here"),))


def remade(adopt: str = "", **status: Any) -> dict[str, Any]:
    """A ConfigStore that was removed by force and made again."""
    made = body(**status)
    made["metadata"]["annotations"] = {"tenantconfig.dev/adopt": adopt}
    return made


async def test_a_configstore_that_was_made_again_is_not_taken_for_the_place_that_it_was() -> None:
    world = World(remade(), holders=2)
    assert await world() == Outcome()
    assert [each["id"] for each in world.kube.written[0]["locations"]] == ["tables/2"]
    assert world.known.place("tables/1") is None


@pytest.mark.parametrize("recorded", [[], [{"id": "tables/2", "tableName": "here"}]])
async def test_a_configstore_adopts_the_id_under_which_its_place_is_known(recorded: list[dict[str, str]]) -> None:
    world = World(remade("tables/1", locations=recorded), holders=2)
    assert await world() == Outcome()
    assert {"id": "tables/1", "tableName": "here"} in world.kube.written[0]["locations"]
    assert world.kube.found
    world.known.see_store(world.kube.found)
    place = world.known.place("tables/1")
    assert place
    assert place[0].place == (("tableName", "here"),)
    assert await world() == Outcome()
    assert len(world.kube.written) == 1, "and that is the end of it"


@pytest.mark.parametrize("adopt", ["tables/7", "other/2", "nonsense"])
async def test_an_id_that_no_tenantconfig_names_is_not_adopted(adopt: str) -> None:
    world = World(remade(adopt), holders=1, at="tables/3")
    assert await world() == Outcome()
    assert [each["id"] for each in world.kube.written[0]["locations"]] == ["tables/4"]
