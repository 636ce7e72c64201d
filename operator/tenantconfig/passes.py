"""The keyed, deduplicating queue of passes: who has a turn, when, and how many at once.

Anything that may change a scope asks for a pass by its key. At most one pass over
a key runs at a time; asking while one runs means one more after it, however often.
A pass never waits: one that must be tried again ends, and a timer asks for it,
unless something else asks earlier.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tenantconfig.backoff import delay
from tenantconfig.errors import TenantConfigError

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

RETRY_FIRST_SECONDS = 0.5
RETRY_MOST_SECONDS = 60.0
CONCURRENCY = 16


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass ended."""

    error: TenantConfigError | None = None
    retry_within: float = 0.0  # seconds, the most between two tries; 0: only when something changes
    retry_after: float = 0.0  # seconds, where it is known when to try again


@dataclass(slots=True)
class _Turn:
    """The state of a key: it is here while a pass is due, runs, or waits for its timer."""

    due_since: float | None = None  # a pass is due; None while one runs and nothing new was asked
    running_since: float | None = None
    waiters: list[asyncio.Future[Outcome]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    failures: int = 0


class Passes(Generic[K]):
    """Runs `work(key)` for every key that is asked for.

    `clock` gives Unix seconds; it dates requests for `oldest`.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[Outcome]],
        clock: Callable[[], float],
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._work = work
        self._clock = clock
        self._slots = asyncio.Semaphore(concurrency)
        self._turns: dict[K, _Turn] = {}

    def request(self, key: K, since: float | None = None) -> None:
        """Have a pass over `key` begin from now on; it may be due `since` long before."""
        turn = self._turns.setdefault(key, _Turn())
        known = [date for date in (turn.due_since, self._clock() if since is None else since) if date is not None]
        turn.due_since = min(known)
        if turn.timer:
            turn.timer.cancel()
            turn.timer = None
        if turn.task is None:
            turn.task = asyncio.create_task(self._serve(key, turn), name=f"pass {key}")

    async def turn(self, key: K) -> Outcome:
        """Ask for a pass, and wait for the first one that begins from now on."""
        self.request(key)
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._turns[key].waiters.append(waiter)
        return await waiter

    def oldest(self) -> float | None:
        """When the longest-waiting request was made that no pass has answered yet; None if all are answered."""
        dates = (date for turn in self._turns.values() for date in (turn.due_since, turn.running_since))
        return min((date for date in dates if date is not None), default=None)

    async def _serve(self, key: K, turn: _Turn) -> None:
        try:
            while turn.due_since is not None:
                async with self._slots:
                    await self._pass(key, turn)
        finally:
            turn.task = None
            if turn.timer is None:
                del self._turns[key]

    async def _pass(self, key: K, turn: _Turn) -> None:
        turn.running_since, turn.due_since = turn.due_since, None
        waiters, turn.waiters = turn.waiters, []
        outcome: Outcome | None = None
        try:
            outcome = await self._work(key)
        except Exception:
            logger.exception("The pass over %s failed by a defect", key)
            outcome = Outcome(retry_within=RETRY_MOST_SECONDS)
        finally:
            turn.running_since = None
            for waiter in waiters:
                if outcome is None:  # cancelled: the process ends
                    waiter.cancel()
                elif not waiter.done():
                    waiter.set_result(outcome)
        turn.failures = turn.failures + 1 if outcome.retry_within else 0
        if (outcome.retry_after or outcome.retry_within) and turn.due_since is None:
            seconds = outcome.retry_after or backoff(turn.failures, outcome.retry_within)
            turn.timer = asyncio.get_running_loop().call_later(seconds, self._retry, key)

    def _retry(self, key: K) -> None:
        self._turns[key].timer = None
        self.request(key)


def backoff(failures: int, most: float) -> float:
    """Seconds until the next try after `failures` in a row: doubling up to `most`, half of it at random."""
    return delay(failures, RETRY_FIRST_SECONDS, most)
