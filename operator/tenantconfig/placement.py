"""What a pass has to do at each place: the work as a value, and the decisions over all of it. Pure.

A place is one table or path, whatever ConfigStores called it in the course of time.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import EntryStatus, Format, Location, Policy, State, TenantConfig, Value
from tenantconfig.plan import Changes, Claim, Contents, Desired, Held, overlay
from tenantconfig.stores.base import Applied, Store

WAITS = {Reason.RATE_LIMITED, Reason.PROGRESSING}

NOTHING_APPLIED = Applied()
NOTHING_KNOWN = Contents()


@dataclass(frozen=True, slots=True)
class Place:
    """A recorded location, the store behind it, and what a resource wants there."""

    location: Location
    store: Store
    desired: tuple[Desired, ...] = ()
    names: frozenset[str] = frozenset()  # the ids of all recorded locations that are this place

    @property
    def config_store(self) -> str:
        """The name of the ConfigStore."""
        return self.location.id.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Reading:
    """What is going to be read of a place; `known` is what need not be."""

    place: Place
    claim: Claim
    keys: frozenset[str]
    known: Contents = NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class Work:
    """What a place holds, the changes to it, and then what it acknowledged."""

    place: Place
    claim: Claim
    contents: Contents
    changes: Changes
    applied: Applied = NOTHING_APPLIED
    unread: bool = False  # the place did not answer; `applied` has the error

    @property
    def held(self) -> Mapping[str, Held]:
        return overlay(self.contents, self.applied.held, self.applied.deleted)


def orderly(resource: TenantConfig) -> bool:
    """Whether the status accounts for all that earlier passes wrote.

    A pass that did not end may have written for a generation that the status has not
    observed. If that is the present one, its keys are in the spec.
    """
    status = resource.status
    if status.version and not status.locations:
        return False  # someone took from it
    return resource.generation == 1 or status.observed_generation >= resource.generation - 1


def refuse_entries(places: Iterable[Place], resource: TenantConfig) -> None:
    """Raise Stalled with all that the stores would refuse."""
    problems = [
        f"entry {each.key} {problem}"
        for place in places
        for each in place.desired
        if each.value and (problem := place.store.refuses(resource.scope, each.key, each.value))
    ]
    if problems:
        raise Stalled(Reason.INVALID, "; ".join(problems))


# Moves


def moving_keys(works: Iterable[Work]) -> frozenset[str]:
    """Keys that one place has to remove and another is to have."""
    works = list(works)
    leaving = {each.key for work in works for each in work.changes.deletes}
    return frozenset(leaving & {each.key for work in works for each in work.place.desired})


def without_deletes(work: Work, keys: Collection[str]) -> Work:
    """`work` without the deletion of `keys`."""
    deletes = tuple(each for each in work.changes.deletes if each.key not in keys)
    return replace(work, changes=replace(work.changes, deletes=deletes))


def carry_seeds(resource: TenantConfig, work: Work, works: Collection[Work]) -> tuple[Desired, ...]:
    """What is wanted at a place, a Seed that moves there with the value it has where it was.

    While that place does not answer, such a Seed is not wanted anywhere.
    """
    elsewhere = {
        key: held
        for other in works
        if other.place.location != work.place.location
        for key, held in other.contents.held.items()
        if other.claim.policies.get(key) is Policy.SEED or (held.owner and other.claim.covers(held.owner))
    }
    unread = {id for other in works if other.unread for id in other.place.names}
    waiting = {each.key for each in resource.status.entries if each.location in unread}
    return tuple(
        carried(each, elsewhere.get(each.key))
        for each in work.place.desired
        if each.policy is not Policy.SEED or each.key in work.contents.held or each.key not in waiting
    )


def carried(desired: Desired, held: Held | None) -> Desired:
    """A Seed with the value that it has elsewhere; one that others changed, or made, stays nobody's of ours."""
    if desired.policy is not Policy.SEED or held is None:
        return desired
    value = Value(held.text, held.format or Format.TEXT, held.sensitive)
    return replace(desired, value=value, owned=bool(held.owner) and held.pristine)


