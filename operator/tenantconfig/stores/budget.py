"""The requests that a store may be asked in a second, and whose turn it is to ask. Pure: time is an argument.

Theory of operation. A token bucket: it fills at `rate` tokens a second, and a request
costs one. Who finds too little in it, or others waiting, joins the line, and is given
its turn later: tokens set aside until its pass takes them, at most a `portion` at once.

The line is ordered by a due time: when it was joined, and PATIENCE_SECONDS for every
request that the tenant has waiting, this one's included. So one wait is in proportion
to what is waited for: a tenant that changes a key passes one that brings a thousand,
in one resource or in many, and who has waited long enough is passed by nobody. Who
comes back for the next turn keeps its due time; only what it needs more than before
is put on top, so that nobody stays first who never comes to an end.

A store that answers "too many requests" halves the rate, and with it the portion,
which may be more than the store takes at once, and empties the bucket; both grow
back in RECOVERY_SECONDS.
"""

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

PATIENCE_SECONDS = 600.0  # a change of one key passes what brings ten for an hour and a half
RECOVERY_SECONDS = 60.0  # from standstill to the full rate
SLOWEST = 1 / 16  # of the configured rate
LEAST_PORTION = 2  # what one change may take: a value and its owner's tag


@dataclass(frozen=True, slots=True, order=True)
class _Waiting(Generic[K]):
    due: float
    number: int  # of two that are due at once, who came first
    key: K = field(compare=False)
    tenant: str = field(compare=False)
    need: int = field(compare=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where someone stands in the line."""

    ahead: int  # requests that come first
    seconds: float  # until its own are made, as it looks now


class Budget(Generic[K]):
    """One store's requests of one kind.

    `rate` is in requests a second, `portion` the most in one turn; without it, a turn is
    as large as it must be, and one that exceeds the bucket leaves a debt behind. Whoever
    waits is known until it leaves.
    Every `now` is monotonic, in seconds.
    """

    def __init__(self, rate: float, portion: int | None, now: float) -> None:
        self.rate = self._full_rate = rate
        self._portion = portion
        self._tokens = self._size = max(rate, portion or 1)
        self._filled_at = now
        self._line: list[_Waiting[K]] = []
        self._latest: dict[K, _Waiting[K]] = {}  # of everyone who has not left: in the line, or before its turn
        self._turns: dict[K, int] = {}
        self._number = 0

    def configure(self, rate: float, portion: int | None, now: float) -> None:
        """Have another rate and portion from now on; who waits keeps its place."""
        if (rate, portion) != (self._full_rate, self._portion):
            self._fill(now)
            self.rate = self._full_rate = rate
            self._portion = portion
            self._size = max(rate, portion or 1)

    def take(self, key: K, need: int, now: float) -> int:
        """How many of the requests that `key` needs it may make now: its turn's, or if nobody waits, a portion."""
        self._fill(now)
        cost = self._cost(need)
        turn = self._turns.pop(key, 0)
        if turn:
            self._tokens += turn
            cost = min(turn, need)
        elif self._line or not self._suffices(cost):
            return 0
        self._tokens -= cost
        return cost

    def charge(self, requests: int, now: float) -> None:
        """Requests were made that nobody could foresee."""
        self._fill(now)
        self._tokens -= requests

    def refund(self, requests: int) -> None:
        """Requests that were taken were not made."""
        self._tokens = min(self._tokens + requests, self._size)

    def wait(self, key: K, tenant: str, need: int, now: float) -> Place:
        """Join the line, or stay in it with another need."""
        self._fill(now)
        self.refund(self._turns.pop(key, 0))
        latest = self._latest.get(key)
        if latest is None or latest.need != need or self._index(latest) is None:
            latest = self._join(key, tenant, need, now)
        ahead = sum(each.need for each in islice(self._line, self._index(latest)))
        return Place(ahead, max(0.0, ahead + need - self._tokens) / self.rate)

    def turns(self, now: float) -> Iterator[K]:
        """Whose turn it is now: tokens are set aside for each."""
        self._fill(now)
        while self._line and self._suffices(self._cost(self._line[0].need)):
            first = self._line[0]
            self._unqueue(first.key)
            self._turns[first.key] = self._cost(first.need)
            self._latest[first.key] = replace(first, need=first.need - 1)  # or a turn that brings nothing were free
            self._tokens -= self._turns[first.key]
            yield first.key

    def next_turn(self, now: float) -> float | None:
        """Seconds until there is a turn; None when nobody waits."""
        if not self._line:
            return None
        self._fill(now)
        return max(0.0, self._least(self._cost(self._line[0].need)) - self._tokens) / self.rate

    def turn(self, key: K) -> int:
        """The requests that are set aside for `key`; 0 when it is not its turn."""
        return self._turns.get(key, 0)

    def leave(self, key: K) -> None:
        """`key` needs nothing any more, in the line or out of it."""
        self._unqueue(key)
        self._latest.pop(key, None)
        self.refund(self._turns.pop(key, 0))

    def slow(self, now: float) -> None:
        """The store has asked for patience."""
        self._fill(now)
        self.rate = max(self.rate / 2, self._full_rate * SLOWEST)
        self._tokens = min(self._tokens, 0.0)

    @property
    def waiting(self) -> int:
        """Requests in the line."""
        return sum(each.need for each in self._line)

    def _cost(self, need: int) -> int:
        if self._portion is None:
            return need
        return min(need, max(LEAST_PORTION, int(self._portion * self.rate / self._full_rate)))

    def _least(self, cost: int) -> float:
        return min(cost, self._size)

    def _suffices(self, cost: int) -> bool:
        return self._tokens >= self._least(cost) - 1e-9  # what float arithmetic may lose on the way to a whole token

    def _fill(self, now: float) -> None:
        seconds, self._filled_at = max(0.0, now - self._filled_at), max(now, self._filled_at)
        self._tokens = min(self._size, self._tokens + seconds * self.rate)
        self.rate = min(self._full_rate, self.rate + seconds * self._full_rate / RECOVERY_SECONDS)

    def _join(self, key: K, tenant: str, need: int, now: float) -> _Waiting[K]:
        self._unqueue(key)
        others = sum(each.need for each in self._line if each.tenant == tenant)
        due = now + PATIENCE_SECONDS * (others + need)
        if former := self._latest.get(key):
            due = min(due, former.due + PATIENCE_SECONDS * max(0, need - former.need))
        self._number += 1
        number = former.number if former and due == former.due else self._number  # it keeps its place among equals
        self._latest[key] = _Waiting(due, number, key, tenant, need)
        insort(self._line, self._latest[key])
        return self._latest[key]

    def _unqueue(self, key: K) -> None:
        latest = self._latest.get(key)
        if latest and (index := self._index(latest)) is not None:
            del self._line[index]

    def _index(self, waiting: _Waiting[K]) -> int | None:
        index = bisect_left(self._line, waiting)
        return index if index < len(self._line) and self._line[index] is waiting else None
