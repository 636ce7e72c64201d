"""What this process wrote to stores of late: so the events of its own writes are told from those of others. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from tenantconfig.model import Location, Scope

KEPT_SECONDS = 900.0  # events come within minutes, if they come
KEPT = 200_000  # writes; beyond these the oldest are forgotten, and their events cost a pass each


@dataclass(frozen=True, slots=True)
class OwnWrite:
    """The mark of a value that was written, empty if it was removed, and where."""

    location: str
    mark: str
    at: float


class OwnWrites:
    """The last write to each key. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._writes: dict[tuple[str, str, Scope, str], OwnWrite] = {}  # oldest first

    def note(self, kind: str, place: str, location: str, scope: Scope, key: str, mark: str) -> None:
        """A write was acknowledged at a location, whose table or path is `place`."""
        now = self._clock()
        self._writes.pop((kind, place, scope, key), None)
        self._writes[kind, place, scope, key] = OwnWrite(location, mark, now)
        while self._writes:
            oldest = next(iter(self._writes))
            if len(self._writes) <= KEPT and now - self._writes[oldest].at < KEPT_SECONDS:
                break
            del self._writes[oldest]

    def find(self, kind: str, place: str, scope: Scope, key: str) -> OwnWrite | None:
        """The last write to a key at a table or path; None if there was none of late."""
        found = self._writes.get((kind, place, scope, key))
        return found if found and self._clock() - found.at < KEPT_SECONDS else None

    def made(self, location: Location, scope: Scope, key: str, mark: str) -> bool:
        """Whether what a location shows of a key is what was written here last."""
        found = self.find(location.kind, location.name, scope, key)
        return found is not None and (found.location, found.mark) == (location.id, mark)
