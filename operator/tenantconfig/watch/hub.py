"""The latest of every scope, and who has been told what. Pure: no network, no clock, no tasks.

A subscription is one slot, the thing last said, and never a queue. A change puts
the subscription on its watcher's list of what is owed, once, and calls the
watcher's `wake`; what to say is decided when the watcher asks, from the latest
there is then. So a slow reader skips versions, costs nobody anything, and
publishing waits for no one.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from tenantconfig.model import Scope, Snapshot, Version
from tenantconfig.watch.history import History
from tenantconfig.watch.standing import UNKNOWN, AbsentReason, Stale, StaleReason, Standing


class Say(Enum):
    """The kinds of answer."""

    SNAPSHOT = auto()
    DELTA = auto()
    CURRENT = auto()
    ABSENT = auto()


@dataclass(slots=True)
class Reply:
    """What a subscriber is to be told now."""

    say: Say
    scope: Scope
    snapshot: Snapshot | None = None  # of SNAPSHOT and DELTA
    base: Version | None = None  # of DELTA
    keys: frozenset[str] = frozenset()  # of DELTA: those that may differ
    version: Version | None = None  # of CURRENT
    absent: AbsentReason | None = None  # of ABSENT
    encoded: bytes = b""  # what the edge made of it, once for all subscribers


class Subscription:
    """What one stream was told about one scope."""

    __slots__ = ("acknowledged", "error", "known", "owed", "said", "scope", "subscriber", "watcher", "whole")

    def __init__(self, watcher: "Watcher", scope: Scope) -> None:
        self.watcher = watcher
        self.scope = scope
        self.owed = False
        self.subscriber = ""
        self.error = ""  # why a version was refused: for people, until one is applied
        self.start(None, "")

    def start(self, known: Version | None, subscriber: str) -> None:
        """Begin, or begin afresh, with a subscriber who has been told nothing."""
        if subscriber != self.subscriber:
            self.subscriber, self.error = subscriber, ""
        self.known = known
        self.said: Version | AbsentReason | None = None
        self.acknowledged: Version | None = None
        self.whole = False  # a version was refused: a difference to it would apply to nothing


class _Slot:
    __slots__ = ("_replies", "history", "standing", "subscriptions")

    def __init__(self) -> None:
        self.standing = UNKNOWN
        self.history = History()
        self.subscriptions: dict[Watcher, Subscription] = {}
        self._replies: dict[Version | None, Reply] = {}  # by base: the same for all subscribers

    def settle(self, standing: Standing) -> Standing:
        """Take a new standing; returns the former one."""
        before, self.standing = self.standing, standing
        self.history.step(before.snapshot, standing.snapshot)
        if before.snapshot is not standing.snapshot:
            self._replies.clear()
        return before

    def reply(self, snapshot: Snapshot, base: Version | None) -> Reply:
        """The snapshot, or what differs in it from a base that is still held."""
        if found := self._replies.get(base):
            return found
        keys = self.history.since(base) if base else None
        if base and keys is None:
            return self.reply(snapshot, None)  # kept under bases that are held alone: their number is bounded
        say = Say.DELTA if base else Say.SNAPSHOT
        made = Reply(say, snapshot.scope, snapshot=snapshot, base=base, keys=keys or frozenset())
        return self._replies.setdefault(base, made)


def answer(standing: Standing, known: Version | None, said: Version | AbsentReason | None) -> Say | None:
    """What to say to a subscriber who knows `known` and was told `said`; None: nothing (more)."""
    if behind(standing, known):
        return None
    if standing.snapshot:
        version = standing.snapshot.version
        if said == version:
            return None
        return Say.CURRENT if said is None and known == version else Say.SNAPSHOT
    if standing.absent is None or said == standing.absent:
        return None
    return Say.ABSENT


def behind(standing: Standing, known: Version | None) -> bool:
    """Whether this server's news are older than what the client knows."""
    if known is None or standing.absent is AbsentReason.NOT_FOUND:
        return False
    return standing.revision < known.revision


