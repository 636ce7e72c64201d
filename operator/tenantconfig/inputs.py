"""What a pass over a resource depends on beside its spec, as one hash in its status. Pure.

A resource whose hash differs from the one its last pass used needs a pass. The
comparison is made in memory, for every object that is listed or changes: that is
how a change made while no controller ran is found at start without a request.
"""

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from tenantconfig.model import Location, NamespaceRights, Options, ResourceRef, Scope, TenantConfig
from tenantconfig.routing import Router

# After the hash in the status: since a pass that did not end, not every place could be read.
UNSURE = "?"


@dataclass(frozen=True, slots=True)
class SourceSecret:
    """What is remembered of a Secret: nothing of its data."""

    uid: str
    resource_version: str


@dataclass(frozen=True, slots=True)
class Target:
    """What is remembered of a projected ConfigMap."""

    owner: str  # uid of the controlling TenantConfig
    revision: int  # annotated
    annotated: str  # the digest in its annotation
    digest: str  # of the actual data


class Surroundings(Protocol):
    """What the controller knows of the cluster, from its watches."""

    @property
    def router(self) -> Router:
        """Over all ConfigStores."""

    def rights(self, namespace: str) -> NamespaceRights:
        """What the namespace's administrator permits."""

    def secret(self, namespace: str, name: str) -> SourceSecret | None:
        """A Secret that is labelled as a source."""

    def place(self, location_id: str) -> tuple[Location, Options] | None:
        """A recorded location, with the options of the ConfigStore that records it."""

    def locations(self) -> Collection[str]:
        """The ids of all recorded locations."""

    def rival(self, facts: "Facts") -> "Facts | None":
        """The resource that has the scope of `facts` in its place; None when it has the scope itself."""

    def projections(self, uid: str) -> Collection[tuple[str, str]]:
        """Plural and name of every ConfigMap and Secret that the TenantConfig with `uid` controls."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is remembered of a TenantConfig between passes: what decides whether it needs one."""

    ref: ResourceRef
    uid: str
    created: str
    scope: Scope
    keys: tuple[str, ...]
    secrets: tuple[str, ...]
    locations: tuple[str, ...]
    adopt: str
    configmap_name: str
    generation: int
    observed_generation: int
    inputs: str
    revision: int
    digest: str
    ready: bool
    deleting: bool

    @classmethod
    def of(cls, resource: TenantConfig) -> "Facts":
        status = resource.status
        return cls(
            ref=resource.ref,
            uid=resource.uid,
            created=resource.created,
            scope=resource.scope,
            keys=tuple(entry.key for entry in resource.entries),
            secrets=source_secrets(resource),
            locations=status.locations,
            adopt=resource.adopt,
            configmap_name=resource.configmap_name,
            generation=resource.generation,
            observed_generation=status.observed_generation,
            inputs=status.inputs,
            revision=status.version.revision if status.version else 0,
            digest=status.version.digest if status.version else "",
            ready=status.ready,
            deleting=resource.deleting,
        )


def source_secrets(resource: TenantConfig) -> tuple[str, ...]:
    """Names of the Secrets that entries take values from."""
    return tuple(sorted({entry.source.name for entry in resource.entries if entry.source}))


def inputs(facts: Facts, around: Surroundings) -> str:
    """The hash of what a pass over the resource would use now."""
    routes = {key: around.router.find(key) for key in facts.keys}
    stores = {store.name: [store.uid, store.generation, store.accepted] for store in routes.values() if store}
    used = {
        "stores": stores,
        "homeless": sorted(key for key, store in routes.items() if store is None),
        "secrets": [_secret(facts, name, around) for name in facts.secrets],
        "lost": [id for id in facts.locations if around.place(id) is None],
        "tenants": around.rights(facts.ref.namespace).may_declare(facts.scope.tenant),
        "rival": rival.uid if (rival := around.rival(facts)) else "",
        "adopt": facts.adopt,
    }
    return hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:32]


def _secret(facts: Facts, name: str, around: Surroundings) -> list[str]:
    found = around.secret(facts.ref.namespace, name)
    return [name, found.uid, found.resource_version] if found else [name]


def scope_holder(candidates: Collection[Facts]) -> Facts:
    """Which of several resources of one scope has it: the first, unless another adopts from it.

    One that has projected something before is first, whatever the clock says.
    """
    first = min(candidates, key=lambda each: (each.revision == 0, each.created, each.uid))
    return next((each for each in candidates if each.adopt.rpartition("/")[2] == first.uid), first)


def settled(facts: Facts, around: Surroundings) -> bool:
    """Whether the last pass saw all as it is now, and the status tells of everything that is in stores."""
    return facts.generation == facts.observed_generation and facts.inputs == inputs(facts, around)


def needs_pass(facts: Facts, around: Surroundings) -> bool:
    """Whether the resource needs a pass that no handler asks for: a newer generation and a deletion have handlers."""
    if facts.deleting or facts.generation != facts.observed_generation:
        return False
    return facts.inputs.removesuffix(UNSURE) != inputs(facts, around)


def needs_pass_at_start(facts: Facts, around: Surroundings, target: Target | None) -> bool:
    """The same for a resource that was listed: nobody has watched it, nor its ConfigMap, for a while."""
    if facts.deleting or facts.generation != facts.observed_generation:
        return False
    return not facts.ready or needs_pass(facts, around) or target is None or not _current(facts, target)


def tampered(facts: Facts, target: Target | None) -> bool:
    """Whether a ConfigMap, as an event shows it, is not what a pass made it.

    One with a newer revision and the right digest is a pass's own whose status has not come by yet.
    """
    if facts.deleting:
        return False
    if target is None:
        return True
    ahead = target.owner == facts.uid and target.revision > facts.revision and target.annotated == target.digest
    return not ahead and not _current(facts, target)


def _current(facts: Facts, target: Target) -> bool:
    return target == Target(facts.uid, facts.revision, facts.digest, facts.digest)
