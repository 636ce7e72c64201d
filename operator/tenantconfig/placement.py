"""What a pass has to do at each place: the work as a value, and the decisions over all of it. Pure.

A place is one table or path, whatever ConfigStores called it in the course of time.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from tenantconfig.errors import Reason, Stalled
from tenantconfig.inputs import UNSURE
from tenantconfig.model import EntryStatus, Format, Location, Policy, State, TenantConfig, Value
from tenantconfig.plan import Changes, Claim, Contents, Desired, Held, overlay
from tenantconfig.stores.base import Applied, Store

WAITS = {Reason.RATE_LIMITED, Reason.PROGRESSING}

NOTHING_APPLIED = Applied()
NOTHING_KNOWN = Contents()


@dataclass(frozen=True)
class Place:
    """A recorded location, the store behind it, and what a resource wants there."""

    location: Location
    store: Store
    desired: tuple[Desired, ...] = ()
    names: frozenset[str] = frozenset()  # the ids of all recorded locations that are this place
    routed: frozenset[str] = frozenset()  # keys that belong here by now, of the resource as it is and as it was
    recorded: Mapping[str, Policy] = field(default_factory=dict)  # of the keys that the status says are here

    @cached_property
    def wanted(self) -> frozenset[str]:
        """The keys that belong here."""
        return frozenset(each.key for each in self.desired)

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
    narrowed: bool = False  # nothing but `keys` may be written after it


@dataclass(frozen=True)
class Work:
    """What a place holds, the changes to it, and then what it acknowledged."""

    place: Place
    claim: Claim
    contents: Contents
    changes: Changes
    applied: Applied = NOTHING_APPLIED
    unread: bool = False  # the place did not answer; `applied` has the error
    fresh: frozenset[str] | None = None  # if not all: the keys that were read just now

    @cached_property
    def held(self) -> Mapping[str, Held]:
        """What the place holds now."""
        return overlay(self.contents, self.applied.held, self.applied.deleted, self.applied.released)

    @cached_property
    def claimed(self) -> frozenset[str]:
        """Keys that have become ours as they were."""
        return frozenset() if self.applied.error else frozenset(put.key for put in self.changes.claims)

    @cached_property
    def leaving(self) -> frozenset[str]:
        """Keys that the plan takes from here: removed, or left as nobody's."""
        return frozenset({each.key for each in self.changes.deletes}.union(self.changes.releases)) - self.place.wanted


def accounts(resource: TenantConfig, used: str, locations: Collection[str], *, remembered: bool) -> bool:
    """Whether the status tells of all that earlier passes wrote.

    A pass that did not end may have written for a generation, or to places, that the
    status does not know, unless it is `remembered` that all have ended. `used` is the
    hash of the inputs as they are now, and `locations` are the ids of all places.
    """
    status = resource.status
    if (status.version and not status.locations) or status.inputs.endswith(UNSURE):
        return False  # someone took from it; or an earlier pass could not find out
    if remembered:
        return True
    if status.observed_generation < 0:
        former = len({id.rpartition("/")[0] for id in locations}) < len(locations)
        return resource.generation == 1 and not former
    return status.inputs == used and status.observed_generation >= resource.generation - 1


def reading(resource: TenantConfig, place: Place, claim: Claim, *, settled: bool) -> Reading:
    """What to read of a place; `settled` says that the last pass saw all as it is now, and was content."""
    keys = place.wanted | place.routed | place.recorded.keys()
    if claim.thorough or (not place.names.isdisjoint(resource.status.locations) and not settled):
        keys |= {each.key for each in resource.entries} | {each.key for each in resource.status.entries}
    return Reading(place, claim, frozenset(keys))


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


def moving_keys(works: Collection[Work]) -> frozenset[str]:
    """Keys that one place has to let go and another is to have."""
    leaving, wanted = (work.leaving for work in works), (work.place.wanted for work in works)
    return frozenset().union(*leaving) & frozenset().union(*wanted)


def keeping(work: Work, keys: Collection[str]) -> Work:
    """`work`, with those of `keys` that leave the place left there as they are."""
    kept = work.leaving.intersection(keys)
    deletes = tuple(each for each in work.changes.deletes if each.key not in kept)
    releases = tuple(key for key in work.changes.releases if key not in kept)
    return replace(work, changes=replace(work.changes, deletes=deletes, releases=releases))


def has_seed(work: Work, key: str) -> bool:
    """Whether a place has the value of a Seed that belongs elsewhere by now."""
    held = work.held.get(key)
    if held is None or key in work.place.wanted:
        return False
    return work.place.recorded.get(key) is Policy.SEED or _covered(work, held)


def carry_seeds(work: Work, works: Collection[Work]) -> tuple[Desired, ...]:
    """What is wanted at a place, a Seed that moves there with the value it has where it was.

    While that place does not answer, such a Seed is not wanted anywhere.
    """
    elsewhere = {key: held for other in works for key, held in other.contents.held.items() if has_seed(other, key)}
    waiting = {key for other in works if other.unread for key in other.place.recorded.keys() - other.place.wanted}
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


