"""Who may ask a rate-limited store now, and who is woken when its turn has come: budgets on the event loop.

A pass never waits: it takes what it may have, joins the line for the rest, and ends.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from tenantconfig.clock import rfc3339
from tenantconfig.errors import Reason, Transient
from tenantconfig.model import Location, Options, ResourceRef, TenantConfig
from tenantconfig.stores.budget import Budget

# What AWS allows an account in a region without higher throughput (Systems Manager quotas).
WRITES_PER_SECOND = 3.0
READS_PER_SECOND = 40.0
PORTION = 10  # writes in one turn, or a second's worth where that is more: as many as one read can check


@dataclass(frozen=True, slots=True, eq=False)
class Ration:
    """The budgets of one ConfigStore."""

    name: str
    reads: Budget[ResourceRef]
    writes: Budget[ResourceRef]


class Allowance:
    """Requests that were granted, counted as threads make them; beyond them, `spend` raises unless it may overdraw."""

    def __init__(self, granted: int, *, overdraw: bool = False) -> None:
        self.left = granted
        self._overdraw = overdraw
        self._lock = Lock()

    def spend(self) -> None:
        """Count one request. Raises Transient (RateLimited)."""
        with self._lock:
            if self.left <= 0 and not self._overdraw:
                raise Transient(Reason.RATE_LIMITED, "the requests of this turn are spent")
            self.left -= 1


class Rations:
    """The budgets of all ConfigStores that have any. For the event loop's thread alone.

    `wake` asks for a pass.
    """

    def __init__(self, wake: Callable[[ResourceRef], None]) -> None:
        self._wake = wake
        self._rations: dict[str, Ration] = {}
        self._timers: dict[Budget[ResourceRef], asyncio.TimerHandle] = {}
        self._joined: defaultdict[ResourceRef, list[Budget[ResourceRef]]] = defaultdict(list)  # in the present pass

    def of(self, location: Location, options: Options) -> Ration | None:
        """The budgets for a place, at the rates that its ConfigStore has now; None when nothing limits it."""
        if location.kind != "ssm":
            return None
        limits = dict(options)
        reads = float(limits.get("readsPerSecond", READS_PER_SECOND))
        writes = float(limits.get("writesPerSecond", WRITES_PER_SECOND))
        portion = max(PORTION, int(writes))
        name, now = location.id.rpartition("/")[0], self.now()
        ration = self._rations.get(name)
        if ration is None:
            ration = Ration(name, Budget(reads, None, now), Budget(writes, portion, now))
            self._rations[name] = ration
        ration.reads.configure(reads, None, now)
        ration.writes.configure(writes, portion, now)
        return ration

    def wait(self, budget: Budget[ResourceRef], resource: TenantConfig, need: int, what: str) -> Transient:
        """Join the line, until the pass after a turn; returns what the status says of it. `what` is waited for."""
        place = budget.wait(resource.ref, resource.scope.tenant, need, self.now())
        self._joined[resource.ref].append(budget)
        self._serve(budget)
        until = rfc3339(time.time() + place.seconds, "seconds")
        message = f"{what} wait for their turn: {place.ahead} are ahead, at {budget.rate:.3g} a second until {until}"
        return Transient(Reason.RATE_LIMITED, message)

    def has_turn(self, ref: ResourceRef) -> bool:
        """Whether a pass over `ref` would get further than the last one."""
        return any(budget.turn(ref) for budget in self._budgets())

    def end(self, ref: ResourceRef) -> bool:
        """A pass over `ref` has ended: where it did not join a line again, it wants nothing any more.

        While it waits for reads it cannot know that of writes. Returns whether it waits anywhere.
        """
        joined = self._joined.pop(ref, [])
        for ration in self._rations.values():
            reading, writing = ration.reads in joined, ration.writes in joined
            if not reading:
                ration.reads.leave(ref)
            if not reading and not writing:
                ration.writes.leave(ref)
        for budget in self._budgets():
            self._serve(budget)
        return bool(joined)

    def now(self) -> float:
        """The event loop's time."""
        return asyncio.get_running_loop().time()

    def _budgets(self) -> list[Budget[ResourceRef]]:
        return [budget for ration in self._rations.values() for budget in (ration.reads, ration.writes)]

    def _serve(self, budget: Budget[ResourceRef]) -> None:
        for ref in budget.turns(self.now()):
            self._wake(ref)
        if timer := self._timers.pop(budget, None):
            timer.cancel()
        seconds = budget.next_turn(self.now())
        if seconds is not None:
            self._timers[budget] = asyncio.get_running_loop().call_later(seconds, self._serve, budget)
