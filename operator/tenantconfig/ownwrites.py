"""What this process wrote to stores of late: so the events of its own writes are told from those of others. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from tenantconfig.model import Location, Scope

LAGGING = "ssm"  # the kind of store whose reads may show what was before
LAG_SECONDS = 5.0
ANEW = {"", "1"}  # the marks of what others removed, or removed and made again: no lag is needed to explain them
KEPT_SECONDS = 900.0  # events come within minutes, if they come
KEPT = 200_000  # writes; beyond these the oldest are forgotten, and their events cost a pass each


@dataclass(frozen=True, slots=True)
class OwnWrite:
    """The mark of a value that was written, empty if it was removed, where, and the mark of what it replaced."""

    location: str
    mark: str
    text: int  # its hash, in this process alone
    replaced: str
    at: float

    def shows(self, mark: str, text: str) -> bool:
        """Whether it is what a store shows.

        SSM counts what others removed and made again from 1 again: that version may be ours, the text is not.
        """
        return (mark, hash(text)) == (self.mark, self.text)


class OwnWrites:
    """The last write to each key. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._writes: dict[tuple[str, str, Scope, str], OwnWrite] = {}  # oldest first

    def note(
        self, location: Location, scope: Scope, key: str, mark: str, replaced: str = "", *, text: str = ""
    ) -> None:
        """A write was acknowledged at a location."""
        now, name = self._clock(), (location.kind, location.name, scope, key)
        self._writes.pop(name, None)
        self._writes[name] = OwnWrite(location.id, mark, hash(text), replaced, now)
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
        """Whether what a location shows of a key is what was written here last, or just before, as reads may lag."""
        found = self.find(location.kind, location.name, scope, key)
        if found is None or found.location != location.id:
            return False
        lagging = location.kind == LAGGING and self._clock() - found.at < LAG_SECONDS
        return mark == found.mark or (lagging and mark == found.replaced and mark not in ANEW)
