"""The use case: bring stores, ConfigMap and status to what a TenantConfig says.

A pass reads as a sentence: gather what there is, decide which entries go where,
read each store, plan, refuse what cannot be as a whole before anything is written,
apply, project what the stores hold now, and say in the status how it went.
Deletion is the same with nothing desired.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from tenantconfig import configmaps, events, resources
from tenantconfig.clock import rfc3339, timestamp
from tenantconfig.conditions import Findings, judge, worst
from tenantconfig.drift import Change, as_wanted, drift_error, drifted
from tenantconfig.errors import Conflict, Reason, Stalled, TenantConfigError, Transient
from tenantconfig.guard import Guard, Seen
from tenantconfig.inputs import UNSURE, Facts, Surroundings, inputs, source_secrets
from tenantconfig.kubeapi import KubeApi
from tenantconfig.model import (
    ANNOTATION_TENANTS,
    LABEL_SOURCE,
    Entry,
    ResourceRef,
    State,
    Status,
    TenantConfig,
    Value,
)
from tenantconfig.passes import RETRY_MOST_SECONDS, Outcome
from tenantconfig.placement import Work, deferred, desired_part, entry_statuses, intended, locations
from tenantconfig.plan import Desired, scope_conflict
from tenantconfig.projection import project, refuse_large
from tenantconfig.projector import Projector, secrets_not_permitted
from tenantconfig.storecalls import Stamp
from tenantconfig.storekeeper import StoreKeeper
from tenantconfig.verification import Verification

logger = logging.getLogger(__name__)

CONFLICT_TRIES = 5  # a conflict is answered by a fresh read at once; after these, by the clock
RECORD_TRIES = 100  # the status is the memory of what is ours: only edits without a pause keep it from being written
UNWATCHED_RETRY_SECONDS = 300.0
TOLD = 5  # changes by others of which one pass tells in Events
# What a change of the resource, its namespace, a ConfigStore or a labelled Secret mends.
WATCHED = {
    Reason.INVALID,
    Reason.NO_STORE,
    Reason.SECRET_NOT_FOUND,
    Reason.SECRETS_NOT_PERMITTED,
    Reason.TENANT_NOT_ALLOWED,
}


class Reconciler:
    """Passes over TenantConfigs.

    `secrets` says whether the operator may use Secrets.
    """

    def __init__(
        self,
        kube: KubeApi,
        around: Surroundings,
        keeper: StoreKeeper,
        guard: Guard,
        verification: Verification,
        *,
        secrets: bool,
    ) -> None:
        self._kube = kube
        self._around = around
        self._keeper = keeper
        self._secrets = secrets
        self._projector = Projector(kube, around, secrets=secrets)
        self._guard = guard
        self._verification = verification
        self._waiting: dict[ResourceRef, tuple[Stamp, Outcome]] = {}

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
            self._forget(ref)
            return Outcome()  # gone, or kopf calls again when the finalizer is in place
        if waiting := self._still_waiting(resource):
            return waiting
        try:
            findings = await self._find(resource)
        finally:
            self._end(ref)
        failure = worst(findings.failures)
        stamp, unprojected = self._keeper.stamp(resource), findings.unprojected
        self._verification.passed(resource, stamp, failure, began, unprojected=unprojected)
        status = judge(findings, resource.status, timestamp())
        done = resource.deleting and failure is None
        if done:
            self._forget(ref)
        elif not findings.deferred or outdated(resource.status, findings):
            await self._record(resource, status)
        return self._outcome(resource, findings, failure)

    def _outcome(self, resource: TenantConfig, findings: Findings, failure: TenantConfigError | None) -> Outcome:
        failures = findings.failures
        conflict = next((each for each in failures if isinstance(each, Conflict)), None)
        retried = [each for each in failures if isinstance(each, Transient) and patience(each)]
        after = [each.after for each in retried] if all(each.after for each in retried) else []
        within = max(map(patience, failures), default=UNWATCHED_RETRY_SECONDS if missing(resource, findings) else 0.0)
        outcome = Outcome(conflict or failure, within, min(after, default=0.0))
        if failures and all(each.reason is Reason.RATE_LIMITED for each in failures):
            self._waiting[resource.ref] = self._keeper.stamp(resource), outcome
        return outcome

    def _still_waiting(self, resource: TenantConfig) -> Outcome | None:
        """How the last pass ended, if this one could not do more than it: nothing is asked again in the meantime."""
        stamp, outcome = self._waiting.get(resource.ref, (None, None))
        unchanged = stamp == self._keeper.stamp(resource)
        return outcome if unchanged and not self._keeper.has_turn(resource.ref) else None

    def _forget(self, ref: ResourceRef) -> None:
        """There is nothing of the resource any more."""
        self._verification.forget(ref)
        self._waiting.pop(ref, None)
        self._keeper.forget(ref)
        self._guard.forget(ref)

    def _end(self, ref: ResourceRef) -> None:
        self._waiting.pop(ref, None)
        self._keeper.end(ref)

    async def _record(self, resource: TenantConfig, status: Status) -> None:
        """Write a new status. What the pass did is as true of a resource that was edited meanwhile: it is not lost."""
        current: TenantConfig | None = resource
        for _ in range(RECORD_TRIES):
            if current is None or current.uid != resource.uid:
                return
            try:
                if status != current.status:
                    await resources.write_status(self._kube, current, status)
            except Conflict:
                current = await resources.read(self._kube, resource.ref)
            else:
                self._keeper.recorded(resource, status)
                return
        raise Conflict(f"{resource.ref} was edited faster than its status could be written")

    async def _find(self, resource: TenantConfig) -> Findings:
        try:
            return await (self._remove(resource) if resource.deleting else self._bring(resource))
        except TenantConfigError:
            raise
        except Exception as error:  # what it was must not look healthy
            logger.exception("The pass over %s failed by a defect", resource.ref)
            message = f"a defect of the operator ({type(error).__name__}): its log has the traceback"
            findings = self._unchanged(resource)
            unsure = findings.inputs.removesuffix(UNSURE) + UNSURE
            return replace(findings, inputs=unsure, store_failures=(Transient(Reason.INTERNAL, message),))

    async def _bring(self, resource: TenantConfig) -> Findings:
        """Towards what the resource says."""
        findings = self._unchanged(resource)
        if resource.suspend:
            return replace(findings, suspended=True)
        try:
            works = await self._keeper.plan(resource, await self._desired(resource))
            seen = self._guard.look(resource, works)
            works = self._guard.hold(works, seen)
            wanted = project(pair for work in works for pair in (intended(work) | as_wanted(work, seen.waits)).items())
            refuse_large(wanted)
            targets = await self._projector.targets(resource, wanted)
        except TenantConfigError as error:
            return replace(findings, store_failures=(error,))
        authors = await self._authors(resource, seen)  # before our own write is the last
        works = await self._keeper.apply(resource, works)
        await self._tell(resource, self._guard.applied(resource, works, seen), authors)
        findings = found(findings, resource, works)
        contested = self._guard.contested(resource)
        if waits := {**contested, **seen.waits}:
            entries = drifted(findings.entries, resource.status.entries, until(seen.waits), until(contested))
            findings = replace(findings, entries=entries, drift=drift_error(waits))
        if findings.store_failures:
            return replace(findings, unprojected=seen.projectable)
        projection = project(
            pair for work in works for pair in (desired_part(work) | as_wanted(work, seen.waits)).items()
        )
        try:
            return replace(findings, version=await self._projector.show(resource, targets, projection))
        except TenantConfigError as error:
            return replace(findings, projection_failure=error)

    async def _authors(self, resource: TenantConfig, seen: Seen) -> Mapping[str, str]:
        """By key, who made the first few of the changes that are going to be put back."""
        few = [each for each in seen.changes if each.version and each.key not in seen.waits][:TOLD]
        return {each.key: await self._keeper.author(resource, each.location, each.key) for each in few}

    async def _tell(self, resource: TenantConfig, put_back: Sequence[Change], authors: Mapping[str, str]) -> None:
        """Events for the first few of what others had changed."""
        for each in put_back[:TOLD]:
            what = f"version {each.version}" if each.version else "its removal"
            who = authors.get(each.key, "")
            message = f"{each.key}: {what} in {each.location}{f' by {who}' if who else ''} was put back"
            await events.warn(self._kube, resource, Reason.DRIFTED.value, message)

    async def _remove(self, resource: TenantConfig) -> Findings:
        """Towards nothing: withdraw the projection, empty the stores, remove the projection."""
        findings = self._unchanged(resource)
        await self._projector.withdraw(resource)
        try:
            works = await self._keeper.apply(resource, await self._keeper.plan(resource, {}))
        except TenantConfigError as error:
            return replace(findings, store_failures=(error,))
        if any(work.applied.error for work in works):
            return found(findings, resource, works)
        await self._projector.remove(resource)
        return findings

    def _unchanged(self, resource: TenantConfig) -> Findings:
        status = resource.status
        used = inputs(Facts.of(resource), self._around)
        noted = used if self._keeper.accounted(resource, used) else used + UNSURE
        return Findings(resource.generation, noted, status.version, status.entries, status.locations)

    async def _desired(self, resource: TenantConfig) -> Mapping[str, list[Desired]]:
        """What is wanted, by location id. Raises when not all of it can be."""
        namespace, tenant = resource.ref.namespace, resource.scope.tenant
        if not self._around.rights(namespace).may_declare(tenant):
            raise Stalled(
                Reason.TENANT_NOT_ALLOWED,
                f"namespace {namespace} may not declare tenant {tenant}: "
                f"its administrator allows it with the annotation {ANNOTATION_TENANTS}",
            )
        if rival := self._around.rival(Facts.of(resource)):
            owner = self._keeper.owner(rival.ref.namespace, rival.ref.name, rival.uid)
            raise scope_conflict("the scope", owner)
        if problems := [f"entry {entry.key} {entry.problem}" for entry in resource.entries if entry.problem]:
            raise Stalled(Reason.INVALID, "; ".join(problems))
        routes = self._around.router.route(entry.key for entry in resource.entries)
        secrets = await self._source_secrets(resource)
        desired: dict[str, list[Desired]] = defaultdict(list)
        for entry in resource.entries:
            if location := routes[entry.key].location:  # an accepted ConfigStore has one
                desired[location.id].append(Desired(entry.key, entry.policy, value_of(entry, secrets)))
        return desired

    async def _source_secrets(self, resource: TenantConfig) -> Mapping[str, Mapping[str, bytes]]:
        namespace, names = resource.ref.namespace, source_secrets(resource)
        if names and not self._secrets:
            raise secrets_not_permitted("entries take values from Secrets")
        for name in names:
            if self._around.secret(namespace, name) is None:
                message = f"namespace {namespace} has no Secret {name} with the label {LABEL_SOURCE}=true"
                raise Stalled(Reason.SECRET_NOT_FOUND, message)
        return {name: await configmaps.source(self._kube, namespace, name) for name in names}


def until(waits: Mapping[str, float]) -> Mapping[str, str]:
    """When seconds from now are."""
    return {key: rfc3339(time.time() + wait, "seconds") for key, wait in waits.items()}


def found(findings: Findings, resource: TenantConfig, works: Collection[Work]) -> Findings:
    """`findings` with what the stores' part of the pass has come to."""
    unread = any(work.unread for work in works)
    return replace(
        findings,
        inputs=findings.inputs if unread else findings.inputs.removesuffix(UNSURE),
        entries=entry_statuses(resource, works),
        locations=locations(works),
        store_failures=tuple(work.applied.error for work in works if work.applied.error),
        deferred=deferred(works),
    )


