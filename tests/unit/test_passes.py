"""The queue of passes: turns, deduplication, bounded concurrency, and trying again."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable

import pytest

from harness.clock import Clock
from tenantconfig import passes
from tenantconfig.errors import Reason, Stalled
from tenantconfig.passes import RETRY_MOST_SECONDS, Outcome, Passes, backoff


class Work:
    """Passes that begin when they are let, end when they are told, and are counted."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.running: Counter[str] = Counter()
        self.most_at_once = 0
        self.most_of_one_key = 0
        self.endings: defaultdict[str, asyncio.Queue[Outcome | Exception]] = defaultdict(asyncio.Queue)

    async def __call__(self, key: str) -> Outcome:
        self.begun.append(key)
        self.running[key] += 1
        self.most_at_once = max(self.most_at_once, self.running.total())
        self.most_of_one_key = max(self.most_of_one_key, self.running[key])
        try:
            ending = await self.endings[key].get()
            if isinstance(ending, Exception):
                raise ending
            return ending
        finally:
            self.running[key] -= 1

    def end(self, key: str, ending: Outcome | Exception | None = None) -> None:
        """One pass over `key`, the one that runs or the next, ends so."""
        self.endings[key].put_nowait(ending or Outcome())


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def work() -> AsyncIterator[Work]:
    yield Work()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        if task.get_name().startswith("pass "):
            task.cancel()
    await settle()


@pytest.fixture
def queue(work: Work, clock: Clock) -> Passes[str]:
    return Passes(work, clock)


