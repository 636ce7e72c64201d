"""How much each peer may have of what a server has for all: streams, and subscriptions. Pure."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The streams that a server takes, in total and of one peer, and ten times as many subscriptions."""

    streams: int = 20_000
    streams_per_peer: int = 5_000  # a quarter: no peer alone keeps the others out

    @property
    def subscriptions(self) -> int:
        return 10 * self.streams

    @property
    def subscriptions_per_peer(self) -> int:
        return 10 * self.streams_per_peer


class Quota:
    """Counts what peers have, of `total` and of `each` one's share; `what` is how a refusal calls it."""

    def __init__(self, what: str, total: int, each: int) -> None:
        self.taken = 0
        self._what = what
        self._total = total
        self._each = each
        self._by_peer: Counter[Hashable] = Counter()

    def take(self, peer: Hashable) -> str:
        """Give the peer one more; otherwise say why not."""
        if self._by_peer[peer] >= self._each:
            return f"a client has at most {self._each} {self._what} here"
        if self.taken >= self._total:
            return f"the server has {self._total} {self._what}, and no more"
        self.taken += 1
        self._by_peer[peer] += 1
        return ""

    def give(self, peer: Hashable, count: int = 1) -> None:
        """Take back what the peer no longer has."""
        self.taken -= count
        self._by_peer[peer] -= count
        if not self._by_peer[peer]:
            del self._by_peer[peer]


def peer_of(address: str, issuer: str, subject: str) -> Hashable:
    """Who is at the other end: an address as gRPC writes it, without its port, and the bearer of a token.

    Pods of one service account have addresses of their own; users behind one gateway are several subjects.
    """
    host, _, _ = address.rpartition(":")
    return host, issuer, subject