def arrived(claim: Claim, left: Contents, works: Iterable[Work]) -> Claim:
    """The claim for what a place still holds of keys that have moved: a Seed that is the same elsewhere may go too."""
    there = {each.key: work.held[each.key] for work in works for each in work.place.desired if each.key in work.held}
    same = {key for key, held in left.held.items() if key in there and held.text == there[key].text}
    seeds = {key: Policy.ENFORCE for key, policy in claim.policies.items() if policy is Policy.SEED and key in same}
    return replace(claim, policies={**claim.policies, **seeds})


def followed(work: Work, last: Work | None) -> Work:
    """`work` with what was done at the same place after it; its contents are the ones of before."""
    if last is None:
        return work
    applied = Applied(
        {**work.applied.held, **last.applied.held},
        work.applied.deleted | last.applied.deleted,
        last.applied.error,
    )
    releases = tuple(dict.fromkeys([*work.changes.releases, *last.changes.releases]))
    return replace(work, applied=applied, changes=replace(last.changes, releases=releases))


# What the projection and the status say


def desired_part(work: Work) -> dict[str, Held]:
    """What a place holds now of what is desired there."""
    return {each.key: work.held[each.key] for each in work.place.desired if each.key in work.held}


def intended(work: Work) -> dict[str, Held]:
    """What a place will hold of what is desired there, if its changes are made."""
    puts = {put.key: Held(put.value.text, "", put.value.sensitive) for put in work.changes.puts}
    wanted = {each.key for each in work.place.desired}
    return {key: held for key, held in {**work.contents.held, **puts}.items() if key in wanted}


def deferred(works: Iterable[Work]) -> bool:
    """Whether all that came of it is that a place is to be read later."""
    works = list(works)
    waiting = [work for work in works if work.applied.error]
    done = any(work.applied.held or work.applied.deleted for work in works)
    return (
        bool(waiting)
        and not done
        and all(
            work.unread and work.applied.error and work.applied.error.reason is Reason.RATE_LIMITED for work in waiting
        )
    )


def locations(works: Iterable[Work]) -> tuple[str, ...]:
    """Every place that has, or may have, something of the resource."""
    return tuple(sorted(work.place.location.id for work in works if work.place.desired or _ours(work) or work.unread))


def _ours(work: Work) -> bool:
    released = set() if work.applied.error else set(work.changes.releases)
    held = (held for key, held in work.held.items() if key not in released)
    return any(each.owner and work.claim.covers(each.owner) for each in held)


def entry_statuses(resource: TenantConfig, works: Iterable[Work]) -> tuple[EntryStatus, ...]:
    """What the status records: every desired entry, and what is still there though it should not be."""
    statuses: dict[str, EntryStatus] = {}
    for work in works:
        former = {each.key: each for each in resource.status.entries if each.location in work.place.names}
        for each in work.place.desired:
            statuses[each.key] = entry_status(each, work, former.get(each.key))
        leaving = former.keys() if work.unread else {each.key for each in work.changes.deletes} & work.held.keys()
        for key in leaving & former.keys():
            status = replace(former[key], state=State.PENDING, message="waits to be removed")
            statuses.setdefault(key, status)
    return tuple(statuses[key] for key in sorted(statuses))


def entry_status(desired: Desired, work: Work, former: EntryStatus | None) -> EntryStatus:
    """Where one desired entry stands."""
    held = work.held.get(desired.key)
    state, message = State.SYNCED, ""
    if work.unread or (held is None and desired.value is not None) or not _matches(desired, held):
        state, message = State.PENDING, failure_message(work)
    elif held is None:
        state = State.MISSING
    version = held.version if held else former.version if former and work.unread else ""
    place = work.place
    return EntryStatus(desired.key, place.config_store, place.location.id, desired.policy, state, version, message)


def failure_message(work: Work) -> str:
    """Why an entry is not there; nothing for what the conditions say once for a thousand entries, as time goes on."""
    error = work.applied.error
    return error.message if error and error.reason not in WAITS else ""


def _matches(desired: Desired, held: Held | None) -> bool:
    if held is None or desired.value is None or desired.policy is not Policy.ENFORCE:
        return True
    return held.matches(desired.value)
