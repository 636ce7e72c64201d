"""The use case of a ConfigStore: is it usable? And its place is recorded before anything is written there."""

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Executor

from tenantconfig import resources
from tenantconfig.clock import timestamp
from tenantconfig.conditions import settle, store_conditions
from tenantconfig.errors import Reason, Stalled, TenantConfigError, Transient
from tenantconfig.known import Known
from tenantconfig.kubeapi import KubeApi
from tenantconfig.model import ConfigStore, Location, Options
from tenantconfig.passes import RETRY_MOST_SECONDS, Outcome
from tenantconfig.routing import duplicates, same_place
from tenantconfig.stores.base import Store


class Acceptance:
    """Passes over ConfigStores; `known` tells of the others, and of the resources that have values in one."""

    def __init__(
        self,
        kube: KubeApi,
        known: Known,
        open_store: Callable[[Location, Options], Store],
        executor: Executor,
    ) -> None:
        self._kube = kube
        self._known = known
        self._open_store = open_store
        self._executor = executor

    async def __call__(self, name: str) -> Outcome:
        """One pass over the ConfigStore `name`."""
        try:
            return await self._pass(name)
        except TenantConfigError as error:
            return Outcome(error, RETRY_MOST_SECONDS)

    async def _pass(self, name: str) -> Outcome:
        found = await resources.read_store(self._kube, name, self._known.region)
        if found is None:
            return Outcome()
        store, version = found
        adopted = self._known.adopted(store)
        location = store.location or adopted or new_location(store, self._known.location_ids())
        failure = await self._failure(store, location)
        judged = store_conditions(failure, store.generation)
        conditions = settle(judged, store.conditions, timestamp())
        unsettled = len(store.locations) > 1 and self._known.unsettled()
        kept = [each for each in store.locations if unsettled or self._known.holders([each.id])]
        locations = tuple(dict.fromkeys([*kept, *([adopted] if adopted else []), location]))
        now = (store.generation, conditions, locations)
        finished = store.deleting and failure is None
        if not finished and now != (store.observed_generation, store.conditions, store.locations):
            await resources.write_store_status(self._kube, store, version, conditions, locations)
        return Outcome(failure, RETRY_MOST_SECONDS if isinstance(failure, Transient) else 0.0)

    async def _failure(self, store: ConfigStore, location: Location) -> TenantConfigError | None:
        if store.deleting:
            return self._still_needed(store)
        if taken := duplicates(store, self._known.stores()):
            claims = ", ".join(f"{prefix} ({owner})" for prefix, owner in sorted(taken.items()))
            return Stalled(Reason.AMBIGUOUS_PREFIX, f"spec.prefixes: other ConfigStores have {claims}")
        if other := same_place(store, self._known.stores()):
            message = f"spec.{store.kind}: this is the place of ConfigStore {other.name}: give it the prefixes instead"
            return Stalled(Reason.AMBIGUOUS_PLACE, message)
        try:
            await asyncio.get_running_loop().run_in_executor(
                self._executor, lambda: self._open_store(location, store.options).probe()
            )
        except TenantConfigError as error:
            return error
        return None

    def _still_needed(self, store: ConfigStore) -> TenantConfigError | None:
        if holders := self._known.holders([each.id for each in store.locations]):
            message = f"it stays until the values of {holders} TenantConfigs are gone from it, or moved to another one"
            return Transient(Reason.DELETING, message)
        if unsettled := self._known.unsettled():
            return Transient(Reason.DELETING, f"it stays until {unsettled} TenantConfigs that change now have settled")
        return None


def new_location(store: ConfigStore, used: Collection[str]) -> Location:
    """The place in spec under a new id: none of those in `used`, where TenantConfigs have values.

    Nothing tells whether a ConfigStore that was made again is at the place where the former one was.
    """
    ids = (id.rpartition("/") for id in (*(each.id for each in store.locations), *used))
    numbers = [int(number) for name, _, number in ids if name == store.name]
    return Location(f"{store.name}/{max(numbers, default=0) + 1}", store.kind, store.place)
