"""What a subscriber holds, and what each message of the server makes of it. Pure.

Nothing is believed whose digest does not match its entries, nothing older
replaces what is held, and values are dropped only when they were withdrawn. A
heartbeat vouches for what the stream has said: a scope of which something else
is held is stale, whatever the server knows of it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from tenantconfig.model import Scope, Snapshot, Version, digest
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb

NO_CREDENTIALS = "NO_CREDENTIALS"  # there was no token to ask with
NO_TRUST = "NO_TRUST"  # there was nothing to tell the server by
FAILED = "FAILED"  # the client itself
LONGEST_ERROR = 1000  # characters; the server keeps no more

# Why what is held of a scope is not what the server has; beside the server's own reasons.
UNANSWERED = "UNANSWERED"  # the stream has not said yet what the latest is
NOT_FOUND = "NOT_FOUND"  # the server has nothing
REFUSED = "REFUSED"  # the latest cannot be used, and the former version stays


@dataclass(frozen=True, slots=True)
class StaleScope:
    """A scope whose values may not be the latest."""

    scope: Scope
    reason: str
    verified_as_of: datetime | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A scope has a new version."""

    snapshot: Snapshot
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """The validator does not take a version; what was held stays."""

    scope: Scope
    version: Version
    error: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What is held is the latest."""

    scope: Scope
    version: Version


@dataclass(frozen=True, slots=True)
class Gone:
    """There is nothing for a scope. Withdrawn: its values were dropped; otherwise they are held on, stale."""

    scope: Scope
    withdrawn: bool
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Denied:
    """The server does not let this client read a scope."""

    scope: Scope
    reason: str


@dataclass(frozen=True, slots=True)
class Fresh:
    """All that was received is the latest as of a time, stale scopes excepted."""

    as_of: datetime | None
    stale: tuple[StaleScope, ...]


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The stream ended; it will be opened again."""

    code: str  # the gRPC status, NO_CREDENTIALS, NO_TRUST or FAILED
    detail: str
    lasting: bool  # opening it again will not help until somebody does something


Event = Changed | Refused | Unchanged | Gone | Denied | Fresh | Disconnected


# Gets a scope and its new entries; returns why they cannot be used, or an empty text.
Validator = Callable[[Scope, Mapping[str, str]], str]

NOTHING_HELD: Mapping[Scope, Snapshot] = {}


