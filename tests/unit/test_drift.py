"""Changes by others: when they are put back, and less often each time."""

from dataclasses import replace

import pytest

from tenantconfig.drift import LONGEST_HOLD_SECONDS, QUIET_SECONDS, Holds, drifted, hold_seconds
from tenantconfig.errors import Reason
from tenantconfig.guard import Guard
from tenantconfig.model import (
    Condition,
    Entry,
    EntryStatus,
    Location,
    Policy,
    ResourceRef,
    Scope,
    State,
    Status,
    TenantConfig,
    Value,
)
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.placement import Place, Work
from tenantconfig.plan import Changes, Claim, Contents, Desired, Held, Put
from tenantconfig.stores.base import Applied
from tenantconfig.stores.memory import MemoryStore

PLACE = Location("ssm/1", "ssm", (("pathPrefix", "/t"),))
OURS = Value("ours")


def wait(holds: Holds, key: str, now: float) -> float:
    hold = holds.of("uid", now).get(key)
    return hold.wait(now) if hold else 0.0


def put_back(holds: Holds, now: float) -> None:
    holds.put_back("uid", 1, {"a": PLACE.id}, now)


def test_the_first_time_at_once_and_then_less_and_less_often() -> None:
    holds, now, waits = Holds(), 0.0, []
    for _ in range(12):
        waits.append(wait(holds, "a", now))
        now += waits[-1]
        assert wait(holds, "a", now) == 0
        put_back(holds, now)
    assert waits == [0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert hold_seconds(10**6) == LONGEST_HOLD_SECONDS
    assert wait(holds, "b", now) == 0
    assert holds.of("other", now) == {}


def test_who_writes_on_is_not_forgotten_and_who_stops_is() -> None:
    holds = Holds()
    for number in range(9):
        put_back(holds, float(number))
    holds.expire(8.0 + QUIET_SECONDS)
    assert wait(holds, "a", 8.0) == LONGEST_HOLD_SECONDS
    assert wait(holds, "a", 9.0 + QUIET_SECONDS) == 0
    holds.expire(9.0 + QUIET_SECONDS)
    assert holds._holds == {}
    assert QUIET_SECONDS > 2 * LONGEST_HOLD_SECONDS


class Scene:
    """A resource with one key in SSM, recorded at version 1, and a clock."""

    def __init__(self, policy: Policy = Policy.ENFORCE) -> None:
        self.now = 1000.0
        self.own = OwnWrites(self.clock)
        self.guard = Guard(self.own, self.clock)
        self.policy = policy
        self.version = 1
        recorded = EntryStatus("a", "ssm", PLACE.id, policy, State.SYNCED, "1")
        self.resource = TenantConfig(
            ResourceRef("team", "test"),
            "uid",
            "1",
            1,
            "2026-01-02T03:04:05Z",
            Scope("acme"),
            (Entry("a", policy, OURS),),
            "test",
            "test",
            status=Status(entries=(recorded,)),
        )

    def clock(self) -> float:
        return self.now

    def work(self, text: str | None) -> Work:
        """The store as others have left it, and the plan."""
        held = {"a": Held(text, str(self.version), owner="someone")} if text is not None else {}
        put = Put("a", OURS, held.get("a"))
        puts = (put,) if text is None or (self.policy is Policy.ENFORCE and text != "ours") else ()
        place = Place(PLACE, MemoryStore(), (Desired("a", self.policy, OURS),), frozenset({PLACE.id}))
        return Work(place, Claim("us"), Contents(held), Changes("us", puts=puts))

    def change(self, text: str | None) -> None:
        self.version += 1
        self.text = text

    def turn(self, *, works: bool = True, reads: bool = True) -> tuple[bool, bool]:
        """A pass: whether it held the key, and whether it put it back; the store may fail."""
        work = self.work(self.text)
        if not reads:
            work = replace(work, contents=Contents(), changes=Changes("us"), unread=True)
        seen = self.guard.look(self.resource, [work])
        (planned,) = self.guard.hold([work], seen)
        if planned.changes and works:
            self.change("ours")
            applied = Applied(held={"a": Held("ours", str(self.version), owner="us")})
            planned = replace(planned, applied=applied)
            self.own.note(PLACE, self.resource.scope, "a", str(self.version), str(self.version - 1))
        done = self.guard.applied(self.resource, [planned], seen)
        return bool(seen.waits), bool(done)

    def observe(self, reason: Reason) -> None:
        """The status tells of a pass over the resource as it is, and how it went."""
        synced = Condition("StoresSynced", reason is Reason.READY, reason.value, "", self.resource.generation)
        status = replace(self.resource.status, observed_generation=self.resource.generation, conditions=(synced,))
        self.resource = replace(self.resource, status=status)

    def record(self, state: State = State.SYNCED) -> None:
        """The status as a pass has left it."""
        (entry,) = self.resource.status.entries
        entry = replace(entry, version=str(self.version), state=state)
        self.resource = replace(self.resource, status=Status(entries=(entry,)))


def test_a_put_back_that_fails_at_first_is_counted_once_it_is_done_and_holds_the_next_one_off() -> None:
    scene = Scene()
    scene.change("theirs")
    assert scene.turn(works=False) == (False, False)
    scene.record(State.PENDING)
    assert scene.turn() == (False, True)
    assert (scene.guard.put_back["ssm"], scene.guard.foreign["ssm", Policy.ENFORCE]) == (1, 1)
    scene.record()
    scene.change("theirs")
    assert scene.turn() == (True, False)


def test_a_read_that_fails_ends_no_hold_and_forgets_nothing() -> None:
    scene = Scene()
    scene.change("theirs")
    scene.turn(works=False)
    scene.record(State.PENDING)
    assert scene.turn(reads=False) == (False, False)
    assert scene.turn() == (False, True), "still owed"
    scene.record()
    scene.change("theirs")
    assert scene.turn() == (True, False)
    scene.turn(reads=False)
    scene.record(State.PENDING)
    assert scene.turn() == (True, False), "still held"


def test_an_edit_is_written_at_once_and_ends_the_fight_in_the_status_but_not_what_is_remembered() -> None:
    scene = Scene()
    for _ in range(2):
        scene.change("theirs")
        scene.turn()
        scene.record()
        scene.now += 2
    assert scene.guard.contested(scene.resource)
    scene.resource = replace(scene.resource, generation=2)
    assert not scene.guard.contested(scene.resource)
    scene.change("theirs")
    assert scene.turn() == (False, True)
    assert scene.guard.contested(scene.resource) == {"a": 8.0}


def test_a_read_that_lags_behind_our_own_write_is_no_change_by_others() -> None:
    scene = Scene()
    scene.change("theirs")
    scene.turn()
    assert scene.version == 3
    scene.version, scene.text = 2, "theirs"
    assert scene.turn() == (True, False), "nor is it written once more"
    assert scene.guard.foreign["ssm", Policy.ENFORCE] == 1


def test_who_makes_a_parameter_again_each_time_is_held_off_too() -> None:
    """Its version is the one that we replaced, which a read that lags would show as well."""
    scene, puts = Scene(), 0
    for _ in range(100):
        scene.version, scene.text = 1, "theirs"
        held, _ = scene.turn()
        puts += not held
        scene.record()
        scene.now += 1
    assert puts <= 8, "at once, and then after 2, 4, 8 … seconds"


def test_what_others_make_again_is_a_change_though_its_version_is_ours_and_an_edit_is_none() -> None:
    scene = Scene()
    scene.own.note(PLACE, scene.resource.scope, "a", "1", text="ours")
    scene.text = "theirs"
    assert scene.turn() == (False, False), "the spec is another than the one that was written"
    scene = Scene()
    scene.observe(Reason.READY)
    scene.text = "theirs"
    assert scene.turn() == (False, True)
    assert (scene.guard.put_back["ssm"], scene.guard.foreign["ssm", Policy.ENFORCE]) == (1, 1)


@pytest.mark.parametrize(
    ("reason", "foreign"), [(Reason.SECRET_NOT_FOUND, 0), (Reason.TENANT_NOT_ALLOWED, 0), (Reason.DRIFTED, 1)]
)
def test_an_edit_that_could_not_be_written_at_first_is_no_change_by_others(reason: Reason, foreign: int) -> None:
    """The status has observed it, and its entries are still those of the edit before."""
    scene = Scene()
    scene.observe(reason)
    scene.text = "of the edit before, or theirs"
    assert scene.turn() == (False, bool(foreign))
    assert scene.guard.foreign["ssm", Policy.ENFORCE] == foreign


def test_what_somebody_else_put_right_meanwhile_is_owed_no_longer() -> None:
    scene = Scene()
    scene.change("theirs")
    scene.turn(works=False)
    scene.record(State.PENDING)
    scene.change("ours")
    assert scene.turn() == (False, False)
    scene.record()
    scene.change("theirs")
    assert scene.turn() == (False, True), "nothing was put back before: nothing is held"
    assert scene.guard._owed == {}


def test_a_put_back_whose_status_could_not_be_written_is_no_change_by_others() -> None:
    scene = Scene()
    scene.change("theirs")
    assert scene.turn() == (False, True)
    assert scene.turn() == (False, False)
    assert scene.guard.foreign["ssm", Policy.ENFORCE] == 1


def test_a_seed_that_others_delete_again_and_again_is_made_again_less_often() -> None:
    scene = Scene(Policy.SEED)
    scene.change("theirs")
    assert scene.turn() == (False, False), "it is the store's"
    scene.record()
    for _ in range(2):
        scene.change(None)
        assert scene.turn() == (False, True)
        scene.record()
        scene.change(None)
        assert scene.turn() == (True, False)
        scene.now += LONGEST_HOLD_SECONDS


def test_a_key_stays_drifted_until_nobody_changed_it_for_as_long_as_it_would_have_been_held() -> None:
    scene = Scene()
    scene.change("theirs")
    scene.turn()
    assert scene.guard.contested(scene.resource) == {}, "once is no fight"
    scene.record()
    scene.now += 2
    scene.change("theirs")
    assert scene.turn() == (False, True)
    assert scene.guard.contested(scene.resource) == {"a": 4.0}
    scene.now += 4
    assert scene.guard.contested(scene.resource) == {}


@pytest.mark.parametrize(
    ("held", "contested", "state", "version", "message"),
    [
        ({"a": "12:00"}, {"a": "12:00"}, State.DRIFTED, "1", "it is put back at 12:00"),
        ({}, {"a": "12:00"}, State.DRIFTED, "2", "it was put back, and counts as settled if nobody does until 12:00"),
        ({}, {}, State.SYNCED, "2", ""),
    ],
)
def test_what_the_status_says(
    held: dict[str, str], contested: dict[str, str], state: State, version: str, message: str
) -> None:
    before, after = (EntryStatus("a", "ssm", PLACE.id, state=State.SYNCED, version=each) for each in "12")
    (told,) = drifted([after], [before], held, contested)
    assert (told.state, told.version) == (state, version)
    assert told.message == (f"others change it again and again: {message}" if message else "")
