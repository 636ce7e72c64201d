"""Changes that others make in a store: which they are, and when they are put back. Pure.

What a resource enforces is put back at once the first time. Somebody who writes
again and again would cost a write of the budget each time, so each time that the
same key is put back doubles the time until the next; a key that nobody touched
for a while begins afresh. The same goes for a Seed that others delete.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from tenantconfig.conditions import STORES_SYNCED
from tenantconfig.errors import Reason, Transient
from tenantconfig.model import EntryStatus, Policy, State, TenantConfig
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.placement import Work
from tenantconfig.plan import Held

FIRST_HOLD_SECONDS = 2.0
LONGEST_HOLD_SECONDS = 300.0
QUIET_SECONDS = 900.0  # beyond the longest hold: who still writes is not forgotten
AGAIN = "others change it again and again"


@dataclass(frozen=True, slots=True)
class Change:
    """What others made of a key since a pass recorded it."""

    key: str
    policy: Policy
    kind: str  # of the store
    location: str
    version: str  # as the store counts; empty: it is gone


def changes(resource: TenantConfig, works: Iterable[Work], own: OwnWrites) -> list[Change]:
    """What others have changed, of all that the status records and the works have read."""
    written = _written(resource)
    return [
        Change(each.key, each.policy, work.place.location.kind, work.place.location.id, mark)
        for work in works
        if not work.unread
        for each in resource.status.entries
        if each.location in work.place.names and (work.fresh is None or each.key in work.fresh)
        for held in (work.contents.held.get(each.key),)
        for mark in (held.mark if held else "",)
        if (_changed(each, held, work) and not own.made(work.place.location, resource.scope, each.key, mark))
        or (written and _made_again(each, held, work))
    ]


def _changed(recorded: EntryStatus, held: Held | None, work: Work) -> bool:
    if recorded.state not in {State.SYNCED, State.DRIFTED, State.MISSING}:
        return False
    if held is None:
        return recorded.state is not State.MISSING
    ours = held.pristine and work.claim.made(held.owner)  # by a process that could not record it
    return held.mark != recorded.version and not ours


def _written(resource: TenantConfig) -> bool:
    """Whether what the resource says was in the stores: a pass that could write none of an edit has observed it too."""
    status = resource.status
    return status.observed_generation == resource.generation and any(
        each.type == STORES_SYNCED and (each.status or each.reason == Reason.DRIFTED) for each in status.conditions
    )


def _made_again(recorded: EntryStatus, held: Held | None, work: Work) -> bool:
    """Whether others removed what is enforced and made it again: SSM counts from 1 then, as it did for us.

    What comes from a Secret may be written because that was edited.
    """
    if (recorded.policy, recorded.state) != (Policy.ENFORCE, State.SYNCED):
        return False
    if held is None or held.mark != recorded.version:
        return False
    return any(put.key == recorded.key and not put.value.sensitive for put in work.changes.puts)


@dataclass(frozen=True, slots=True)
class Hold:
    """How often a key was put back without a pause, and the last time: when, where and for which generation."""

    times: int
    last: float
    location: str
    generation: int

    def wait(self, now: float) -> float:
        """Seconds until it is put back; 0: at once."""
        return max(0.0, self.last + hold_seconds(self.times) - now)


class Holds:
    """How long what others changed is left before it is put back again. In memory: a new process begins afresh."""

    def __init__(self) -> None:
        self._holds: dict[str, dict[str, Hold]] = {}  # by uid and key

    def of(self, uid: str, now: float) -> Mapping[str, Hold]:
        """The keys of a resource that were put back of late."""
        return {key: hold for key, hold in self._holds.get(uid, {}).items() if now - hold.last <= QUIET_SECONDS}

    def put_back(self, uid: str, generation: int, places: Mapping[str, str], now: float) -> None:
        """Note that keys were, by the id of the location."""
        holds = dict(self.of(uid, now))
        for key, location in places.items():
            former = holds.get(key)
            holds[key] = Hold(former.times + 1 if former else 1, now, location, generation)
        if holds:
            self._holds[uid] = holds

    def expire(self, now: float) -> None:
        """Forget what nobody touches any more."""
        self._holds = {uid: holds for uid in self._holds if (holds := dict(self.of(uid, now)))}


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
    statuses: Iterable[EntryStatus],
    former: Iterable[EntryStatus],
    held: Mapping[str, str],
    contested: Mapping[str, str],
) -> tuple[EntryStatus, ...]:
    """Statuses that say until when some keys are left as they are, and others are watched that were put back.

    What is recorded of the former is what was ours last.
    """
    versions = {each.key: each.version for each in former}

    def told(each: EntryStatus) -> EntryStatus:
        if each.key in held:
            message = f"{AGAIN}: it is put back at {held[each.key]}"
            return replace(each, state=State.DRIFTED, version=versions.get(each.key, ""), message=message)
        if each.key in contested and each.state is State.SYNCED:
            message = f"{AGAIN}: it was put back, and counts as settled if nobody does until {contested[each.key]}"
            return replace(each, state=State.DRIFTED, message=message)
        return each

    return tuple(map(told, statuses))


def drift_error(waits: Mapping[str, float]) -> Transient:
    """Why a resource is not Ready while others change it again and again; `waits` are seconds."""
    keys = sorted(waits)
    others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    message = f"others change {keys[0]}{others} again and again: it is put back less often"
    return Transient(Reason.DRIFTED, message, after=min(waits.values()))