class Hub:
    """All scopes; fed by the feed, read by the watchers."""

    def __init__(self) -> None:
        self.synced = False  # until then nobody may subscribe: what is not there would be absent
        self.fresh_as_of: datetime | None = None
        self.on_freshness: Callable[[], None] = lambda: None  # how fresh all is has changed
        self._slots: dict[Scope, _Slot] = {}
        self._stale: dict[Scope, Stale] = {}  # as judged here
        self._unverified: Mapping[Scope, Stale] = {}  # as the controller says

    def standing(self, scope: Scope) -> Standing:
        slot = self._slots.get(scope)
        return slot.standing if slot else UNKNOWN

    def settle(self, scope: Scope, standing: Standing) -> None:
        """Take the scope's new standing, and owe it to whoever watches it."""
        slot = self._slots.setdefault(scope, _Slot())
        before = slot.settle(standing)
        if standing.stale:
            self._stale[scope] = standing.stale
        else:
            self._stale.pop(scope, None)
        if before.stale != standing.stale:
            self.on_freshness()
        if (before.version, before.absent) != (standing.version, standing.absent):
            for subscription in slot.subscriptions.values():
                subscription.watcher.owe(subscription)

    def forget(self, scope: Scope) -> bool:
        """Drop what is known of a scope, unless somebody watches it."""
        slot = self._slots.get(scope)
        if slot and slot.subscriptions:
            return False
        self._slots.pop(scope, None)
        self._stale.pop(scope, None)
        return True

    def sync(self) -> None:
        """The cluster has been read: from now on, what is not there is absent."""
        self.synced = True

    def tick(self, fresh_as_of: datetime, unverified: Mapping[Scope, Stale]) -> None:
        """Take the controller's word on how fresh all is; an earlier time than known changes nothing."""
        if self.fresh_as_of and fresh_as_of < self.fresh_as_of:
            return
        self.fresh_as_of, self._unverified = fresh_as_of, unverified
        self.on_freshness()

    def stale(self, scope: Scope, known: Version | None = None) -> Stale | None:
        """Whether what is said of a scope may not be the latest."""
        found = self._stale.get(scope) or self._unverified.get(scope)
        if found is None and behind(self.standing(scope), known):
            return Stale(StaleReason.BEHIND)
        return found

    @property
    def any_stale(self) -> bool:
        return bool(self._stale or self._unverified)

    def reply(
        self, scope: Scope, known: Version | None, said: Version | AbsentReason | None = None, *, whole: bool = True
    ) -> Reply | None:
        """What to tell someone who knows `known` and was told `said`; with `whole`, no differences."""
        slot = self._slots.get(scope)
        standing = slot.standing if slot else UNKNOWN
        say = answer(standing, known, said)
        if say is None:
            return None
        if slot and standing.snapshot and say is Say.SNAPSHOT:
            base = None if whole else known if said is None else said
            return slot.reply(standing.snapshot, base if isinstance(base, Version) else None)
        return Reply(say, scope, version=standing.version, absent=standing.absent)

    def subscribe(self, subscription: Subscription) -> None:
        self._slots.setdefault(subscription.scope, _Slot()).subscriptions[subscription.watcher] = subscription

    def watched(self) -> Iterator[tuple[Scope, Standing, Collection[Subscription]]]:
        """The scopes that have subscribers, and these."""
        for scope, slot in self._slots.items():
            if slot.subscriptions:
                yield scope, slot.standing, slot.subscriptions.values()

    def unsubscribe(self, subscription: Subscription) -> None:
        slot = self._slots[subscription.scope]
        del slot.subscriptions[subscription.watcher]
        if not slot.subscriptions and slot.standing is UNKNOWN:
            del self._slots[subscription.scope]


class Watcher:
    """One stream's subscriptions, and what it is owed."""

    __slots__ = ("_hub", "_owed", "_paying", "_wake", "subscriptions")

    def __init__(self, hub: Hub, wake: Callable[[], None]) -> None:
        self._hub = hub
        self._wake = wake
        self.subscriptions: dict[Scope, Subscription] = {}
        self._owed: dict[Scope, Subscription] = {}
        self._paying: dict[Scope, Subscription] = {}  # the former reversed, to pay in order

    def subscribe(self, scope: Scope, known: Version | None = None, subscriber: str = "") -> None:
        """Watch a scope, or start afresh: it is answered again."""
        subscription = self.subscriptions.get(scope)
        if subscription is None:
            subscription = self.subscriptions[scope] = Subscription(self, scope)
            self._hub.subscribe(subscription)
        subscription.start(known, subscriber)
        self.owe(subscription)

    def unsubscribe(self, scope: Scope) -> None:
        subscription = self.subscriptions.pop(scope, None)
        if subscription:
            self._hub.unsubscribe(subscription)
            self._owed.pop(scope, None)
            self._paying.pop(scope, None)

    def acknowledge(self, scope: Scope, version: Version, error: str) -> bool:
        """Record what became of a version; returns whether it was refused, and had not been before."""
        subscription = self.subscriptions.get(scope)
        if subscription is None:
            return False
        subscription.error = error
        if not error:
            subscription.acknowledged = version
            return False
        news, subscription.whole = not subscription.whole, True
        return news

    def owe(self, subscription: Subscription) -> None:
        if not subscription.owed:
            subscription.owed = True
            self._owed[subscription.scope] = subscription
            self._wake()

    def next_reply(self) -> Reply | None:
        """What to say next; None when nothing is owed."""
        while subscription := self._next_owed():
            subscription.owed = False
            reply = self._hub.reply(subscription.scope, subscription.known, subscription.said, whole=subscription.whole)
            if reply:
                _note(subscription, reply)
                return reply
        return None

    def _next_owed(self) -> Subscription | None:
        if not self._paying:
            self._paying, self._owed = dict(reversed(self._owed.items())), {}
        return self._paying.popitem()[1] if self._paying else None

    def stale(self) -> list[tuple[Scope, Stale]]:
        """Those of the watched scopes that are stale."""
        found = []
        for scope, subscription in self.subscriptions.items():
            if self._hub.any_stale or (subscription.said is None and subscription.known):
                stale = self._hub.stale(scope, subscription.known)
                if stale:
                    found.append((scope, stale))
        return found

    def close(self) -> None:
        for scope in list(self.subscriptions):
            self.unsubscribe(scope)


def _note(subscription: Subscription, reply: Reply) -> None:
    if reply.snapshot:
        subscription.said = reply.snapshot.version
        subscription.whole = False
    elif reply.say is Say.CURRENT:
        subscription.said = subscription.acknowledged = reply.version
    else:
        subscription.said = reply.absent
