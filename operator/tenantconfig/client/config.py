"""What an application holds of a scope: its values, typed, and how far they can be trusted. No I/O.

    NOT_READY ──values──► READY ◄──────────────── verified again
                            │                          │
                            └─ not verified lately ─► STALE ── for longer than the grace ──► ERROR

The states are those of OpenFeature's providers. Values are held in all of them but
the first; only a withdrawal takes them away. A refusal that only a person can mend
is an ERROR at once.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from tenantconfig.client.view import REFUSED, Changed, Denied, Disconnected, Event, Fresh, Gone, Refused, Unchanged
from tenantconfig.model import Scope, Snapshot, Version

SILENCE_SECONDS = 10.0  # the controller vouches every 2 s, and heartbeats come every 4 s at the latest
GRACE_SECONDS = 60.0
SKEW_SECONDS = 30.0  # by which the clocks of two machines may differ before what one says is old to the other

T = TypeVar("T")


class State(StrEnum):
    """How far the values can be trusted."""

    NOT_READY = "NOT_READY"  # there are none
    READY = "READY"  # they are the latest
    STALE = "STALE"  # nobody vouches for them at the moment
    ERROR = "ERROR"  # nobody has for long, or somebody has to do something


class MissingKey(KeyError):
    """The scope has no such key."""

    def __str__(self) -> str:
        return str(self.args[0])


class WrongType(ValueError):
    """The value is of another type than the one that was asked for. The message does not repeat it."""


class Config(Mapping[str, str]):
    """The current values of a scope, as text by key, and typed.

    May be read from any thread; what is read together from `snapshot` is of one version.
    `clock` is monotonic, `wall_clock` Unix time.
    """

    def __init__(
        self,
        scope: Scope,
        snapshot: Snapshot | None = None,
        *,
        grace: float = GRACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.scope = scope
        self.snapshot = snapshot
        self.reason = "nothing was received yet" if snapshot is None else "not verified since the start"
        self._grace = grace
        self._clock = clock
        self._wall_clock = wall_clock
        self._verified = clock() if snapshot is None else float("-inf")
        self._started = clock()
        self._fresh_as_of: datetime | None = None
        self._lasting = False
        self._refusal = ""  # why the validator took no version since

    # Values

    def __getitem__(self, key: str) -> str:
        entries = self._entries
        if key not in entries:
            raise MissingKey(f"scope {self.scope} has no key {key}{'' if self.snapshot else f': {self.reason}'}")
        return entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def version(self) -> Version | None:
        """What the values are; None when there are none."""
        snapshot = self.snapshot
        return snapshot.version if snapshot else None

    def get_int(self, key: str, default: int | None = None) -> int:
        """An integer. Raises MissingKey without a default, and WrongType."""
        return self._typed(key, default, _integer, "an integer")

    def get_float(self, key: str, default: float | None = None) -> float:
        """A number. Raises MissingKey without a default, and WrongType."""
        return self._typed(key, default, _number, "a number")

    def get_bool(self, key: str, default: bool | None = None) -> bool:
        """`true` or `false`. Raises MissingKey without a default, and WrongType."""
        return self._typed(key, default, {"true": True, "false": False}.__getitem__, "true or false")

    def get_json(self, key: str, default: Any = None) -> Any:
        """Whatever JSON the value is. Raises MissingKey without a default, and WrongType."""
        return self._typed(key, default, _json, "JSON")

    def _typed(self, key: str, default: T | None, convert: Callable[[str], T], what: str) -> T:
        text = self._entries.get(key)
        if text is None:
            if default is None:
                self[key]
            return default  # type: ignore[return-value]  # or the line before has raised
        try:
            return convert(text)
        except (ValueError, KeyError, RecursionError):
            raise WrongType(f"{key} of scope {self.scope} is not {what}") from None

    @property
    def _entries(self) -> Mapping[str, str]:
        snapshot = self.snapshot
        return snapshot.entries if snapshot else {}

    # Trust

    @property
    def state(self) -> State:
        """How far the values can be trusted now."""
        if self._lasting:
            return State.ERROR
        if self.snapshot is None:
            return State.NOT_READY
        unverified = self._clock() - self._verified
        if not self.reason and unverified <= SILENCE_SECONDS:
            return State.READY
        since = max(self._verified, self._started)
        return State.ERROR if self._clock() - since > self._grace else State.STALE

    @property
    def fresh_as_of(self) -> datetime | None:
        """Up to when every change is in the values, by the controller's clock; None if it never said so."""
        return self._fresh_as_of

    @property
    def staleness(self) -> timedelta | None:
        """For how long nobody has vouched that the values are the latest; None if nobody ever did."""
        if self.snapshot is None or self._verified == float("-inf"):
            return None
        return timedelta(seconds=max(0.0, self._clock() - self._verified))

    def take(self, event: Event) -> None:
        """What an event of the stream means for this scope."""
        match event:
            case Changed(snapshot=snapshot) if snapshot.scope == self.scope:
                # What was verified stays so with a newer version.
                self.snapshot, self.reason = snapshot, self.reason and "not verified yet"
                self._lasting, self._refusal = False, ""
            case Refused(scope=scope, error=error, version=version) if scope == self.scope:
                self._refusal = f"revision {version.revision} was refused: {error}"
                self._lasting, self.reason = False, self._refusal
            case Unchanged(scope=scope) if scope == self.scope:
                self._lasting, self._refusal, self.reason = False, "", "not verified yet"
            case Gone(scope=scope, withdrawn=withdrawn) if scope == self.scope:
                self._lasting, self._refusal, self.reason = False, "", "withdrawn" if withdrawn else "not found"
                self.snapshot = None if withdrawn else self.snapshot
            case Denied(scope=scope, reason=reason) if scope == self.scope:
                self._lasting, self.reason = True, reason
            case Disconnected(detail=detail, code=code, lasting=lasting):
                if not (self._lasting and code == "PERMISSION_DENIED"):  # by which another scope was denied
                    self.reason = detail or code
                self._lasting = self._lasting or lasting
            case Fresh():
                self._fresh(event)
            case _:
                pass

    def _fresh(self, heartbeat: Fresh) -> None:
        stale = next((each.reason for each in heartbeat.stale if each.scope == self.scope), "")
        if stale or self.snapshot is None or heartbeat.as_of is None:
            self.reason = (self._refusal if stale == REFUSED else "") or stale or self.reason
            return
        if self._fresh_as_of and heartbeat.as_of <= self._fresh_as_of:
            return  # the controller says nothing new: silence will tell
        self._fresh_as_of = heartbeat.as_of
        late = self._wall_clock() - heartbeat.as_of.astimezone(UTC).timestamp()
        self._verified = self._clock() - (late if late > SKEW_SECONDS else 0.0)
        self.reason = ""


def _integer(text: str) -> int:
    return int(_plain(text))


def _number(text: str) -> float:
    number = float(_plain(text))
    if not math.isfinite(number):
        raise ValueError
    return number


def _plain(text: str) -> str:
    """A text in which Python sees no more digits than JSON does."""
    if "_" in text or not text.isascii():
        raise ValueError
    return text


def _json(text: str) -> Any:
    """As the standard says: Python takes NaN and numbers beyond its range too."""
    return json.loads(text, parse_constant=_number, parse_float=_number)
