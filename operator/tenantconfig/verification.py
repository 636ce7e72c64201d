"""Which scopes nobody vouches for, and since when: what passes that went well, and those that failed, mean for pods.

Times are Unix seconds, and arguments: when a pass began is the latest moment of which it can speak.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from datetime import datetime

from tenantconfig.conditions import READY
from tenantconfig.errors import Reason, TenantConfigError
from tenantconfig.inputs import Facts, Surroundings, settled
from tenantconfig.model import ResourceRef, Scope, Status, TenantConfig

# Nothing that is projected is in doubt: one that does not have the scope says nothing about it, and what others
# changed in a store does not reach pods.
VOUCHED = {Reason.SCOPE_CONFLICT, Reason.DRIFTED}
# What a store that cannot be read says.
UNREADABLE = {Reason.STORE_FAILED, Reason.THROTTLED, Reason.RATE_LIMITED, Reason.ACCESS_DENIED}


@dataclass(frozen=True, slots=True)
class Unverified:
    """A scope whose last pass failed: nobody vouches for what is projected."""

    scope: Scope
    since: float  # when the first of the failed passes began
    reason: str
    told_from: float = 0.0  # until then a store may be out of reach, and what was wanted is projected
    stamp: Hashable = None  # what the passes were about


class Verification:
    """Of all resources, by their passes.

    `tolerance` is for how many seconds a store may be out of reach before the scopes that have values there are stale.
    """

    def __init__(self, around: Surroundings, tolerance: float = 0.0) -> None:
        self.verified: dict[ResourceRef, float] = {}  # when the last good pass began
        self._around = around
        self._tolerance = tolerance
        self._unverified: dict[ResourceRef, Unverified] = {}
        self._good: dict[ResourceRef, Hashable] = {}  # what the last good pass was about

    def unverified(self, now: float) -> Collection[Unverified]:
        """The scopes of which pods are to hear that they are stale."""
        return [each for each in self._unverified.values() if each.told_from <= now]

    def passed(
        self,
        resource: TenantConfig,
        stamp: Hashable,
        failure: TenantConfigError | None,
        began: float,
        *,
        unprojected: bool,
    ) -> None:
        """A pass that `began` then has ended; `unprojected`: it has seen what others changed, and could not show it.

        `stamp` is equal for passes over the same resource in the same surroundings.
        """
        if failure is None or failure.reason is Reason.DRIFTED:
            self.verified[resource.ref] = began
            self._good[resource.ref] = stamp
        if failure is None or resource.deleting or failure.reason in VOUCHED:
            self._unverified.pop(resource.ref, None)
            return
        since, told_from = self._since(resource, stamp, began)
        if failure.reason not in UNREADABLE or unprojected:
            told_from = 0.0
        self._unverified[resource.ref] = Unverified(resource.scope, since, failure.reason.value, told_from, stamp)

    def forget(self, ref: ResourceRef) -> None:
        """There is nothing of the resource any more."""
        self._unverified.pop(ref, None)
        self._good.pop(ref, None)
        self.verified.pop(ref, None)

    def _since(self, resource: TenantConfig, stamp: Hashable, began: float) -> tuple[float, float]:
        """Since when nobody vouches for a scope whose pass failed, and from when on pods may hear of it."""
        if former := self._unverified.get(resource.ref):
            return former.since, former.told_from if former.stamp == stamp else 0.0
        if self._was_good(resource, stamp):
            return began, began + self._tolerance
        return min(began, unready_since(resource.status) or began), 0.0

    def _was_good(self, resource: TenantConfig, stamp: Hashable) -> bool:
        """Whether the last pass over a resource as it is now went well; before the first one here the status tells."""
        if resource.ref in self._good:
            return self._good[resource.ref] == stamp
        return resource.status.ready and settled(Facts.of(resource), self._around)


def unready_since(status: Status) -> float | None:
    """Since when the status has not been Ready; None if it is, or says nothing."""
    ready = next((each for each in status.conditions if each.type == READY), None)
    if ready is None or ready.status or not ready.last_transition_time:
        return None
    return datetime.fromisoformat(ready.last_transition_time).timestamp()
