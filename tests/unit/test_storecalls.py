"""Passes within a ration: what a resource reads and writes at each turn, and what happens when something changes."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from budget_model import CONFIGS, CountingSSM, DictionaryApi, Limit, World, config_store, keys, refusal
from harness.virtual_time import Inline, in_virtual_time
from tenantconfig.errors import Reason, Transient
from tenantconfig.known import Known
from tenantconfig.model import Location, ResourceRef, Scope, State, TenantConfig, Value
from tenantconfig.placement import Place, Reading, Work
from tenantconfig.plan import Changes, Claim, Contents, Put
from tenantconfig.rations import PORTION, Ration, Rations
from tenantconfig.storecalls import StoreCalls
from tenantconfig.stores.base import Store
from tenantconfig.stores.memory import MemoryStore
from tenantconfig.stores.ssm import SSMStore

SIZE = 300
WHOLE = SIZE // 10  # requests that read all of it


def now() -> float:
    return asyncio.get_running_loop().time()


def new_world(**limits: Limit) -> World:
    return World(DictionaryApi(), CountingSSM(now, **limits))


def reads(world: World) -> list[int]:
    """How many GetParameters calls each turn made."""
    return list(Counter(world.ssm.times["GetParameters"]).values())


def writes(world: World) -> list[int]:
    return list(Counter(world.ssm.times["PutParameter"]).values())


def texts(world: World, tenant: str) -> dict[str, str]:
    """What SSM has of a tenant."""
    found = world.ssm.parameters.items()
    return {name.rpartition("/")[2]: each["Value"] for name, each in found if f"/{tenant}/" in name}


def message(world: World, ref: ResourceRef) -> str:
    """Of the condition that says what goes on."""
    conditions = world.resource(ref).status.conditions
    return next((each.message for each in conditions if each.type == "Reconciling"), "")


def ration(world: World) -> Ration:
    found = world.known.place("store/1")
    assert found is not None
    of = world.rations.of(*found)
    assert of is not None
    return of


# Many keys


@in_virtual_time
async def test_many_keys_are_written_turn_by_turn_and_the_middle_turns_read_only_what_they_write() -> None:
    world = new_world()
    ref = world.declare("acme", keys(SIZE))
    assert await world.ready(ref) == pytest.approx((SIZE - PORTION) / 3)
    assert writes(world) == [PORTION] * (SIZE // PORTION)
    assert reads(world) == [WHOLE, *[1] * (SIZE // PORTION - 2), WHOLE]
    assert world.ssm.calls == {"PutParameter": SIZE, "GetParameters": 88}
    assert world.passes[ref] == SIZE // PORTION
    assert {each.state for each in world.resource(ref).status.entries} == {State.SYNCED}
    assert texts(world, "acme") == keys(SIZE)


@in_virtual_time
async def test_between_the_turns_the_status_says_what_is_there_and_what_is_waited_for() -> None:
    world = new_world()
    ref = world.declare("acme", keys(SIZE))
    await asyncio.sleep(51)
    states = Counter(each.state for each in world.resource(ref).status.entries)
    assert states == {State.SYNCED: 160, State.PENDING: 140}
    assert message(world, ref).startswith("140 writes to ConfigStore store wait for their turn: 0 are ahead, at 3 a")
    assert world.resource(ref).status.version is None, "nothing is projected yet"


@in_virtual_time
async def test_what_waits_asks_nothing_when_something_asks_for_a_pass() -> None:
    world = new_world()
    for tenant in ("first", "second"):
        world.declare(tenant, keys(100))
    await asyncio.sleep(1)
    before = world.ssm.calls.copy()
    for _ in range(5):
        assert (await world.scopes.turn(ResourceRef("team", "second"))).error is not None
    assert world.ssm.calls == before


@in_virtual_time
async def test_an_edit_in_the_middle_drops_what_was_begun_and_reads_everything_afresh() -> None:
    world = new_world()
    world.declare("acme", keys(SIZE))
    await asyncio.sleep(51)
    wanted = keys(SIZE) | {"key-0000": "2", "key-0290": "2"}
    del wanted["key-0001"], wanted["key-0291"]
    before = reads(world)
    ref = world.declare("acme", wanted)
    await world.ready(ref)
    after = reads(world)[len(before) :]
    assert (after[0], after[-1]) == (WHOLE, WHOLE)
    assert set(after[1:-2]) == {1}, "all values are written in the last turn but one, in the last one is deleted"
    assert texts(world, "acme") == wanted
    assert world.ssm.calls["PutParameter"] == SIZE - 1 + 1, "one never came, one was written twice"
    assert world.ssm.calls["DeleteParameters"] == 1


@in_virtual_time
async def test_a_turn_that_finds_an_edit_reads_everything_afresh() -> None:
    world = new_world()
    ref = world.declare("acme", keys(SIZE))
    await asyncio.sleep(51)
    before, tell = len(reads(world)), world.kube.changed
    world.kube.changed = lambda body: None  # the event comes late
    world.declare("acme", keys(SIZE, "2"))
    world.kube.changed = tell
    await world.ready(ref)
    assert reads(world)[before] == WHOLE
    assert texts(world, "acme") == keys(SIZE, "2")


@in_virtual_time
async def test_a_turn_to_write_is_not_held_up_by_reads() -> None:
    world = new_world()
    ref = world.declare("acme", keys(SIZE))
    await asyncio.sleep(51)
    ration(world).reads.charge(40 * 3600, now())
    assert await world.ready(ref) == pytest.approx((SIZE - PORTION) / 3)


@in_virtual_time
async def test_an_edit_of_one_key_in_the_middle_keeps_the_place_in_the_line() -> None:
    world = new_world()
    first = world.declare("first", keys(100))
    await asyncio.sleep(1)
    second = world.declare("second", keys(100))
    await asyncio.sleep(10)
    world.declare("first", keys(100) | {"key-0000": "2"})
    assert await world.ready(first) < await world.ready(second)


@in_virtual_time
async def test_when_the_config_store_changes_in_the_middle_everything_is_read_afresh() -> None:
    world = new_world()
    ref = world.declare("acme", keys(SIZE))
    await asyncio.sleep(51)
    before = len(reads(world))
    world.known.see_store(config_store(2, writesPerSecond=30.0))
    world.scopes.request(ref)
    assert await world.ready(ref) < 60
    assert reads(world)[before] == WHOLE
    assert max(writes(world)) == 30, "a turn is a second's worth now"


@in_virtual_time
async def test_a_resource_that_waits_to_be_looked_at_again_does_not_go_on_saying_ready() -> None:
    world = new_world()
    ref = world.declare("acme", keys(10))
    await world.ready(ref)
    ration(world).reads.charge(100, now())
    world.known.see_store(config_store(2))
    world.scopes.request(ref)
    await asyncio.sleep(0.01)
    assert message(world, ref).startswith("1 reads of ConfigStore store wait for their turn")
    assert not world.resource(ref).status.ready
    assert await world.ready(ref) < 5


@in_virtual_time
async def test_a_resource_that_goes_while_it_waits_holds_up_nobody() -> None:
    world = new_world()
    gone, stays = world.declare("gone", keys(50)), world.declare("stays", keys(60))
    await asyncio.sleep(1)
    del world.kube.objects[f"{CONFIGS}/{gone.name}"]
    assert await world.ready(stays) == pytest.approx(60 / 3, abs=0.1)
    assert len(texts(world, "gone")) == PORTION


@in_virtual_time
async def test_what_is_removed_from_a_resource_is_deleted_ten_at_a_time_within_the_ration() -> None:
    world = new_world()
    ref = world.declare("acme", keys(SIZE))
    await world.ready(ref)
    await asyncio.sleep(60)
    began = now()
    world.declare("acme", keys(10))
    assert await world.ready(ref) - began == pytest.approx((29 - PORTION) / 3, abs=0.1)
    assert texts(world, "acme") == keys(10)
    assert world.ssm.calls["DeleteParameters"] == 29


# AWS says no


@in_virtual_time
async def test_a_throttled_write_slows_the_bucket_and_waits_for_the_rest() -> None:
    world = new_world(PutParameter=Limit(3.0, 4.0))
    ref = world.declare("acme", keys(10))
    await asyncio.sleep(0.1)
    assert ration(world).writes.rate == pytest.approx(1.5, abs=0.01)
    assert len(texts(world, "acme")) == 4
    assert message(world, ref).startswith(
        "SSM path /config: AWS slows PutParameter down (ThrottlingException): "
        "6 writes to ConfigStore store wait for their turn: 0 are ahead, at 1.5 a second until "
    )
    assert await world.ready(ref) < 10
    assert world.ssm.calls["PutParameter"] == 10 + world.ssm.refused["PutParameter"]


@in_virtual_time
async def test_a_throttled_read_slows_the_bucket_and_waits_for_its_turn() -> None:
    world = new_world(GetParameters=Limit(40.0, 0.9))
    ref = world.declare("acme", keys(10))
    await asyncio.sleep(0)
    outcome = await world.scopes.turn(ref)
    assert outcome.error is not None
    assert outcome.error.reason is Reason.RATE_LIMITED
    assert outcome.error.message.startswith(
        "SSM path /config: AWS slows GetParameters down (ThrottlingException): 1 reads wait for their turn: 0 are ahead"
    )
    assert ration(world).reads.rate == pytest.approx(20.0, abs=1)
    assert ration(world).reads.waiting == 1


@in_virtual_time
async def test_a_throttled_read_of_many_keys_goes_on_where_it_ended() -> None:
    world = new_world(GetParameters=Limit(40.0, 12.0))
    ref = world.declare("acme", keys(500))
    assert await world.ready(ref) == pytest.approx((500 - PORTION) / 3, abs=10)
    assert world.ssm.refused["GetParameters"] <= 15
    answered = world.ssm.calls["GetParameters"] - world.ssm.refused["GetParameters"]
    assert answered == 50 + (50 - 2) + 50
    assert texts(world, "acme") == keys(500)


@in_virtual_time
async def test_what_a_throttled_read_has_brought_is_not_used_after_an_edit() -> None:
    world = new_world(GetParameters=Limit(1.0, 20.0))
    world.declare("acme", keys(SIZE))
    await asyncio.sleep(0.5)
    assert 0 < world.ssm.calls["GetParameters"] - world.ssm.refused["GetParameters"] <= 20
    del world.ssm.limits["GetParameters"]
    world.declare("acme", keys(SIZE, "2"))
    before = len(reads(world))
    await asyncio.sleep(60)
    assert reads(world)[before] == WHOLE


# Calls by themselves

SCOPE = Scope("acme", "prod", "checkout")
ME = ResourceRef("team", "checkout")
CLAIM = Claim("cluster-1/team/checkout/uid-1")


def resource(name: str = "checkout") -> TenantConfig:
    return TenantConfig(ResourceRef("team", name), f"uid-{name}", "1", 1, "", SCOPE, (), name, name)


def puts(names: Collection[str]) -> Changes:
    return Changes(CLAIM.owner, puts=tuple(Put(name, Value("1")) for name in names))


class Leadership:
    """Until it is lost."""

    lost = False

    def __call__(self) -> None:
        if self.lost:
            raise Transient(Reason.NOT_LEADING, "another controller has the Lease")


class Calls:
    """StoreCalls over one place."""

    def __init__(self, store: Store, location: Location, spec: Mapping[str, Any]) -> None:
        body = config_store()
        body["spec"] = {"prefixes": [""], **spec}
        body["status"]["locations"] = [{"id": location.id, **dict(location.place)}]
        self.known = Known()
        self.known.see_store(body)
        self.leadership = Leadership()
        self.rations = Rations(lambda ref: None)
        self.calls = StoreCalls(self.known, Inline(), self.leadership, self.rations)
        self.place = Place(location, store)

    def reading(self, names: Collection[str], claim: Claim = CLAIM) -> Reading:
        return Reading(self.place, claim, frozenset(names))

    async def write(self, changes: Changes) -> Work:
        (work,) = await self.calls.write(resource(), [Work(self.place, CLAIM, Contents(), changes)])
        return work


def over_ssm(ssm: CountingSSM) -> Calls:
    place = {"pathPrefix": "/config"}
    return Calls(SSMStore(ssm, "/config"), Location("store/1", "ssm", tuple(place.items())), {"ssm": place})


def over_memory() -> Calls:
    place = {"plugin": "memory"}
    location = Location("store/1", "plugin", tuple(place.items()))
    return Calls(MemoryStore(), location, {"plugin": {"name": "memory", "config": {"writesPerSecond": 1}}})


def left(calls: Calls, of: str) -> float:
    """How many of 40 reads or 10 writes could be made now."""
    found = calls.known.place("store/1")
    assert found is not None
    ration = calls.rations.of(*found)
    assert ration is not None
    budget = {"reads": ration.reads, "writes": ration.writes}[of]
    place = budget.wait(ResourceRef("team", "probe"), "probe", 1000, now())
    budget.leave(ResourceRef("team", "probe"))
    return round(place.ahead + 1000 - place.seconds * budget.rate, 3)


@in_virtual_time
async def test_a_store_without_a_ration_is_asked_for_everything_at_once() -> None:
    calls = over_memory()
    work = await calls.write(puts(keys(SIZE)))
    assert work.applied.error is None
    assert len(work.applied.held) == SIZE
    for _ in range(100):
        (read,) = await calls.calls.read(resource(), [calls.reading(keys(SIZE))])
        assert (read.unread, len(read.contents.held)) == (False, SIZE)


@in_virtual_time
async def test_what_was_not_written_is_given_back() -> None:
    calls = over_ssm(CountingSSM(now))
    assert (await calls.write(puts(keys(4)))).applied.error is None
    assert left(calls, "writes") == 6
    calls.leadership.lost = True
    error = (await calls.write(puts(keys(4)))).applied.error
    assert error is not None
    assert error.reason is Reason.NOT_LEADING
    assert left(calls, "writes") == 6


@in_virtual_time
async def test_reads_that_nobody_could_foresee_are_paid_for() -> None:
    ssm = CountingSSM(now)
    calls = over_ssm(ssm)
    for key in keys(10):
        ssm.put_parameter(Name=f"/config/{SCOPE}/{key}", Value="1", Type="String", Overwrite=False)
    await calls.calls.read(resource(), [calls.reading(keys(10))])
    assert (ssm.calls["GetParameters"], ssm.calls["ListTagsForResource"]) == (1, 10)
    assert left(calls, "reads") == 29


@in_virtual_time
async def test_a_second_read_within_a_pass_waits_for_no_turn_and_is_paid_for() -> None:
    calls = over_ssm(CountingSSM(now))
    for done in range(1, 6):
        work = await calls.calls.read_again(resource(), calls.reading(keys(100)))
        assert not work.unread
        assert left(calls, "reads") == 40 - 10 * done


@in_virtual_time
async def test_a_read_for_which_nothing_is_left_waits_and_asks_nothing() -> None:
    ssm = CountingSSM(now)
    calls = over_ssm(ssm)
    await calls.calls.read_again(resource("other"), calls.reading(keys(400)))
    before = ssm.calls.copy()
    (work,) = await calls.calls.read(resource(), [calls.reading(keys(10))])
    assert work.unread
    assert work.applied.error is not None
    assert work.applied.error.message.startswith("1 reads of ConfigStore store wait for their turn: 0 are ahead, at 40")
    assert ssm.calls == before


@in_virtual_time
async def test_a_read_that_fails_otherwise_slows_nothing_and_is_told_as_it_is() -> None:
    class Denied(CountingSSM):
        def get_parameters(self, *, Names: list[str], **_: Any) -> Any:  # noqa: N803  boto3's
            raise refusal("AccessDeniedException", "GetParameters")

    calls = over_ssm(Denied(now))
    (work,) = await calls.calls.read(resource(), [calls.reading(keys(10))])
    assert work.applied.error is not None
    assert work.applied.error.reason is Reason.ACCESS_DENIED
    assert left(calls, "reads") == 39


@in_virtual_time
async def test_a_turn_to_read_less_than_is_needed_by_now_is_paid_for_in_full() -> None:
    calls = over_ssm(CountingSSM(now))
    await calls.calls.read_again(resource("other"), calls.reading(keys(400)))
    (work,) = await calls.calls.read(resource(), [calls.reading(keys(10))])
    assert work.unread
    calls.calls.end(ME)
    await asyncio.sleep(1)
    assert calls.calls.has_turn(ME)
    (work,) = await calls.calls.read(resource(), [calls.reading(keys(100))])
    assert not work.unread
    assert left(calls, "reads") == 40 - 10
