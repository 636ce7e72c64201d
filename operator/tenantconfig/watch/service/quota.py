"""How much each peer may have of what a server has for all: streams, subscriptions, answers that nobody reads. Pure."""

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from tenantconfig.model import Claims

UNREAD_ANSWERS = 400  # of up to 1 MiB each: what clients that ask and do not read can make a server keep
OPEN_TO_ALL = 1_000  # calls that need no token
OPEN_TO_ALL_PER_ADDRESS = 20  # a probe and a client have one each


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end: an address without its port, the bearer of a token, and all who have the same rights.

    Pods of one service account have addresses of their own, users behind one gateway are several subjects; so many
    peers may be one tenant's.
    """

    address: str
    issuer: str
    subject: str
    group: Hashable


def peer_of(address: str, claims: Claims) -> Peer:
    """The peer at an address as gRPC writes it, with a good token."""
    return Peer(host_of(address), claims.issuer, claims.subject, (claims.issuer, claims.namespace, claims.tenants))


def host_of(address: str) -> str:
    """An address as gRPC writes it, without its port."""
    return address.rpartition(":")[0]


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
    """Counts what is taken of `total`: `each` at most by one peer, `group` by all with the same rights (0: half).

    `what` is how a refusal calls it.
    """

    def __init__(self, what: str, total: int, each: int, group: int = 0) -> None:
        self.taken = 0
        self._what = what
        self._total = total
        self._each = each
        self._of_group = group or -(-total // 2)
        self._taken_by: Counter[Hashable] = Counter()  # peers, and groups of them

    def take(self, peer: Peer) -> str:
        """Give the peer one more; otherwise say why not."""
        if self._taken_by[peer] >= self._each:
            return f"a client has at most {self._each} {self._what} here"
        if self._taken_by[peer.group] >= self._of_group:
            return f"clients with the same rights have at most {self._of_group} {self._what} here"
        if self.taken >= self._total:
            return f"the server has {self._total} {self._what}, and no more"
        self._count(peer, 1)
        return ""

    def lend(self, peer: Peer, call: Any) -> str:
        """Give the peer one more until a call of gRPC has ended; otherwise say why not."""
        refusal = self.take(peer)
        if not refusal:
            call.add_done_callback(lambda _: self.give(peer))
        return refusal

    def give(self, peer: Peer, count: int = 1) -> None:
        """Take back what the peer no longer has."""
        self._count(peer, -count)

    def _count(self, peer: Peer, count: int) -> None:
        self.taken += count
        for each in (peer, peer.group):
            self._taken_by[each] += count
            if not self._taken_by[each]:
                del self._taken_by[each]
