"""Every scope is looked at again, in rotation: so what no event told of is found, within a time that is known.

Each resource has a place of its own on the round, by its uid, and the round goes on
with the time of day. So a new process goes on where the former one was, without a
burst and without a memory. A round takes as long as all its reads take within a
share of the reads per second of the ConfigStore that needs longest.
"""

import asyncio
import time
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from tenantconfig.inputs import Facts
from tenantconfig.known import Known
from tenantconfig.model import Location, Options, ResourceRef
from tenantconfig.rations import READS_PER_SECOND

SHARE = 0.1  # of the reads per second that a ConfigStore has
DYNAMODB_READS_PER_SECOND = 200.0  # nothing limits them but their price
KEYS_PER_READ = {"ssm": 10, "dynamodb": 100}
STEP_SECONDS = 1.0
FIRST_SECONDS = 120.0  # after the start: others have work to do then


def phase(uid: str) -> float:
    """A resource's place on the round, from 0 to 1."""
    return zlib.crc32(uid.encode()) / 2**32


def rotation_seconds(
    resources: Iterable[Facts], place: Callable[[str], tuple[Location, Options] | None], shortest: float
) -> float:
    """How long a round takes: at least `shortest`, and no less than its reads take within their share."""
    reads: Counter[str] = Counter()  # by ConfigStore
    rates: dict[str, float] = {}
    for facts in resources:
        for id in facts.locations:
            found = place(id)
            if found and found[0].kind in KEYS_PER_READ:
                name = id.rpartition("/")[0]
                reads[name] += -(-max(1, len(facts.keys)) // KEYS_PER_READ[found[0].kind])
                rates[name] = _reads_per_second(*found)
    return max([shortest, *(count / (SHARE * rates[name]) for name, count in reads.items())])


def _reads_per_second(location: Location, options: Options) -> float:
    if location.kind == "dynamodb":
        return DYNAMODB_READS_PER_SECOND
    return float(dict(options).get("readsPerSecond", READS_PER_SECOND))


def due(order: Sequence[tuple[float, ResourceRef]], start: float, end: float) -> Collection[ResourceRef]:
    """Those whose place on the round comes after `start` and up to `end`; both count rounds: 1.25 is a quarter."""
    if end - start >= 1:
        return [ref for _, ref in order]
    first = bisect_right(order, start % 1, key=_place)
    last = bisect_right(order, end % 1, key=_place)
    passed = order[first:last] if start % 1 <= end % 1 else [*order[first:], *order[:last]]
    return [ref for _, ref in passed]


def _place(each: tuple[float, ResourceRef]) -> float:
    return each[0]


class Sweep:
    """Asks for passes. `rotation` is how long the present round takes, in seconds; 0 until the first has begun."""

    def __init__(self, known: Known, request: Callable[[ResourceRef], None], shortest: float) -> None:
        self.rotation = 0.0
        self.asked = 0
        self._known = known
        self._request = request
        self._shortest = shortest

    async def run(self) -> None:
        """Go round, for ever."""
        await asyncio.sleep(min(FIRST_SECONDS, self._shortest))
        self.rotation = self._length()
        at = time.time() / self.rotation
        while True:
            order = self._order()
            for _ in range(max(1, round(self._shortest / 10 / STEP_SECONDS))):
                await asyncio.sleep(STEP_SECONDS)
                before, at = at, at + STEP_SECONDS / self.rotation
                for ref in due(order, before, at):
                    self.asked += 1
                    self._request(ref)
            self.rotation = self._length()

    def _length(self) -> float:
        return rotation_seconds(self._known.all(), self._known.place, self._shortest)

    def _order(self) -> list[tuple[float, ResourceRef]]:
        return sorted((phase(facts.uid), facts.ref) for facts in self._known.all() if not facts.deleting)