def indifferent(desired: Desired, place: Place, elsewhere: Collection[str]) -> bool:
    """Whether it does not matter whose an entry is.

    It does for a Seed of which a copy may have come from elsewhere, and for what is let go because it is observed now.
    """
    if desired.policy is Policy.OBSERVE:
        return place.recorded.get(desired.key) is not Policy.SEED
    return desired.policy is Policy.SEED and desired.key not in elsewhere


def policies(resource: TenantConfig) -> Mapping[str, Policy]:
    """Under which policy each key came to be where it is: as recorded, or without a record, as in the spec.

    What is observed from now on is nobody's: nothing of it is removed.
    """
    spec = {each.key: each.policy for each in resource.entries}
    recorded = {each.key: each.policy for each in resource.status.entries}
    return {**spec, **recorded, **{key: policy for key, policy in spec.items() if policy is Policy.OBSERVE}}


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
        work.applied.released | last.applied.released,
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
    done = any(work.applied.held or work.applied.deleted or work.applied.released for work in works)
    return (
        bool(waiting)
        and not done
        and all(
            work.unread and work.applied.error and work.applied.error.reason is Reason.RATE_LIMITED for work in waiting
        )
    )


def locations(works: Collection[Work]) -> tuple[str, ...]:
    """Every place that has, or may have, something of the resource."""
    return tuple(
        sorted(work.place.location.id for work in works if work.place.desired or work.unread or staying(work, works))
    )


def staying(work: Work, works: Iterable[Work]) -> frozenset[str]:
    """Keys that a place has, or may have, of the resource, though they belong elsewhere by now, or nowhere."""
    if work.unread:
        return frozenset(work.place.recorded) - work.place.wanted
    released = set() if work.applied.error else set(work.changes.releases)
    ours = {key for key, held in work.held.items() if key not in released and _covered(work, held)}
    seeds = {each.key for other in works for each in other.place.desired if _awaits(other, each)}
    return frozenset(ours | {key for key in seeds if has_seed(work, key)}) - work.place.wanted


def _covered(work: Work, held: Held) -> bool:
    return bool(held.owner) and work.claim.covers(held.owner)


def _awaits(work: Work, desired: Desired) -> bool:
    return desired.policy is Policy.SEED and desired.key not in work.held


def entry_statuses(resource: TenantConfig, works: Collection[Work]) -> tuple[EntryStatus, ...]:
    """What the status records: every desired entry, and what is still there though it should not be.

    A key that has not left its old place stays recorded there, with the policy that decides what becomes of it.
    """
    statuses: dict[str, EntryStatus] = {}
    former = {each.key: each for each in resource.status.entries}
    for work in works:
        for each in work.place.desired:
            statuses[each.key] = entry_status(each, work, former[each.key] if each.key in work.place.recorded else None)
    for work in works:
        for key in staying(work, works):
            was = former[key] if key in work.place.recorded else _stray(work, key)
            message = statuses[key].message if key in statuses else ""
            statuses[key] = replace(was, state=State.PENDING, message=message or "waits to be removed")
    return tuple(statuses[key] for key in sorted(statuses))


def _stray(work: Work, key: str) -> EntryStatus:
    """What nobody has recorded where it is."""
    place, policy = work.place, work.claim.policies.get(key, Policy.ENFORCE)
    return EntryStatus(key, place.config_store, place.location.id, policy, version=work.held[key].mark)


def entry_status(desired: Desired, work: Work, former: EntryStatus | None) -> EntryStatus:
    """Where one desired entry stands."""
    held, policy = work.held.get(desired.key), desired.policy
    state, message = State.SYNCED, ""
    if work.unread and former:
        policy = former.policy  # nothing has become ours, or nobody's, that was not read
    if held and _unreleased(desired, held, work):
        state, policy = (
            State.PENDING,
            former.policy if former else Policy.ENFORCE,
        )  # what is ours is to be known as ours
    elif held and _unclaimed(desired, held, work):
        held = replace(held, version="")  # what is recorded of an enforced entry is the memory of what is ours
        state, message = State.PENDING, failure_message(work)
    elif work.unread or (held is None and desired.value is not None) or not _matches(desired, held):
        state, message = State.PENDING, failure_message(work)
    elif held is None:
        state = State.MISSING
    version = held.mark if held else former.version if former and work.unread else ""
    place = work.place
    return EntryStatus(desired.key, place.config_store, place.location.id, policy, state, version, message)


def _unreleased(desired: Desired, held: Held, work: Work) -> bool:
    """Whether what is only observed by now is still ours."""
    return bool(work.applied.error) and desired.policy is Policy.OBSERVE and _covered(work, held)


def _unclaimed(desired: Desired, held: Held, work: Work) -> bool:
    """Whether what is enforced is not ours yet."""
    return desired.policy is Policy.ENFORCE and held.owner != work.claim.owner and desired.key not in work.claimed


def failure_message(work: Work) -> str:
    """Why an entry is not there; nothing for what the conditions say once for a thousand entries, as time goes on."""
    error = work.applied.error
    return error.message if error and error.reason not in WAITS else ""


def _matches(desired: Desired, held: Held | None) -> bool:
    if held is None or desired.value is None or desired.policy is not Policy.ENFORCE:
        return True
    return held.matches(desired.value)
