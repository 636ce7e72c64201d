"""The use case: bring stores, ConfigMap and status to what a TenantConfig says.

A pass reads as a sentence: gather what there is, decide which entries go where,
read each store, plan, refuse what cannot be as a whole before anything is written,
apply, project what the stores hold now, and say in the status how it went.
Deletion is the same with nothing desired.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TypeVar

from tenantconfig import configmaps, resources
from tenantconfig.clock import timestamp
from tenantconfig.conditions import Findings, judge, worst
from tenantconfig.errors import Conflict, Reason, Stalled, TenantConfigError, Transient
from tenantconfig.inputs import Facts, Surroundings, inputs, source_secrets
from tenantconfig.kubeapi import KubeApi
from tenantconfig.model import (
    ANNOTATION_TENANTS,
    LABEL_SOURCE,
    Entry,
    EntryStatus,
    Location,
    Options,
    Policy,
    ResourceRef,
    Scope,
    State,
    TenantConfig,
    Value,
)
from tenantconfig.passes import RETRY_MOST_SECONDS, Outcome
from tenantconfig.plan import Changes, Claim, Contents, Desired, Held, overlay, plan, plan_release
from tenantconfig.projection import project, refuse_large
from tenantconfig.projector import Projector, secrets_not_permitted
from tenantconfig.stores.base import Applied, Store

T = TypeVar("T")

logger = logging.getLogger(__name__)

NOTHING_APPLIED = Applied()
CONFLICT_TRIES = 5  # a conflict is answered by a fresh read at once; after these, by the clock


UNWATCHED_RETRY_SECONDS = 300.0
# What a change of the resource, its namespace, a ConfigStore or a labelled Secret mends.
WATCHED = {
    Reason.INVALID,
    Reason.NO_STORE,
    Reason.SECRET_NOT_FOUND,
    Reason.SECRETS_NOT_PERMITTED,
    Reason.TENANT_NOT_ALLOWED,
}


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
    contents: Contents
    changes: Changes
    applied: Applied = NOTHING_APPLIED

    @property
    def held(self) -> Mapping[str, Held]:
        return overlay(self.contents, self.applied.held, self.applied.deleted)


@dataclass(frozen=True, slots=True)
class Unverified:
    """A scope whose last pass failed: nobody vouches for what is projected."""

    scope: Scope
    since: float  # Unix seconds: when the first of the failed passes began
    reason: str


class Reconciler:
    """Passes over TenantConfigs.

    `cluster` is the uid of the kube-system namespace; `secrets` says whether the
    operator may use Secrets; store calls run on `executor`.
    """

    def __init__(
        self,
        kube: KubeApi,
        around: Surroundings,
        cluster: str,
        open_store: Callable[[Location, Options], Store],
        executor: Executor,
        *,
        secrets: bool,
    ) -> None:
        self._kube = kube
        self._around = around
        self._cluster = cluster
        self._open_store = open_store
        self._executor = executor
        self._secrets = secrets
        self._projector = Projector(kube, around, secrets=secrets)
        self.unverified: dict[ResourceRef, Unverified] = {}

    async def __call__(self, ref: ResourceRef) -> Outcome:
        """One pass over `ref`; a conflict starts it again from a fresh read."""
        outcome = Outcome()
        for _ in range(CONFLICT_TRIES):
            try:
                outcome = await self._pass(ref)
            except TenantConfigError as error:  # of the API server, where no status could be written either
                outcome = Outcome(error, patience(error))
            if not isinstance(outcome.error, Conflict):
                break
        return outcome

    async def _pass(self, ref: ResourceRef) -> Outcome:
        began = time.time()
        resource = await resources.read(self._kube, ref)
        if resource is None or (not resource.deleting and not resource.finalized):
            self.unverified.pop(ref, None)
            return Outcome()  # gone, or kopf calls again when the finalizer is in place
        findings = await self._find(resource)
        failure = worst(findings.failures)
        self._remember(resource, failure, began)
        conflicts = [each for each in findings.failures if isinstance(each, Conflict)]
        status = judge(findings, resource.status, timestamp())
        done = resource.deleting and failure is None
        if status != resource.status and not done and not conflicts:
            await resources.write_status(self._kube, resource, status)
        return Outcome(conflicts[0] if conflicts else failure, max(map(patience, findings.failures), default=0.0))

    async def _find(self, resource: TenantConfig) -> Findings:
        try:
            return await (self._remove(resource) if resource.deleting else self._bring(resource))
        except TenantConfigError:
            raise
        except Exception as error:  # what it was must not look healthy
            logger.exception("The pass over %s failed by a defect", resource.ref)
            message = f"a defect of the operator ({type(error).__name__}): its log has the traceback"
            return replace(self._unchanged(resource), store_failures=(Transient(Reason.INTERNAL, message),))

    def _remember(self, resource: TenantConfig, failure: TenantConfigError | None, began: float) -> None:
        if failure is None or resource.deleting:
            self.unverified.pop(resource.ref, None)
        else:
            since = self.unverified[resource.ref].since if resource.ref in self.unverified else began
            self.unverified[resource.ref] = Unverified(resource.scope, since, failure.reason.value)

    async def _bring(self, resource: TenantConfig) -> Findings:
        """Towards what the resource says."""
        findings = self._unchanged(resource)
        if resource.suspend:
            return replace(findings, suspended=True)
        try:
            works = await self._plan(resource, await self._desired(resource))
            wanted = project(pair for work in works for pair in intended(work).items())
            refuse_large(wanted)
            targets = await self._projector.targets(resource, wanted)
        except TenantConfigError as error:
            return replace(findings, store_failures=(error,))
        works = await self._apply_all(resource, works)
        findings = replace(
            findings,
            entries=entry_statuses(resource, works),
            locations=tuple(sorted(work.place.location.id for work in works if work.place.desired or work.held)),
            store_failures=tuple(work.applied.error for work in works if work.applied.error),
        )
        if findings.store_failures:
            return findings
        projection = project(pair for work in works for pair in desired_part(work).items())
        try:
            return replace(findings, version=await self._projector.show(resource, targets, projection))
        except TenantConfigError as error:
            return replace(findings, projection_failure=error)

    async def _remove(self, resource: TenantConfig) -> Findings:
        """Towards nothing: withdraw the projection, empty the stores, remove the projection."""
        findings = self._unchanged(resource)
        await self._projector.withdraw(resource)
        try:
            works = await self._apply_all(resource, await self._plan(resource, {}))
        except TenantConfigError as error:
            return replace(findings, store_failures=(error,))
        failures = tuple(work.applied.error for work in works if work.applied.error)
        if failures:
            left = {key for work in works for key in work.held}
            entries = tuple(each for each in findings.entries if each.key in left)
            return replace(findings, entries=entries, store_failures=failures)
        await self._projector.remove(resource)
        return findings

    def _unchanged(self, resource: TenantConfig) -> Findings:
        status = resource.status
        used = inputs(Facts.of(resource), self._around)
        return Findings(resource.generation, used, status.version, status.entries, status.locations)

    async def _desired(self, resource: TenantConfig) -> Mapping[str, list[Desired]]:
        """What is wanted, by location id. Raises when not all of it can be."""
        namespace, tenant = resource.ref.namespace, resource.scope.tenant
        if not self._around.rights(namespace).may_declare(tenant):
            raise Stalled(
                Reason.TENANT_NOT_ALLOWED,
                f"namespace {namespace} may not declare tenant {tenant}: "
                f"its administrator allows it with the annotation {ANNOTATION_TENANTS}",
            )
        if problems := [f"entry {entry.key} {entry.problem}" for entry in resource.entries if entry.problem]:
            raise Stalled(Reason.INVALID, "; ".join(problems))
        routes = self._around.router.route(entry.key for entry in resource.entries)
        secrets = await self._source_secrets(resource)
        desired: dict[str, list[Desired]] = defaultdict(list)
        for entry in resource.entries:
            if location := routes[entry.key].location:  # an accepted ConfigStore has one
                desired[location.id].append(Desired(entry.key, entry.policy, value_of(entry, secrets)))
        return desired

    async def _source_secrets(self, resource: TenantConfig) -> Mapping[str, Mapping[str, str]]:
        namespace, names = resource.ref.namespace, source_secrets(resource)
        if names and not self._secrets:
            raise secrets_not_permitted("entries take values from Secrets")
        for name in names:
            if self._around.secret(namespace, name) is None:
                message = f"namespace {namespace} has no Secret {name} with the label {LABEL_SOURCE}=true"
                raise Stalled(Reason.SECRET_NOT_FOUND, message)
        return {name: await configmaps.source(self._kube, namespace, name) for name in names}

    async def _plan(self, resource: TenantConfig, desired: Mapping[str, Collection[Desired]]) -> list[Work]:
        """Read every place concerned and plan. Raises, before anything is written, if any of it cannot be."""
        ids = {*desired, *resource.status.locations}
        if resource.deleting:  # a first pass may have written and left no status
            routes = (self._around.router.find(entry.key) for entry in resource.entries)
            ids |= {store.location.id for store in routes if store and store.location}
        places = [place for id in sorted(ids) if (place := await self._place(resource, id, desired.get(id, ())))]
        refuse_entries(places)
        return await asyncio.gather(*(self._read(resource, place) for place in places))

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

    async def _read(self, resource: TenantConfig, place: Place) -> Work:
        claim = claim_of(resource, place, self._cluster)
        keys = {each.key for each in place.desired} | claim.policies.keys()
        settled = resource.status.ready and resource.status.inputs == inputs(Facts.of(resource), self._around)
        if resource.deleting or (place.location.id in resource.status.locations and not settled):
            keys |= {each.key for each in resource.entries} | {each.key for each in resource.status.entries}
        contents = await self._thread(lambda: place.store.read(resource.scope, keys, claim))
        release = resource.deleting and resource.retain
        return Work(place, contents, plan_release(contents, claim) if release else plan(place.desired, contents, claim))

    async def _apply_all(self, resource: TenantConfig, works: Collection[Work]) -> list[Work]:
        """Apply everything; a place that a key moves away from comes after the others, and only if they succeeded."""
        wanted = {each.key for work in works for each in work.place.desired}
        last = [work for work in works if any(each.key in wanted for each in work.changes.deletes)]
        first = await asyncio.gather(*(self._apply(resource, work) for work in works if work not in last))
        if any(work.applied.error for work in first):
            return [*first, *last]
        return [*first, *await asyncio.gather(*(self._apply(resource, work) for work in last))]

    async def _apply(self, resource: TenantConfig, work: Work) -> Work:
        if not work.changes:
            return work
        applied = await self._thread(lambda: work.place.store.apply(resource.scope, work.changes))
        return replace(work, applied=applied)

    async def _thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def patience(failure: TenantConfigError) -> float:
    """The longest time in seconds between tries; 0: not by the clock, since a watch will tell when it helps."""
    if isinstance(failure, Transient):
        return RETRY_MOST_SECONDS
    return 0.0 if failure.reason in WATCHED else UNWATCHED_RETRY_SECONDS


def claim_of(resource: TenantConfig, place: Place, cluster: str) -> Claim:
    """What the resource may say of a place: its name as an owner, and what its status records there."""
    recorded = [each for each in resource.status.entries if each.location == place.location.id]
    return Claim(
        owner=f"{cluster}/{resource.ref}/{resource.uid}",
        generation=resource.generation,
        adopt="" if resource.deleting else resource.adopt,
        policies={each.key: each.policy for each in recorded},
        trusted=frozenset(each.key for each in recorded if each.policy is Policy.ENFORCE and each.version),
        indifferent=frozenset(each.key for each in place.desired if each.policy is not Policy.ENFORCE),
    )


def value_of(entry: Entry, secrets: Mapping[str, Mapping[str, str]]) -> Value | None:
    """What an entry wants stored. Raises Stalled when its Secret lacks the key."""
    if entry.source is None:
        return entry.value
    text = secrets[entry.source.name].get(entry.source.key)
    if text is None:
        message = f"entry {entry.key}: Secret {entry.source.name} has no key {entry.source.key}"
        raise Stalled(Reason.SECRET_NOT_FOUND, message)
    return Value(text, sensitive=True)


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


def entry_statuses(resource: TenantConfig, works: Iterable[Work]) -> tuple[EntryStatus, ...]:
    """What the status records: every desired entry, and what is still there though it should not be."""
    former = {each.key: each for each in resource.status.entries}
    statuses: dict[str, EntryStatus] = {}
    for work in works:
        id = work.place.location.id
        for each in work.place.desired:
            statuses[each.key] = entry_status(each, id, work)
        for leaving in work.changes.deletes:
            if leaving.key in work.held and leaving.key in former:
                status = replace(former[leaving.key], state=State.PENDING, message="waits to be removed")
                statuses.setdefault(leaving.key, status)
    return tuple(statuses[key] for key in sorted(statuses))


def entry_status(desired: Desired, location: str, work: Work) -> EntryStatus:
    """Where one desired entry stands."""
    held = work.held.get(desired.key)
    state, message = State.SYNCED, ""
    if desired.value is None:
        state = State.SYNCED if held else State.MISSING
    elif held is None or (desired.policy is Policy.ENFORCE and not held.matches(desired.value)):
        state, message = State.PENDING, work.applied.error.message if work.applied.error else ""
    store = location.rpartition("/")[0]
    return EntryStatus(desired.key, store, location, desired.policy, state, held.version if held else "", message)