class View:
    """The scopes of a subscriber and what is held of them."""

    def __init__(
        self,
        scopes: Iterable[Scope],
        subscriber: str = "",
        held: Mapping[Scope, Snapshot] = NOTHING_HELD,
        validator: Validator | None = None,
    ) -> None:
        self._scopes = self._asked = tuple(scopes)  # the latter in the order in which the last stream asked for them
        self._subscriber = sendable(subscriber)
        self._validator = validator
        self._held = dict(held)
        self._doubts = dict.fromkeys(self._scopes, UNANSWERED)
        self._denied: set[Scope] = set()
        self._withdrawn: dict[Scope, int] = {}  # the revision that was dropped: a server that lags may still serve it

    @property
    def held(self) -> Mapping[Scope, Snapshot]:
        return self._held

    def opening(self) -> list[pb.WatchRequest]:
        """What to say at the beginning of a stream: resume from what is held.

        A stream ends if the first scope that it asks for is denied: those that were before come last.
        """
        self._doubts = dict.fromkeys(self._scopes, UNANSWERED)
        self._asked = tuple(sorted(self._scopes, key=self._denied.__contains__))
        return [self._subscribe(scope, self._held.get(scope)) for scope in self._asked]

    def turned_away(self, reason: str) -> Denied | None:
        """What it means that a stream was ended because its first scope is denied; None if no other one is left."""
        first, *others = self._asked
        self._denied.add(first)
        self._scopes = (*others, first)
        return None if self._denied.issuperset(others) else Denied(first, reason)

    def take(self, response: pb.WatchResponse, now: datetime) -> tuple[Event | None, list[pb.WatchRequest]]:
        """What a message means, and what to answer."""
        kind = response.WhichOneof("response")
        if kind == "snapshot":
            return self._snapshot(codec.read_snapshot(response.snapshot), now)
        if kind == "delta":
            return self._delta(response.delta, now)
        if kind == "absent":
            return self._absent(response.absent, now), []
        if kind == "current":
            scope = codec.scope_of(response.current.scope)
            self._answered(scope)
            return Unchanged(scope, Version(response.current.version.revision, response.current.version.digest)), []
        if kind == "denied":
            scope = codec.scope_of(response.denied.scope)
            self._denied.add(scope)
            return Denied(scope, response.denied.reason), []
        if kind == "heartbeat":
            return self._fresh(response.heartbeat), []
        return None, []

    def _snapshot(
        self, snapshot: Snapshot, now: datetime, *, whole: bool = True
    ) -> tuple[Event | None, list[pb.WatchRequest]]:
        scope, held = snapshot.scope, self._held.get(snapshot.scope)
        self._denied.discard(scope)
        self._doubts[scope] = REFUSED
        if digest(snapshot.entries) != snapshot.version.digest:
            refusal = _acknowledge(snapshot, "the digest does not match the entries")
            # A difference may have gone wrong here. What is wrong as a whole would be the same again.
            return None, [refusal] if whole else [refusal, self._subscribe(scope, None)]
        if held and snapshot.version.revision < held.version.revision:
            return None, [_acknowledge(snapshot, "a newer revision is held")]
        if snapshot.version.revision <= self._withdrawn.get(scope, 0):
            return None, [_acknowledge(snapshot, "the revision was withdrawn")]
        if held and held.version == snapshot.version:
            del self._doubts[scope]
            return None, [_acknowledge(snapshot, "")]
        if error := self._refusal(snapshot):
            return Refused(scope, snapshot.version, error), [_acknowledge(snapshot, error)]
        del self._doubts[scope]
        self._held[scope] = snapshot
        return Changed(snapshot, now), [_acknowledge(snapshot, "")]

    def _refusal(self, snapshot: Snapshot) -> str:
        if self._validator is None:
            return ""
        try:
            error = self._validator(snapshot.scope, MappingProxyType(snapshot.entries))
        except Exception as failure:  # what it says may quote a value
            return f"the validator failed with {type(failure).__name__}"
        return sendable(str(error))[:LONGEST_ERROR] if error else ""

    def _delta(self, delta: pb.Delta, now: datetime) -> tuple[Event | None, list[pb.WatchRequest]]:
        scope = codec.scope_of(delta.scope)
        held = self._held.get(scope)
        if held is None or codec.read_version(delta.base) != held.version:
            self._doubts[scope] = UNANSWERED
            return None, [self._subscribe(scope, held)]  # it leads on from something else
        return self._snapshot(codec.apply_delta(delta, held), now, whole=False)

    def _absent(self, absent: pb.Absent, now: datetime) -> Event:
        scope = codec.scope_of(absent.scope)
        withdrawn = absent.reason == pb.ABSENT_REASON_WITHDRAWN
        self._denied.discard(scope)
        self._doubts[scope] = NOT_FOUND
        if withdrawn and (held := self._held.pop(scope, None)):
            self._withdrawn[scope] = held.version.revision
        return Gone(scope, withdrawn, now)

    def _fresh(self, heartbeat: pb.Heartbeat) -> Fresh:
        as_of = codec.read_time(heartbeat.fresh_as_of) if heartbeat.HasField("fresh_as_of") else None
        doubts = [StaleScope(scope, why, None) for scope, why in self._doubts.items() if scope in self._held]
        return Fresh(as_of, (*(read_stale(each) for each in heartbeat.stale), *doubts))

    def _answered(self, scope: Scope) -> None:
        self._denied.discard(scope)
        self._doubts.pop(scope, None)

    def _subscribe(self, scope: Scope, held: Snapshot | None) -> pb.WatchRequest:
        known = codec.write_version(held.version) if held else None
        subscribe = pb.Subscribe(scope=codec.write_scope(scope), known=known, subscriber=self._subscriber)
        return pb.WatchRequest(subscribe=subscribe)


def _acknowledge(snapshot: Snapshot, error: str) -> pb.WatchRequest:
    """An acknowledgement; a refusal if there is an error."""
    scope, version = codec.write_scope(snapshot.scope), codec.write_version(snapshot.version)
    return pb.WatchRequest(acknowledge=pb.Acknowledge(scope=scope, version=version, error=error))


def sendable(text: str) -> str:
    """The text without what UTF-8 cannot say."""
    return text.encode(errors="replace").decode()


def read_stale(message: pb.StaleScope) -> StaleScope:
    verified = codec.read_time(message.verified_as_of) if message.HasField("verified_as_of") else None
    return StaleScope(codec.scope_of(message.scope), message.reason, verified)
