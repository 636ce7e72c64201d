"""What a pass does about changes that others made: count them, put back what is enforced, less often each time.

The state is this process's own: counts, holds, and which changes events have told of.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tenantconfig.drift import Announcements, Change, Holds, changes, held_back
from tenantconfig.model import Policy, TenantConfig
from tenantconfig.placement import Work


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pass has found: all changes by others, and for how many seconds which keys are left as they are."""

    changes: tuple[Change, ...] = ()
    waits: Mapping[str, float] = field(default_factory=dict)


class Guard:
    """For the event loop's thread alone. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.announcements = Announcements()
        self.foreign: Counter[tuple[str, Policy]] = Counter()  # changes by others, by kind of store and policy
        self.put_back: Counter[str] = Counter()  # keys put back, by kind of store
        self._holds = Holds()
        self._clock = clock

    def look(self, resource: TenantConfig, works: Iterable[Work]) -> Seen:
        """What others have changed since the status was written. Each change is counted once."""
        works = list(works)
        now, found = self._clock(), changes(resource, works)
        for each in found:
            if self.announcements.find(resource.ref, resource.scope, each, now):
                self.foreign[each.kind, each.policy] += 1
        enforced = {each.key for each in resource.entries if each.policy is Policy.ENFORCE}
        # What moves is never held: it would leave its old place before it is in its new one.
        staying = {(work.place.location.id, key) for work in works for key in work.place.wanted & enforced}
        waits = {
            each.key: seconds
            for each in found
            if (each.location, each.key) in staying and (seconds := self._holds.wait(resource.uid, each.key, now)) > 0
        }
        return Seen(tuple(found), waits)

    def hold(self, works: Collection[Work], seen: Seen) -> list[Work]:
        """The works without what is left for the time being."""
        return held_back(works, seen.waits) if seen.waits else list(works)

    def applied(self, resource: TenantConfig, works: Iterable[Work], seen: Seen) -> list[Change]:
        """Note what the works have put back, and return it."""
        written = {key for work in works for key in work.applied.held}
        done = []
        for each in seen.changes:
            if each.key in seen.waits:
                continue
            self.announcements.settle(resource.ref, each.key)
            if each.policy is Policy.ENFORCE and each.key in written:
                self._holds.put_back(resource.uid, each.key, self._clock())
                self.put_back[each.kind] += 1
                done.append(each)
        return done

    def expire(self) -> None:
        """Let time do its part."""
        now = self._clock()
        self._holds.expire(now)
        self.announcements.expire(now)
