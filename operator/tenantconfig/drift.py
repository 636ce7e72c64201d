"""Changes that others make in a store: which they are, when they are put back, and whether an event told of them. Pure.

What a resource enforces is put back at once the first time. Somebody who writes
again and again would cost a write of the budget each time, so each time that the
same key is put back doubles the time until the next; a key that nobody touched
for a while begins afresh.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from tenantconfig.errors import Reason, Transient
from tenantconfig.model import EntryStatus, Policy, ResourceRef, Scope, State, TenantConfig
from tenantconfig.placement import Work
from tenantconfig.plan import Held

FIRST_HOLD_SECONDS = 2.0
LONGEST_HOLD_SECONDS = 300.0
QUIET_SECONDS = 900.0  # beyond the longest hold: who still writes is not forgotten
ANNOUNCED_WITHIN_SECONDS = 300.0  # an event that comes later than this counts as lost


@dataclass(frozen=True, slots=True)
class Change:
    """What others made of a key since a pass recorded it."""

    key: str
    policy: Policy
    kind: str  # of the store
    location: str
    version: str  # as the store counts; empty: it is gone


def changes(resource: TenantConfig, works: Iterable[Work]) -> list[Change]:
    """What others have changed, of all that the status records and the works have read."""
    return [
        Change(each.key, each.policy, work.place.location.kind, work.place.location.id, held.mark if held else "")
        for work in works
        if not work.unread
        for each in resource.status.entries
        if each.location in work.place.names and (work.fresh is None or each.key in work.fresh)
        for held in (work.contents.held.get(each.key),)
        if _changed(each, held, work)
    ]


def _changed(recorded: EntryStatus, held: Held | None, work: Work) -> bool:
    if recorded.state not in {State.SYNCED, State.DRIFTED, State.MISSING}:
        return False
    if held is None:
        return recorded.state is not State.MISSING
    ours = held.pristine and work.claim.made(held.owner)  # by a pass that was not recorded
    return held.mark != recorded.version and not ours


class Holds:
    """How long what others changed is left before it is put back again. In memory: a new process begins afresh."""

    def __init__(self) -> None:
        self._holds: dict[tuple[str, str], tuple[int, float]] = {}  # by uid and key: times put back, and when last

    def wait(self, uid: str, key: str, now: float) -> float:
        """Seconds until it is put back; 0: at once."""
        times, last = self._holds.get((uid, key), (0, 0.0))
        if not times:
            return 0.0
        if now - last > QUIET_SECONDS:
            del self._holds[uid, key]
            return 0.0
        return max(0.0, last + hold_seconds(times) - now)

    def put_back(self, uid: str, key: str, now: float) -> None:
        """Note that it was."""
        times, _ = self._holds.get((uid, key), (0, 0.0))
        self._holds[uid, key] = times + 1, now

    def expire(self, now: float) -> None:
        """Forget what nobody touches any more."""
        self._holds = {key: hold for key, hold in self._holds.items() if now - hold[1] <= QUIET_SECONDS}


def hold_seconds(times: int) -> float:
    """How long a key is left that was put back that many times."""
    return min(LONGEST_HOLD_SECONDS, FIRST_HOLD_SECONDS * 2.0 ** min(times - 1, 20))


def held_back(works: Iterable[Work], keys: Collection[str]) -> list[Work]:
    """The works without what would put `keys` back."""
    return [
        replace(
            work, changes=replace(work.changes, puts=tuple(put for put in work.changes.puts if put.key not in keys))
        )
        if any(put.key in keys for put in work.changes.puts)
        else work
        for work in works
    ]


def as_wanted(work: Work, keys: Collection[str]) -> dict[str, Held]:
    """What pods are to see of keys that are not put back yet: the resource's values, as before."""
    return {
        each.key: Held(each.value.text, "", each.value.sensitive)
        for each in work.place.desired
        if each.key in keys and each.value
    }


def drifted(
    statuses: Iterable[EntryStatus], former: Iterable[EntryStatus], waits: Mapping[str, str]
) -> tuple[EntryStatus, ...]:
    """Statuses that say of some keys until when they are left; what is recorded of them is what was ours last."""
    versions = {each.key: each.version for each in former}
    return tuple(
        replace(
            each,
            state=State.DRIFTED,
            version=versions.get(each.key, ""),
            message=f"others change it again and again: it is put back at {waits[each.key]}",
        )
        if each.key in waits
        else each
        for each in statuses
    )


def drift_error(waits: Mapping[str, float]) -> Transient:
    """Why a resource is not Ready while keys are left as others made them."""
    keys = sorted(waits)
    others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    message = f"others change {keys[0]}{others} again and again: it is put back less often"
    return Transient(Reason.DRIFTED, message, after=min(waits.values()))


@dataclass(frozen=True, slots=True)
class Tally:
    """Changes by others that were seen so far, and those of them that no event told of in time."""

    seen: int = 0
    lost: int = 0


class Announcements:
    """Which of the changes that passes find an event has told of, or tells of soon after."""

    def __init__(self) -> None:
        self.tally = Tally()
        self._told: dict[tuple[Scope, str], float] = {}
        self._found: dict[tuple[Scope, str], float] = {}  # and not told of yet
        self._events: dict[str, float] = {}  # by id: they may come several times
        self._last: dict[tuple[ResourceRef, str], str] = {}  # what was found, by key: it is counted once

    def tell(self, scope: Scope, key: str, event_id: str, now: float) -> None:
        """An event says that somebody changed a key; the same one again says nothing."""
        if event_id and self._events.setdefault(event_id, now) != now:
            return
        if self._found.pop((scope, key), None) is None:
            self._told[scope, key] = now
        else:
            self.tally = replace(self.tally, seen=self.tally.seen + 1)

    def find(self, ref: ResourceRef, scope: Scope, change: Change, now: float) -> bool:
        """A pass has found a change; returns whether it is a new one."""
        if self._last.get((ref, change.key)) == change.version:
            return False
        self._last[ref, change.key] = change.version
        if self._told.pop((scope, change.key), None) is not None:
            self.tally = replace(self.tally, seen=self.tally.seen + 1)
        else:
            self._found.setdefault((scope, change.key), now)
        return True

    def settle(self, ref: ResourceRef, key: str) -> None:
        """What was found has been dealt with: the same version again is another change."""
        self._last.pop((ref, key), None)

    def expire(self, now: float) -> None:
        """Count as lost what no event has told of in time."""
        late = [key for key, since in self._found.items() if now - since >= ANNOUNCED_WITHIN_SECONDS]
        for key in late:
            del self._found[key]
        self.tally = Tally(self.tally.seen + len(late), self.tally.lost + len(late))
        self._told = {key: at for key, at in self._told.items() if now - at < ANNOUNCED_WITHIN_SECONDS}
        self._events = {id: at for id, at in self._events.items() if now - at < 2 * ANNOUNCED_WITHIN_SECONDS}