def outdated(status: Status, findings: Findings) -> bool:
    """Whether a status says Ready of this generation, though it depends on something else by now."""
    return status.ready and status.observed_generation == findings.generation and status.inputs != findings.inputs


def missing(resource: TenantConfig, findings: Findings) -> bool:
    """Whether an observed key is not there yet: others may create it, and nothing tells when they do."""
    return not resource.deleting and any(each.state is State.MISSING for each in findings.entries)


def patience(failure: TenantConfigError) -> float:
    """The longest time in seconds between tries; 0: not by the clock, since a watch will tell when it helps."""
    if failure.reason is Reason.RATE_LIMITED:
        return 0.0  # its turn wakes it
    if isinstance(failure, Transient):
        return RETRY_MOST_SECONDS
    return 0.0 if failure.reason in WATCHED else UNWATCHED_RETRY_SECONDS


def value_of(entry: Entry, secrets: Mapping[str, Mapping[str, bytes]]) -> Value | None:
    """What an entry wants stored. Raises Stalled when its Secret lacks the key, or has no text there."""
    if entry.source is None:
        return entry.value
    content = secrets[entry.source.name].get(entry.source.key)
    if content is None:
        message = f"entry {entry.key}: Secret {entry.source.name} has no key {entry.source.key}"
        raise Stalled(Reason.SECRET_NOT_FOUND, message)
    try:
        return Value(content.decode(), sensitive=True)
    except UnicodeDecodeError:
        message = f"entry {entry.key}: key {entry.source.key} of Secret {entry.source.name} is not UTF-8 text"
        raise Stalled(Reason.INVALID, message) from None
