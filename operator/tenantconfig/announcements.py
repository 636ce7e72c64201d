"""Which of the changes that passes find were told of by events: the measured loss of the way that events take. Pure.

Each change by others is one event that is due. One that is put back is two: our own
write takes the same way, and nothing in an event tells the one from the other.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from tenantconfig.model import ResourceRef, Scope

WITHIN_SECONDS = 300.0  # an event that comes later than this counts as lost


@dataclass(frozen=True, slots=True)
class Tally:
    """Events that were due so far, and those of them that did not come in time."""

    seen: int = 0
    lost: int = 0


class Announcements:
    """For the event loop's thread alone. Times are of one monotonic clock."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._told: dict[tuple[Scope, str], float] = {}  # by an event that no pass has answered yet
        self._due: dict[tuple[Scope, str], list[float]] = {}  # events that have not come yet, oldest first
        self._events: dict[str, float] = {}  # by id: they may come several times
        self._last: dict[ResourceRef, dict[str, str]] = {}  # version found last, by key: it is counted once

    def tell(self, scope: Scope, key: str, event_id: str, now: float, *, own: bool = False) -> bool:
        """An event says that a key was changed; returns whether that is news.

        It is not if the same event came before, if it was due, or if what the store shows is our `own` write.
        """
        if event_id in self._events:
            return False
        if event_id:
            self._events[event_id] = now
        if due := self._due.get((scope, key)):
            due.pop(0)
            if not due:
                del self._due[scope, key]
            self.tally = replace(self.tally, seen=self.tally.seen + 1)
            return False
        if not own:
            self._told[scope, key] = now
        return not own

    def unanswered(self, scope: Scope, key: str) -> bool:
        """Whether no pass has found yet what an event told of."""
        return (scope, key) in self._told

    def answer(self, scope: Scope, key: str) -> None:
        """A pass has looked because of an event: what it did not find is not there."""
        self._told.pop((scope, key), None)

    def find(self, ref: ResourceRef, scope: Scope, key: str, version: str, now: float) -> bool:
        """A pass has found that a key was changed; returns whether that was not counted before."""
        last = self._last.setdefault(ref, {})
        if last.get(key) == version:
            return False
        last[key] = version
        if self._told.pop((scope, key), None) is None:
            self._due.setdefault((scope, key), []).append(now)
        else:
            self.tally = replace(self.tally, seen=self.tally.seen + 1)
        return True

    def put_back(self, ref: ResourceRef, scope: Scope, key: str, now: float) -> None:
        """What was found was put back: the same version again would be another change, and our write has its event."""
        self._last.get(ref, {}).pop(key, None)
        if due := self._due.get((scope, key)):
            due.append(now)

    def settle(self, ref: ResourceRef, owed: Collection[str]) -> None:
        """All keys of a resource are as recorded, but for those that others changed and that are `owed` still."""
        if last := {key: version for key, version in self._last.pop(ref, {}).items() if key in owed}:
            self._last[ref] = last

    def forget(self, ref: ResourceRef) -> None:
        """The resource is gone."""
        self._last.pop(ref, None)

    def expire(self, now: float) -> None:
        """Count as lost what has not come in time."""
        due = sum(map(len, self._due.values()))
        waiting = {
            name: [since for since in several if now - since < WITHIN_SECONDS] for name, several in self._due.items()
        }
        self._due = {name: several for name, several in waiting.items() if several}
        late = due - sum(map(len, self._due.values()))
        self.tally = Tally(self.tally.seen + late, self.tally.lost + late)
        self._told = {name: at for name, at in self._told.items() if now - at < WITHIN_SECONDS}
        self._events = {id: at for id, at in self._events.items() if now - at < 2 * WITHIN_SECONDS}
