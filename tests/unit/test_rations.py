"""Rations on an event loop: who is woken when, what is said to those who wait, and what becomes of unused turns."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from harness.virtual_time import NothingMore, in_virtual_time, run
from tenantconfig import rations as module
from tenantconfig.errors import Reason, Transient
from tenantconfig.model import Location, Options, ResourceRef, Scope, TenantConfig
from tenantconfig.rations import PORTION, Allowance, Ration, Rations

SSM = Location("store/1", "ssm", (("pathPrefix", "/config"),))
NOON = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def resource(name: str, tenant: str = "") -> TenantConfig:
    ref = ResourceRef("team", name)
    return TenantConfig(ref, f"uid-{name}", "1", 1, "", Scope(tenant or name), (), name, name)


A, B, C = resource("a"), resource("b"), resource("c")


class World:
    """Rations, and who was woken when."""

    def __init__(self) -> None:
        self.woken: list[tuple[float, str]] = []
        self.rations = Rations(lambda ref: self.woken.append((self.now(), ref.name)))

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def ration(self, options: Options = (), location: Location = SSM) -> Ration:
        ration = self.rations.of(location, options)
        assert ration is not None
        return ration

    def spent(self) -> Ration:
        """A ration of which nothing is left to write."""
        ration = self.ration()
        assert ration.writes.take(ResourceRef("team", "first"), PORTION, self.now()) == PORTION
        return ration

    def wait(self, ration: Ration, who: TenantConfig, need: int) -> Transient:
        """One that waits, at the end of its pass."""
        error = self.rations.wait(ration.writes, who, need, f"{need} writes")
        assert self.rations.end(who.ref)
        return error


# Rates


@pytest.mark.parametrize(
    ("options", "writes", "reads"),
    [
        ((), 3.0, 40.0),
        ((("tier", "Standard"), ("writesPerSecond", "10")), 10.0, 40.0),
        ((("readsPerSecond", "1000"), ("writesPerSecond", "0.5")), 0.5, 1000.0),
    ],
)
@in_virtual_time
async def test_the_rates_are_the_config_store_s_own_or_what_aws_allows(
    options: Options, writes: float, reads: float
) -> None:
    ration = World().ration(options)
    assert (ration.name, ration.writes.rate, ration.reads.rate) == ("store", writes, reads)


@pytest.mark.parametrize(("rate", "portion"), [("0.5", PORTION), ("3", PORTION), ("25", 25), ("25.9", 25)])
@in_virtual_time
async def test_a_turn_to_write_is_ten_writes_or_a_second_s_worth(rate: str, portion: int) -> None:
    world = World()
    assert world.ration((("writesPerSecond", rate),)).writes.take(A.ref, 1000, world.now()) == portion


@pytest.mark.parametrize("kind", ["dynamodb", "plugin"])
@in_virtual_time
async def test_what_is_not_ssm_has_no_ration(kind: str) -> None:
    assert World().rations.of(Location("table/1", kind, ()), (("writesPerSecond", "1"),)) is None


@in_virtual_time
async def test_a_config_store_has_one_ration_for_all_its_places() -> None:
    world = World()
    former = Location("store/2", "ssm", (("pathPrefix", "/former"),))
    other = Location("other/1", "ssm", (("pathPrefix", "/other"),))
    assert world.ration(location=former) is world.ration()
    assert world.ration(location=other) is not world.ration()


@in_virtual_time
async def test_other_rates_hold_for_those_who_wait() -> None:
    world = World()
    ration = world.spent()
    world.wait(ration, A, 10)
    await asyncio.sleep(1.0)
    assert world.ration((("writesPerSecond", "70"),)) is ration
    world.wait(ration, B, 10)
    await asyncio.sleep(1.0)
    assert [name for _, name in world.woken] == ["a", "b"]


# Turns


def told(world: World) -> list[tuple[float, str]]:
    """Who was woken, and when, but for what floats lose."""
    return [(round(time, 6), name) for time, name in world.woken]


@in_virtual_time
async def test_who_waits_is_woken_when_its_turn_comes_and_once() -> None:
    world = World()
    ration = world.spent()
    world.wait(ration, A, 6)
    assert not world.rations.has_turn(A.ref)
    await asyncio.sleep(1.99)
    assert world.woken == []
    await asyncio.sleep(0.02)
    assert told(world) == [(2.0, "a")]
    assert world.rations.has_turn(A.ref)
    await asyncio.sleep(3600)
    assert len(world.woken) == 1


@in_virtual_time
async def test_all_who_wait_are_woken_one_after_the_other() -> None:
    world = World()
    ration = world.spent()
    for each in (A, B, C):
        world.wait(ration, each, 3)
    await asyncio.sleep(60)
    assert told(world) == [(1.0, "a"), (2.0, "b"), (3.0, "c")]


@in_virtual_time
async def test_who_has_its_tokens_at_once_is_woken_at_once() -> None:
    world = World()
    ration = world.ration()
    world.rations.wait(ration.writes, A, 5, "5 writes")
    assert world.woken == [(0.0, "a")]


@in_virtual_time
async def test_reads_and_writes_and_config_stores_do_not_wait_for_each_other() -> None:
    world = World()
    other = world.ration(location=Location("other/1", "ssm", (("pathPrefix", "/other"),)))
    world.wait(world.spent(), A, 10)
    assert other.writes.take(B.ref, 10, world.now()) == 10
    assert world.ration().reads.take(B.ref, 10, world.now()) == 10


@in_virtual_time
async def test_a_pass_that_does_not_use_its_turn_gives_it_to_the_next() -> None:
    world = World()
    ration = world.spent()
    world.wait(ration, A, 10)
    world.wait(ration, B, 10)
    await asyncio.sleep(10 / 3 + 0.1)
    assert [name for _, name in world.woken] == ["a"]
    assert not world.rations.end(A.ref)
    assert [name for _, name in world.woken] == ["a", "b"]
    assert (world.rations.has_turn(A.ref), world.rations.has_turn(B.ref)) == (False, True)


@in_virtual_time
async def test_a_pass_that_ends_without_joining_the_line_again_has_left_it() -> None:
    world = World()
    ration = world.spent()
    world.wait(ration, A, 10)
    world.wait(ration, B, 10)
    assert not world.rations.end(A.ref)
    await asyncio.sleep(3600)
    assert [name for _, name in world.woken] == ["b"]


@in_virtual_time
async def test_a_pass_that_waits_for_writes_does_not_wait_for_reads_any_more() -> None:
    world = World()
    ration = world.spent()
    ration.reads.charge(80, world.now())
    world.rations.wait(ration.reads, A, 1, "1 reads")
    world.rations.end(A.ref)
    world.wait(ration, A, 10)
    assert (ration.writes.waiting, ration.reads.waiting) == (10, 0)


@in_virtual_time
async def test_a_pass_that_waits_for_reads_keeps_its_place_in_the_line_for_writes() -> None:
    world = World()
    ration = world.spent()
    world.wait(ration, A, 10)
    world.wait(ration, B, 10)
    ration.reads.charge(80, world.now())
    world.rations.wait(ration.reads, A, 1, "1 reads")
    assert world.rations.end(A.ref)
    await asyncio.sleep(10 / 3 + 0.1)
    assert [name for _, name in world.woken] == ["a", "a"], "for the reads, then for the writes"
    assert ration.writes.turn(A.ref) == 10


@in_virtual_time
async def test_a_pass_that_waits_at_one_config_store_has_left_another() -> None:
    world = World()
    other = world.ration(location=Location("other/1", "ssm", (("pathPrefix", "/other"),)))
    world.wait(world.spent(), A, 10)
    other.reads.charge(80, world.now())
    world.rations.wait(other.reads, A, 1, "1 reads")
    assert world.rations.end(A.ref)
    assert (world.ration().writes.waiting, other.reads.waiting) == (0, 1)


@in_virtual_time
async def test_nothing_is_left_of_a_resource_that_is_gone() -> None:
    world = World()
    ration = world.spent()
    world.wait(ration, A, 1000)
    await asyncio.sleep(4.0)
    assert world.rations.has_turn(A.ref)
    world.rations.end(A.ref)  # the pass that was woken finds nothing
    await asyncio.sleep(6.0)
    assert ration.writes.take(B.ref, 10, world.now()) == 10
    assert ration.writes.waiting == 0


def test_when_nobody_waits_no_timer_is_left() -> None:
    async def everyone_has_its_turn_and_then() -> None:
        world = World()
        ration = world.spent()
        for each in (A, B):
            world.wait(ration, each, 10)
        await asyncio.sleep(60)
        for each in (A, B):
            world.rations.end(each.ref)
        assert len(world.woken) == 2
        await asyncio.Event().wait()

    with pytest.raises(NothingMore):
        run(everyone_has_its_turn_and_then())


# What is said


@in_virtual_time
async def test_who_waits_is_told_for_what_how_many_are_ahead_the_rate_and_the_time() -> None:
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", SimpleNamespace(time=lambda: NOON))
        ration = world.spent()
        world.wait(ration, A, 20)
        error = world.rations.wait(ration.writes, B, 25, "25 writes to ConfigStore store")
    assert error.reason is Reason.RATE_LIMITED
    assert error.message == (
        "25 writes to ConfigStore store wait for their turn: 20 are ahead, at 3 a second until 2027-01-15T08:00:15Z"
    )


@in_virtual_time
async def test_what_is_said_is_of_the_rate_that_aws_has_slowed_down() -> None:
    world = World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", SimpleNamespace(time=lambda: NOON))
        ration = world.ration()
        for _ in range(9):
            ration.writes.slow(world.now())
        error = world.rations.wait(ration.writes, A, 3, "3 writes")
    assert error.message.endswith("0 are ahead, at 0.188 a second until 2027-01-15T08:00:16Z")


# Allowances


def test_an_allowance_is_spent_request_by_request() -> None:
    allowance = Allowance(2)
    allowance.spend()
    allowance.spend()
    with pytest.raises(Transient) as error:
        allowance.spend()
    assert error.value.reason is Reason.RATE_LIMITED
    assert allowance.left == 0


def test_an_allowance_that_may_be_overdrawn_tells_by_how_much() -> None:
    allowance = Allowance(1, overdraw=True)
    for _ in range(5):
        allowance.spend()
    assert allowance.left == -4


def test_threads_together_spend_no_more_than_what_was_granted() -> None:
    class Yielding(Allowance):
        """Lets the others run whenever it has been looked at."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name == "left":
                time.sleep(0)
            return found

    allowance = Yielding(500)

    def spend(_: int) -> int:
        made = 0
        for _ in range(100):
            try:
                allowance.spend()
            except Transient:
                continue
            made += 1
        return made

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(spend, range(8))) == 500
    assert allowance.left == 0
