"""The stores' part of a pass: find the places concerned, read them, plan, apply.

Places are where a resource's keys belong now, and where its status says that it
has values. A status that may lack what an earlier pass wrote (see `orderly`) is
not relied on: then every recorded place is visited, and looked through.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TypeVar

from tenantconfig.errors import Reason, Stalled, Transient
from tenantconfig.inputs import Facts, Surroundings, inputs
from tenantconfig.model import EntryStatus, Format, Location, Options, Policy, State, TenantConfig, Value
from tenantconfig.plan import Changes, Claim, Contents, Desired, Held, overlay, plan, plan_release
from tenantconfig.stores.base import Applied, Store

T = TypeVar("T")

NOTHING_APPLIED = Applied()


@dataclass(frozen=True, slots=True)
class Place:
    """A recorded location, the store behind it, and what a resource wants there."""

    location: Location
    store: Store
    desired: tuple[Desired, ...] = ()


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


class StoreKeeper:
    """Reads and writes a resource's places.

    `cluster` is the uid of the kube-system namespace; store calls run on `executor`;
    `may_write` raises when this controller no longer leads.
    """

    def __init__(
        self,
        around: Surroundings,
        cluster: str,
        open_store: Callable[[Location, Options], Store],
        executor: Executor,
        may_write: Callable[[], None],
    ) -> None:
        self._around = around
        self._cluster = cluster
        self._open_store = open_store
        self._executor = executor
        self._may_write = may_write

    def owner(self, namespace: str, name: str, uid: str) -> str:
        """How the stores name a resource as an owner."""
        return f"{self._cluster}/{namespace}/{name}/{uid}"

    async def plan(self, resource: TenantConfig, desired: Mapping[str, Collection[Desired]]) -> list[Work]:
        """Read every place concerned and plan what is `desired`, by location id.

        Raises Stalled, before anything is written, if any of it cannot be. A place that
        does not answer is left out of the plan, and says so.
        """
        ids = {*desired, *resource.status.locations}
        if not orderly(resource):
            ids |= set(self._around.locations())
        places = [place for id in sorted(ids) if (place := await self._place(resource, id, desired.get(id, ())))]
        refuse_entries(places)
        status = resource.status
        settled = status.ready and status.inputs == inputs(Facts.of(resource), self._around)
        works = await asyncio.gather(*(self._read(resource, place, settled=settled) for place in places))
        return [self._planned(resource, work, works) for work in works]

    async def apply(self, resource: TenantConfig, works: Collection[Work]) -> list[Work]:
        """Make the changes. What moves leaves its old place last, and only if everything else succeeded."""
        moving = {each.key for work in works for each in work.place.desired}
        done = await asyncio.gather(*(self._apply(resource, without_deletes(work, moving)) for work in works))
        if any(work.applied.error for work in done):
            return done
        held_back = [before.changes != work.changes for before, work in zip(works, done, strict=True)]
        return [await self._leave(resource, work) if left else work for work, left in zip(done, held_back, strict=True)]

    async def _place(self, resource: TenantConfig, id: str, desired: Iterable[Desired]) -> Place | None:
        found = self._around.place(id)
        if found:
            location, options = found
            return Place(location, await self._thread(lambda: self._open_store(location, options)), tuple(desired))
        if resource.deleting and resource.retain:
            return None
        raise Stalled(
            Reason.STORE_FAILED,
            f"values are at {id}, which no ConfigStore records: restore the ConfigStore, "
            "or delete this resource with deletionPolicy Retain to let them go",
        )

    async def _read(self, resource: TenantConfig, place: Place, *, settled: bool) -> Work:
        claim = self._claim(resource, place)
        keys = {each.key for each in place.desired} | claim.policies.keys()
        if claim.thorough or (place.location.id in resource.status.locations and not settled):
            keys |= {each.key for each in resource.entries} | {each.key for each in resource.status.entries}
        try:
            contents = await self._thread(lambda: place.store.read(resource.scope, keys, claim))
        except Transient as error:
            return Work(place, claim, Contents(), Changes(claim.owner), Applied(error=error), unread=True)
        return Work(place, claim, contents, Changes(claim.owner))

    def _claim(self, resource: TenantConfig, place: Place) -> Claim:
        """What the resource may say of a place: its name as an owner, and what its status records there."""
        recorded = [each for each in resource.status.entries if each.location == place.location.id]
        enforced = {each.key for each in place.desired if each.policy is Policy.ENFORCE}
        return Claim(
            owner=self.owner(resource.ref.namespace, resource.ref.name, resource.uid),
            generation=resource.generation,
            adopt="" if resource.deleting else resource.adopt,
            policies={each.key: each.policy for each in recorded},
            trusted={each.key: each.version for each in recorded if each.policy is Policy.ENFORCE},
            indifferent=frozenset(each.key for each in place.desired) - enforced,
            thorough=not orderly(resource),
        )

    def _planned(self, resource: TenantConfig, work: Work, works: Collection[Work]) -> Work:
        if work.unread:
            return work
        if resource.deleting and resource.retain:
            return replace(work, changes=plan_release(work.contents, work.claim))
        desired = carry_seeds(resource, work, works)
        place = replace(work.place, desired=desired)
        return replace(work, place=place, changes=plan(desired, work.contents, work.claim))

    async def _leave(self, resource: TenantConfig, work: Work) -> Work:
        """What has moved is in its new place: plan from a fresh read what the old one still has to let go."""
        fresh = await self._read(resource, work.place, settled=False)
        return await self._apply(resource, self._planned(resource, fresh, [fresh]))

    async def _apply(self, resource: TenantConfig, work: Work) -> Work:
        if not work.changes:
            return work
        applied = await self._thread(lambda: work.place.store.apply(resource.scope, work.changes, self._may_write))
        return replace(work, applied=applied)

    async def _thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def orderly(resource: TenantConfig) -> bool:
    """Whether the status accounts for all that earlier passes wrote.

    A pass that did not end may have written for a generation that the status has not
    observed. If that is the present one, its keys are in the spec.
    """
    status = resource.status
    if status.version and not status.locations:
        return False  # someone took from it
    return resource.generation == 1 or status.observed_generation >= resource.generation - 1


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
        if held.owner and other.claim.covers(held.owner)
    }
    unread = {other.place.location.id for other in works if other.unread}
    waiting = {each.key for each in resource.status.entries if each.location in unread}
    return tuple(
        carried(each, elsewhere.get(each.key))
        for each in work.place.desired
        if each.policy is not Policy.SEED or each.key in work.contents.held or each.key not in waiting
    )


def carried(desired: Desired, held: Held | None) -> Desired:
    if desired.policy is not Policy.SEED or held is None:
        return desired
    return replace(desired, value=Value(held.text, held.format or Format.TEXT, held.sensitive))


def refuse_entries(places: Iterable[Place]) -> None:
    """Raise Stalled with all that the stores would refuse."""
    problems = [
        f"entry {each.key} {problem}"
        for place in places
        for each in place.desired
        if each.value and (problem := place.store.refuses(each.key, each.value))
    ]
    if problems:
        raise Stalled(Reason.INVALID, "; ".join(problems))


def desired_part(work: Work) -> dict[str, Held]:
    """What a place holds now of what is desired there."""
    return {each.key: work.held[each.key] for each in work.place.desired if each.key in work.held}


def intended(work: Work) -> dict[str, Held]:
    """What a place will hold of what is desired there, if its changes are made."""
    puts = {put.key: Held(put.value.text, "", put.value.sensitive) for put in work.changes.puts}
    wanted = {each.key for each in work.place.desired}
    return {key: held for key, held in {**work.contents.held, **puts}.items() if key in wanted}


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
        id = work.place.location.id
        former = {each.key: each for each in resource.status.entries if each.location == id}
        for each in work.place.desired:
            statuses[each.key] = entry_status(each, id, work, former.get(each.key))
        leaving = former.keys() if work.unread else {each.key for each in work.changes.deletes} & work.held.keys()
        for key in leaving & former.keys():
            status = replace(former[key], state=State.PENDING, message="waits to be removed")
            statuses.setdefault(key, status)
    return tuple(statuses[key] for key in sorted(statuses))


def entry_status(desired: Desired, location: str, work: Work, former: EntryStatus | None) -> EntryStatus:
    """Where one desired entry stands."""
    held = work.held.get(desired.key)
    state, message = State.SYNCED, ""
    if work.unread or (held is None and desired.value is not None) or not _matches(desired, held):
        state, message = State.PENDING, work.applied.error.message if work.applied.error else ""
    elif held is None:
        state = State.MISSING
    version = held.version if held else former.version if former and work.unread else ""
    return EntryStatus(desired.key, location.rpartition("/")[0], location, desired.policy, state, version, message)


def _matches(desired: Desired, held: Held | None) -> bool:
    if held is None or desired.value is None or desired.policy is not Policy.ENFORCE:
        return True
    return held.matches(desired.value)
