"""The stores' part of a pass: find the places concerned, read them, plan, apply.

Places are where the keys of a resource and of its status belong by now, and where
the status says that it has values. A status that may lack what an earlier pass
wrote (see `accounts`) is not relied on: then every recorded place is visited, and
looked through.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace

from tenantconfig.errors import Reason, Stalled, TenantConfigError, Transient
from tenantconfig.inputs import UNSURE, Facts, Surroundings, inputs
from tenantconfig.model import ANNOTATION_ADOPT, Location, Options, Policy, ResourceRef, Status, TenantConfig
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.placement import (
    Place,
    Reading,
    Work,
    accounts,
    arrived,
    carry_seeds,
    followed,
    indifferent,
    keeping,
    moving_keys,
    policies,
    reading,
    refuse_entries,
)
from tenantconfig.plan import ABSENT, Claim, Desired, owner, plan, plan_release
from tenantconfig.storecalls import Stamp, StoreCalls
from tenantconfig.stores import aws
from tenantconfig.stores.base import Applied, Authored, Store


class StoreKeeper:
    """Reads and writes a resource's places; `cluster` is the uid of the kube-system namespace."""

    def __init__(
        self,
        around: Surroundings,
        cluster: str,
        open_store: Callable[[Location, Options], Store],
        calls: StoreCalls,
        own: OwnWrites | None = None,
    ) -> None:
        self._around = around
        self._cluster = cluster
        self._open_store = open_store
        self._calls = calls
        self._own = own
        self._accounted: dict[ResourceRef, str] = {}  # uids of resources whose status tells of all that was written

    def owner(self, namespace: str, name: str, uid: str) -> str:
        """How the stores name a resource as an owner."""
        return owner(self._cluster, namespace, name, uid)

    async def plan(self, resource: TenantConfig, desired: Mapping[str, Collection[Desired]]) -> list[Work]:
        """Read every place concerned and plan what is `desired`, by location id.

        Raises Stalled, before anything is written, if any of it cannot be. A place that
        does not answer is left out of the plan, and says so.
        """
        used = inputs(Facts.of(resource), self._around)
        accounted = self.accounted(resource, used)
        places = await self._places(resource, desired, accounted=accounted)
        refuse_entries(places, resource)
        status = resource.status
        settled = status.ready and status.inputs == used
        claims = [self._claim(resource, place, accounted=accounted) for place in places]
        readings = [
            reading(resource, place, claim, settled=settled) for place, claim in zip(places, claims, strict=True)
        ]
        works = await self._calls.read(resource, readings)
        return [self._planned(resource, work, works) for work in works]

    async def apply(self, resource: TenantConfig, works: Collection[Work]) -> list[Work]:
        """Make the changes. What moves leaves its old place last, and only once it can be read in its new one."""
        if any(work.changes for work in works):
            self._accounted.pop(resource.ref, None)
        moving = moving_keys(works)
        done = await self._write(resource, [keeping(work, moving) for work in works])
        if any(work.applied.error for work in done) or not moving:
            return done
        done = await asyncio.gather(*(self._verified(resource, work, moving) for work in done))
        if any(work.applied.error for work in done):
            return done
        left = [work for work in works if work.leaving & moving]
        fresh = await asyncio.gather(*(self._left(resource, work, done) for work in left))
        last = {work.place.location.id: work for work in await self._write(resource, fresh)}
        return [followed(work, last.get(work.place.location.id)) for work in done]

    async def _write(self, resource: TenantConfig, works: Collection[Work]) -> list[Work]:
        done = await self._calls.write(resource, works)
        if self._own:
            for work in done:
                for key, held in (dict(work.applied.held) | dict.fromkeys(work.applied.deleted, ABSENT)).items():
                    replaced = work.contents.held.get(key, ABSENT)
                    place, scope = work.place.location, resource.scope
                    self._own.note(place, scope, key, held.mark, replaced.mark, text=held.text)
        return done

    async def author(self, resource: TenantConfig, location_id: str, key: str) -> str:
        """Who wrote a key last, where its store can tell; empty otherwise, or if it would not."""
        found = self._around.place(location_id)
        store = await self._calls.thread(self._open_store, *found) if found else None
        if not isinstance(store, Authored):
            return ""
        try:
            return await self._calls.thread(store.author, resource.scope, key)
        except TenantConfigError:
            return ""

    def accounted(self, resource: TenantConfig, used: str) -> bool:
        """Whether the status tells of all that earlier passes wrote; `used` is the hash of the inputs as they are."""
        remembered = self._accounted.get(resource.ref) == resource.uid
        return accounts(resource, used, self._around.locations(), remembered=remembered)

    def recorded(self, resource: TenantConfig, status: Status) -> None:
        """What the last pass wrote is in the `status` that the API server has by now."""
        if not status.inputs.endswith(UNSURE):
            self._accounted[resource.ref] = resource.uid

    def stamp(self, resource: TenantConfig) -> Stamp:
        """What a resource and its surroundings are now: while it is the same, what waits goes on waiting."""
        return self._calls.stamp(resource)

    def has_turn(self, ref: ResourceRef) -> bool:
        """Whether a resource that waits for requests may make some now."""
        return self._calls.has_turn(ref)

    def end(self, ref: ResourceRef) -> None:
        """A pass over `ref` has ended."""
        self._calls.end(ref)

    def forget(self, ref: ResourceRef) -> None:
        """The resource is gone."""
        self._accounted.pop(ref, None)
        self._calls.end(ref)

    # Places

    async def _places(
        self, resource: TenantConfig, desired: Mapping[str, Collection[Desired]], *, accounted: bool
    ) -> list[Place]:
        routes = self._routes(resource)
        ids = {*desired, *resource.status.locations, *routes.values()}
        if not accounted:
            ids |= set(self._around.locations())
        found = {id: each for id in sorted(ids) if (each := self._recorded(resource, id))}
        places = []
        for names in await self._one_place_each(found.values()):
            main = next((id for id in names if id in desired or id in routes.values()), names[-1])
            wanted = tuple(each for id in names for each in desired.get(id, ()))
            store = await self._calls.thread(self._open_store, *found[main])
            routed = frozenset(key for key, id in routes.items() if id in names)
            recorded = {each.key: each.policy for each in resource.status.entries if each.location in names}
            places.append(Place(found[main][0], store, wanted, frozenset(names), routed, recorded))
        return places

    def _routes(self, resource: TenantConfig) -> Mapping[str, str]:
        """Where keys belong by now, by location id: there a pass that did not end may have written them."""
        keys = {each.key for each in resource.entries} | {each.key for each in resource.status.entries}
        stores = {key: self._around.router.find(key) for key in keys}
        return {key: store.location.id for key, store in stores.items() if store and store.accepted and store.location}

    def _recorded(self, resource: TenantConfig, id: str) -> tuple[Location, Options] | None:
        found = self._around.place(id)
        if found or (resource.deleting and resource.retain):
            return found
        raise Stalled(
            Reason.STORE_FAILED,
            f"values are at {id}, which no ConfigStore records: let the ConfigStore {id.rpartition('/')[0]} have that "
            f'place in its spec and the annotation {ANNOTATION_ADOPT}: "{id}", '
            "or delete this resource with deletionPolicy Retain to let them go",
        )

    async def _one_place_each(self, found: Iterable[tuple[Location, Options]]) -> list[list[str]]:
        """Ids of locations, those together that are one place: it must not be emptied as if it were another."""
        groups: defaultdict[object, list[Location]] = defaultdict(list)
        for location, options in found:
            place: object = location.without_role
            if location.kind == "plugin":
                store = await self._calls.thread(self._open_store, location, options)
                place = dict(location.place)["plugin"], getattr(store, "identity", place)
            groups[location.kind, place].append(location)
        several: list[list[str]] = []
        for group in groups.values():
            accounts: defaultdict[str, list[str]] = defaultdict(list)
            alone = len({each.role for each in group}) == 1
            for location in group:
                account = "" if alone else await self._calls.thread(aws.account, location.role)
                accounts[account].append(location.id)
            several += accounts.values()
        return several

    # Decisions

    def _claim(self, resource: TenantConfig, place: Place, *, accounted: bool) -> Claim:
        """What the resource may say of a place: its name as an owner, and what its status records there."""
        recorded = resource.status.entries
        here = [each for each in recorded if each.key in place.recorded]
        elsewhere = {each.key for each in recorded} - place.recorded.keys()
        return Claim(
            owner=self.owner(resource.ref.namespace, resource.ref.name, resource.uid),
            generation=resource.generation,
            adopt="" if resource.deleting else resource.adopt,
            policies=policies(resource),
            trusted={each.key: each.version for each in here if each.policy is Policy.ENFORCE},
            indifferent=frozenset(each.key for each in place.desired if indifferent(each, place, elsewhere)),
            thorough=not accounted,
        )

    def _planned(self, resource: TenantConfig, work: Work, works: Collection[Work]) -> Work:
        if work.unread:
            return work
        if resource.deleting and resource.retain:
            return replace(work, changes=plan_release(work.contents, work.claim))
        place = replace(work.place, desired=carry_seeds(work, works))
        refuse_entries([place], resource)  # a value that is carried along may be none for its new place
        return replace(work, place=place, changes=plan(place.desired, work.contents, work.claim))

    # Moves

    async def _verified(self, resource: TenantConfig, work: Work, moving: Collection[str]) -> Work:
        """`work`, with an error unless what was written of `moving` keys can be read back."""
        keys = moving & work.applied.held.keys()
        if not keys:
            return work
        claim = replace(work.claim, indifferent=frozenset(keys), thorough=False)  # there is nothing to decide
        fresh = await self._calls.read_again(resource, Reading(work.place, claim, frozenset(keys)))
        there = {key: (held.text, held.sensitive) for key, held in fresh.contents.held.items()}
        wanted = {key: (work.held[key].text, work.held[key].sensitive) for key in keys}
        error = fresh.applied.error
        if not error and wanted.items() - there.items():
            error = Transient(Reason.PROGRESSING, f"{work.place.location.id} does not show yet what has moved there")
        return replace(work, applied=replace(work.applied, error=error))

    async def _left(self, resource: TenantConfig, work: Work, done: Collection[Work]) -> Work:
        """What has moved is in its new place: plan from a fresh read what the old one still has to let go."""
        fresh = await self._calls.read_again(resource, reading(resource, work.place, work.claim, settled=False))
        try:
            return self._planned(resource, replace(fresh, claim=arrived(fresh.claim, fresh.contents, done)), [fresh])
        except TenantConfigError as error:  # somebody came in between: what is there stays until the next pass
            return replace(fresh, applied=Applied(error=error))
