"""What a pass does about changes that others made: count them, put back what is enforced, less often each time.

The state is this process's own: counts, holds, and which changes events have told of.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tenantconfig.announcements import Announcements
from tenantconfig.drift import Change, Hold, Holds, changes, held_back
from tenantconfig.model import Policy, ResourceRef, TenantConfig
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.placement import Work


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pass found that others have changed and is to be put back, and for how many seconds which keys are not."""

    changes: tuple[Change, ...] = ()
    waits: Mapping[str, float] = field(default_factory=dict)
    projectable: bool = False  # others have changed what pods are to see


class Guard:
    """For the event loop's thread alone. `clock` is monotonic."""

    def __init__(self, own: OwnWrites, clock: Callable[[], float] = time.monotonic) -> None:
        self.announcements = Announcements()
        self.foreign: Counter[tuple[str, Policy]] = Counter()  # changes by others, by kind of store and policy
        self.put_back: Counter[str] = Counter()  # keys put back, by kind of store
        self._own = own
        self._holds = Holds()
        self._owed: dict[ResourceRef, Mapping[str, Change]] = {}  # by key: to be put back, and not done yet
        self._clock = clock

    def look(self, resource: TenantConfig, works: Iterable[Work]) -> Seen:
        """What others have changed since the status was written. Each change is counted once."""
        works = list(works)
        now, ref = self._clock(), resource.ref
        found = {each.key: each for each in changes(resource, works, self._own)}
        for each in found.values():
            if self.announcements.find(ref, resource.scope, each.key, each.version, now):
                self.foreign[each.kind, each.policy] += 1
        owed = {**self._owed.get(ref, {}), **found}
        if all(not work.unread and work.fresh is None for work in works):
            self.announcements.settle(ref, owed)
        putting = {(work.place.location.id, put.key) for work in works for put in work.changes.puts}
        return Seen(
            tuple(each for key, each in owed.items() if (each.location, key) in putting),
            self._waits(resource, putting, now),
            any(each.policy is not Policy.ENFORCE for each in found.values()),
        )

    def _waits(self, resource: TenantConfig, putting: Collection[tuple[str, str]], now: float) -> Mapping[str, float]:
        """What is not put back yet of what is going to be, whoever changed it.

        An edit is, and so is what moves: it would leave its old place before it is in its new one.
        """
        return {
            key: seconds
            for key, hold in self._fights(resource, now).items()
            if (hold.location, key) in putting and (seconds := hold.wait(now)) > 0
        }

    def hold(self, works: Collection[Work], seen: Seen) -> list[Work]:
        """The works without what is left for the time being."""
        return held_back(works, seen.waits) if seen.waits else list(works)

    def applied(self, resource: TenantConfig, works: Collection[Work], seen: Seen) -> list[Change]:
        """Note what the works have put back, and return it."""
        now, ref = self._clock(), resource.ref
        written = {(work.place.location.id, key) for work in works for key in work.applied.held}
        done = [each for each in seen.changes if each.key not in seen.waits and (each.location, each.key) in written]
        for each in done:
            self.announcements.put_back(ref, resource.scope, each.key, now)
            self.put_back[each.kind] += 1
        self._hold_off(resource, done, written, now)
        self._owe(ref, works, seen, done)
        return done

    def _hold_off(
        self, resource: TenantConfig, done: Collection[Change], written: Collection[tuple[str, str]], now: float
    ) -> None:
        """Wait longer before the next time: for what was put back, and where a fight goes on whatever it looks like."""
        again = {
            key: hold.location for key, hold in self._fights(resource, now).items() if (hold.location, key) in written
        }
        places = again | {each.key: each.location for each in done}
        self._holds.put_back(resource.uid, resource.generation, places, now)

    def _owe(self, ref: ResourceRef, works: Collection[Work], seen: Seen, done: Collection[Change]) -> None:
        """Remember what is to be put back and was not; of what was not read nothing new is known."""
        read = {work.place.location.id: work for work in works if not work.unread}
        unread = [each for each in self._owed.get(ref, {}).values() if not _read(each, read.get(each.location))]
        keys = {each.key for each in done}
        self._owed[ref] = {each.key: each for each in (*unread, *seen.changes) if each.key not in keys}
        if not self._owed[ref]:
            del self._owed[ref]

    def contested(self, resource: TenantConfig) -> Mapping[str, float]:
        """For how many seconds which keys are watched that were put back more than once, since the last edit."""
        now = self._clock()
        return {
            key: wait
            for key, hold in self._fights(resource, now).items()
            if hold.times > 1 and (wait := hold.wait(now)) > 0
        }

    def _fights(self, resource: TenantConfig, now: float) -> Mapping[str, Hold]:
        """The holds since the last edit."""
        holds = self._holds.of(resource.uid, now)
        return {key: hold for key, hold in holds.items() if hold.generation == resource.generation}

    def forget(self, ref: ResourceRef) -> None:
        """The resource is gone."""
        self.announcements.forget(ref)
        self._owed.pop(ref, None)

    def expire(self) -> None:
        """Let time do its part."""
        now = self._clock()
        self._holds.expire(now)
        self.announcements.expire(now)


def _read(change: Change, work: Work | None) -> bool:
    """Whether a pass has looked at what was changed."""
    return work is not None and (work.fresh is None or change.key in work.fresh)