class Timers:
    """Timers that are set during the test; they go off when the test says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_later = loop.call_later
        self._set: list[tuple[asyncio.TimerHandle, Callable[[], None]]] = []
        self.delays: list[float] = []

    def call_later(self, delay: float, callback: Callable[..., None], *args: object) -> asyncio.TimerHandle:
        handle = self._call_later(3600, callback, *args)
        self.delays.append(delay)
        self._set.append((handle, lambda: callback(*args)))
        return handle

    def pending(self) -> int:
        return sum(not handle.cancelled() for handle, _ in self._set)

    def go_off(self) -> None:
        """The one that is pending."""
        ((handle, callback),) = [each for each in self._set if not each[0].cancelled()]
        handle.cancel()
        callback()


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    monkeypatch.setattr(loop, "call_later", timers.call_later)
    return timers


# Turns


async def test_a_request_begins_a_pass(queue: Passes[str], work: Work) -> None:
    queue.request("a")
    await settle()
    assert work.begun == ["a"]


async def test_requests_before_a_pass_begins_are_one(queue: Passes[str], work: Work) -> None:
    for _ in range(5):
        queue.request("a")
    work.end("a")
    await settle()
    assert work.begun == ["a"]


async def test_requests_while_a_pass_runs_are_exactly_one_more_after_it(queue: Passes[str], work: Work) -> None:
    queue.request("a")
    await settle()
    for _ in range(5):
        queue.request("a")
    await settle()
    assert work.begun == ["a"]
    for _ in range(3):
        work.end("a")
    await settle()
    assert work.begun == ["a", "a"]
    assert work.most_of_one_key == 1


async def test_a_key_that_was_done_can_be_asked_for_again(queue: Passes[str], work: Work) -> None:
    for count in (1, 2, 3):
        queue.request("a")
        work.end("a")
        await settle()
        assert work.begun == ["a"] * count


async def test_different_keys_do_not_wait_for_each_other(queue: Passes[str], work: Work) -> None:
    queue.request("a")
    queue.request("b")
    await settle()
    assert sorted(work.begun) == ["a", "b"]


async def test_no_more_than_the_bound_run_at_once_and_none_is_forgotten(work: Work, clock: Clock) -> None:
    queue = Passes(work, clock, concurrency=3)
    keys = [f"key-{number}" for number in range(10)]
    for key in keys:
        queue.request(key)
    await settle()
    assert work.running.total() == 3
    for key in keys:
        work.end(key)
    await settle()
    assert work.begun == keys
    assert work.most_at_once == 3


async def test_a_turn_gets_the_outcome_of_its_pass(queue: Passes[str], work: Work) -> None:
    outcome = Outcome(Stalled(Reason.NO_STORE, "x"))
    work.end("a", outcome)
    assert await queue.turn("a") is outcome


async def test_a_turn_waits_for_a_pass_that_begins_after_it(queue: Passes[str], work: Work) -> None:
    queue.request("a")
    await settle()
    turn = asyncio.create_task(queue.turn("a"))
    await settle()
    work.end("a", Outcome(Stalled(Reason.INVALID, "of the pass that ran already")))
    await settle()
    assert not turn.done()
    answer = Outcome()
    work.end("a", answer)
    assert await turn is answer
    assert work.begun == ["a", "a"]


async def test_several_turns_share_one_pass(queue: Passes[str], work: Work) -> None:
    turns = [asyncio.create_task(queue.turn("a")) for _ in range(3)]
    await settle()
    work.end("a")
    assert await asyncio.gather(*turns) == [Outcome()] * 3
    assert work.begun == ["a"]


async def test_a_turn_that_is_given_up_disturbs_nobody(queue: Passes[str], work: Work) -> None:
    given_up, patient = (asyncio.create_task(queue.turn("a")) for _ in range(2))
    await settle()
    given_up.cancel()
    await settle()
    work.end("a")
    assert await patient == Outcome()
    assert given_up.cancelled()


async def test_a_pass_that_is_cancelled_leaves_no_turn_waiting(queue: Passes[str], work: Work) -> None:
    turn = asyncio.create_task(queue.turn("a"))
    await settle()
    (task,) = [each for each in asyncio.all_tasks() if each.get_name() == "pass a"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn


# Trying again


async def test_a_pass_to_be_tried_again_is_by_a_timer(queue: Passes[str], work: Work, timers: Timers) -> None:
    work.end("a", Outcome(retry_within=60.0))
    assert (await queue.turn("a")).retry_within
    await settle()
    assert (work.begun, timers.pending()) == (["a"], 1)
    timers.go_off()
    await settle()
    assert work.begun == ["a", "a"]


async def test_a_pass_that_is_not_to_be_tried_again_sets_no_timer(
    queue: Passes[str], work: Work, timers: Timers
) -> None:
    work.end("a", Outcome(Stalled(Reason.NO_STORE, "x")))
    await queue.turn("a")
    await settle()
    assert timers.delays == []


async def test_a_request_does_not_wait_for_the_timer_and_cancels_it(
    queue: Passes[str], work: Work, timers: Timers
) -> None:
    work.end("a", Outcome(retry_within=60.0))
    await queue.turn("a")
    await settle()
    queue.request("a")
    assert timers.pending() == 0
    work.end("a")
    await settle()
    assert (work.begun, timers.pending()) == (["a", "a"], 0)


async def test_what_was_asked_for_meanwhile_needs_no_timer(queue: Passes[str], work: Work, timers: Timers) -> None:
    queue.request("a")
    await settle()
    queue.request("a")
    work.end("a", Outcome(retry_within=60.0))
    work.end("a")
    await settle()
    assert (work.begun, timers.delays) == (["a", "a"], [])


async def test_the_delays_grow_with_the_failures_in_a_row_up_to_what_the_outcome_says(
    queue: Passes[str], work: Work, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "backoff", lambda failures, most: failures * most)
    for most in (60.0, 60.0, 300.0, 0.0, 60.0):
        work.end("a", Outcome(retry_within=most))
        await queue.turn("a")
        await settle()
    assert timers.delays == [60.0, 120.0, 900.0, 60.0]


async def test_a_success_between_failures_begins_the_delays_anew(
    queue: Passes[str], work: Work, timers: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "backoff", lambda failures, most: failures * most)
    work.end("a", Outcome(retry_within=60.0))
    await queue.turn("a")
    queue.request("a")
    await settle()
    queue.request("a")  # so that the key does not leave the queue between the two
    work.end("a")
    work.end("a", Outcome(retry_within=60.0))
    await settle()
    assert timers.delays == [60.0, 60.0]


async def test_a_defect_is_logged_and_tried_again_and_the_queue_lives(
    queue: Passes[str], work: Work, timers: Timers, caplog: pytest.LogCaptureFixture
) -> None:
    work.end("a", ValueError("hush"))
    outcome = await queue.turn("a")
    assert outcome == Outcome(retry_within=RETRY_MOST_SECONDS)
    assert "The pass over a failed by a defect" in caplog.text
    timers.go_off()
    work.end("a")
    work.end("b")
    assert await queue.turn("b") == Outcome()
    assert work.begun.count("a") == 2


@pytest.mark.parametrize("most", [60.0, 300.0])
@pytest.mark.parametrize("failures", [1, 2, 3, 8, 20, 2000])
def test_the_back_off_doubles_up_to_its_bound_and_half_of_it_is_at_random(failures: int, most: float) -> None:
    longest = min(0.5 * 2 ** min(failures - 1, 30), most)
    drawn = [backoff(failures, most) for _ in range(200)]
    assert longest / 2 <= min(drawn)
    assert max(drawn) <= longest
    assert len(set(drawn)) > 100


# How fresh everything is


async def test_the_oldest_request_counts_until_its_pass_has_ended(queue: Passes[str], work: Work, clock: Clock) -> None:
    assert queue.oldest() is None
    queue.request("a")
    clock.now = 1010.0
    queue.request("b")
    queue.request("a")
    assert queue.oldest() == 1000.0
    await settle()
    assert queue.oldest() == 1000.0, "while the pass runs too"
    work.end("a")
    await settle()
    assert queue.oldest() == 1010.0
    work.end("b")
    await settle()
    assert queue.oldest() is None


async def test_a_request_may_be_due_since_long_before(queue: Passes[str], work: Work, clock: Clock) -> None:
    queue.request("a")
    queue.request("a", 5.0)
    queue.request("a")
    assert queue.oldest() == 5.0
    await settle()
    work.end("a")
    await settle()
    assert queue.oldest() is None


async def test_a_request_during_a_pass_is_dated_by_itself(queue: Passes[str], work: Work, clock: Clock) -> None:
    queue.request("a")
    await settle()
    clock.now = 1010.0
    queue.request("a")
    assert queue.oldest() == 1000.0
    work.end("a")
    await settle()
    assert queue.oldest() == 1010.0


async def test_requests_that_wait_for_a_slot_count(work: Work, clock: Clock) -> None:
    queue = Passes(work, clock, concurrency=1)
    queue.request("a")
    await settle()
    clock.now = 1010.0
    queue.request("b")
    work.end("a")
    await settle()
    assert queue.oldest() == 1010.0


async def test_what_waits_for_its_timer_is_answered(queue: Passes[str], work: Work, timers: Timers) -> None:
    work.end("a", Outcome(retry_within=60.0))
    await queue.turn("a")
    await settle()
    assert timers.pending() == 1
    assert queue.oldest() is None
