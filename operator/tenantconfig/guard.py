"""What a pass does about changes that others made: count them, put back what is enforced, less often each time.

The state is this process's own: counts, holds, and which changes events have told of.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tenantconfig.announcements import Announcements
from tenantconfig.drift import NO_HOLD, Change, Holds, changes, held_back
from tenantconfig.model import Policy, ResourceRef, TenantConfig
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.placement import Work


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pass found that others have changed and is to be put back, and for how many seconds which keys are not."""

    changes: tuple[Change, ...] = ()
    waits: Mapping[str, float] = field(default_factory=dict)


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
        if all(not work.unread and work.fresh is None for work in works):
            self.announcements.settle(ref, found)
        # Only what is put back where it was found: what moves is never held, or it would leave its old place before it
        # is in its new one.
        putting = {(work.place.location.id, put.key) for work in works for put in work.changes.puts}
        known = {**self._owed.get(ref, {}), **found}
        seen = {key: each for key, each in known.items() if (each.location, key) in putting}
        holds = self._holds.of(resource.uid, now)
        waits = {key: seconds for key in seen if (seconds := holds.get(key, NO_HOLD).wait(now)) > 0}
        return Seen(tuple(seen.values()), waits)

    def hold(self, works: Collection[Work], seen: Seen) -> list[Work]:
        """The works without what is left for the time being."""
        return held_back(works, seen.waits) if seen.waits else list(works)

    def applied(self, resource: TenantConfig, works: Iterable[Work], seen: Seen) -> list[Change]:
        """Note what the works have put back, and return it."""
        now, ref = self._clock(), resource.ref
        written = {(work.place.location.id, key) for work in works for key in work.applied.held}
        done = [each for each in seen.changes if each.key not in seen.waits and (each.location, each.key) in written]
        for each in done:
            self.announcements.put_back(ref, resource.scope, each.key, now)
            self._holds.put_back(resource.uid, each.key, now)
            self.put_back[each.kind] += 1
        self._owed[ref] = {each.key: each for each in seen.changes if each not in done}
        if not self._owed[ref]:
            del self._owed[ref]
        return done

    def contested(self, resource: TenantConfig) -> Mapping[str, float]:
        """For how many seconds which keys are watched that were put back more than once."""
        now = self._clock()
        holds = self._holds.of(resource.uid, now)
        return {key: wait for key, hold in holds.items() if hold.times > 1 and (wait := hold.wait(now)) > 0}

    def forget(self, ref: ResourceRef) -> None:
        """The resource is gone."""
        self.announcements.forget(ref)
        self._owed.pop(ref, None)

    def expire(self) -> None:
        """Let time do its part."""
        now = self._clock()
        self._holds.expire(now)
        self.announcements.expire(now)
