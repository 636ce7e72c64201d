"""What the controller knows of the cluster from its watches: a few facts of each object, no values.

It is filled before the first pass and kept current by the handlers; passes and
comparisons only read it. Nothing here asks the API server.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from sys import intern

from tenantconfig import configmaps, spec
from tenantconfig.inputs import Facts, SourceSecret, Target, scope_holder, settled
from tenantconfig.model import (
    LABEL_SOURCE,
    ConfigStore,
    Location,
    NamespaceRights,
    Options,
    ResourceRef,
    Scope,
    digest,
)
from tenantconfig.routing import Router
from tenantconfig.spec import Body

Name = tuple[str, str]  # namespace, name


class Known:
    """An implementation of `inputs.Surroundings`. Each `see_…` takes an object as JSON and replaces what was known.

    `region` is the controller's own, where ConfigStores are that name none.
    """

    def __init__(self, region: str = "") -> None:
        self.region = region
        self._facts: dict[ResourceRef, Facts] = {}
        self._by_namespace: defaultdict[str, set[ResourceRef]] = defaultdict(set)
        self._by_uid: dict[str, ResourceRef] = {}
        self._by_scope: defaultdict[Scope, set[ResourceRef]] = defaultdict(set)
        self._stores: dict[str, ConfigStore] = {}
        self._router = Router(())
        self._rights: dict[str, NamespaceRights] = {}
        self._targets: dict[Name, Target] = {}
        self._sources: dict[Name, SourceSecret] = {}
        self._projections: defaultdict[str, set[Name]] = defaultdict(set)  # by owner's uid: plural, name

    # Surroundings

    @property
    def router(self) -> Router:
        return self._router

    def rights(self, namespace: str) -> NamespaceRights:
        return self._rights.get(namespace, NamespaceRights())

    def secret(self, namespace: str, name: str) -> SourceSecret | None:
        return self._sources.get((namespace, name))

    def place(self, location_id: str) -> tuple[Location, Options] | None:
        for store in self._stores.values():
            for location in store.locations:
                if location.id == location_id:
                    return location, store.options
        return None

    def locations(self) -> Collection[str]:
        return [location.id for store in self._stores.values() for location in store.locations]

    def rival(self, facts: Facts) -> Facts | None:
        others = [each for each in self.in_scope(facts.scope) if each.uid != facts.uid and self._counts(each)]
        holder = scope_holder([facts, *others])
        return None if holder.uid == facts.uid else holder

    def _counts(self, facts: Facts) -> bool:
        """Whether a resource may have a scope: it had it once, or its namespace may declare the tenant."""
        return facts.revision > 0 or self.rights(facts.ref.namespace).may_declare(facts.scope.tenant)

    def projections(self, uid: str) -> Collection[Name]:
        return tuple(self._projections.get(uid, ()))

    # What needs to be looked at when something changes

    def facts(self, ref: ResourceRef) -> Facts | None:
        return self._facts.get(ref)

    def all(self) -> Iterable[Facts]:
        return tuple(self._facts.values())

    def in_namespace(self, namespace: str) -> Iterable[Facts]:
        return [self._facts[ref] for ref in self._by_namespace.get(namespace, ())]

    def in_scope(self, scope: Scope) -> Iterable[Facts]:
        return [self._facts[ref] for ref in self._by_scope.get(scope, ())]

    def owner(self, uid: str) -> Facts | None:
        ref = self._by_uid.get(uid)
        return self._facts.get(ref) if ref else None

    def target(self, facts: Facts) -> Target | None:
        return self._targets.get((facts.ref.namespace, facts.configmap_name))

    def stores(self) -> Collection[ConfigStore]:
        return tuple(self._stores.values())

    def left(self) -> Collection[str]:
        """The names of ConfigStores that record a former place where nobody has values any more."""
        used = self.location_ids()
        return [
            store.name
            for store in self._stores.values()
            if any(each.id not in used and each != store.location for each in store.locations)
        ]

    def location_ids(self) -> Collection[str]:
        """The ids of all locations where TenantConfigs have values, as their status says."""
        return {id for facts in self._facts.values() for id in facts.locations}

    def adopted(self, store: ConfigStore) -> Location | None:
        """The place of a ConfigStore under the id that it adopts: one that TenantConfigs name, but no ConfigStore."""
        if not store.adopt or self.place(store.adopt) or store.adopt not in self.location_ids():
            return None
        return Location(store.adopt, store.kind, store.place)

    def holders(self, locations: Collection[str]) -> int:
        """How many TenantConfigs have values at one of the locations with these ids, as their status says."""
        ids = frozenset(locations)
        return sum(not ids.isdisjoint(facts.locations) for facts in self._facts.values())

    def unsettled(self) -> int:
        """How many TenantConfigs have had no pass over what is now: they may be writing where they did before."""
        return sum(not settled(facts, self) for facts in self._facts.values())

    # TenantConfigs

    def see_tenant_config(self, body: Body) -> None:
        facts = Facts.of(spec.tenant_config(body))
        if (former := self._facts.get(facts.ref)) and former.uid != facts.uid:
            self.forget_tenant_config(former.ref, former.uid)
        self._facts[facts.ref] = facts
        self._by_namespace[intern(facts.ref.namespace)].add(facts.ref)
        self._by_uid[facts.uid] = facts.ref
        self._by_scope[facts.scope].add(facts.ref)

    def forget_tenant_config(self, ref: ResourceRef, uid: str) -> None:
        self._by_uid.pop(uid, None)
        self._projections.pop(uid, None)
        if (facts := self._facts.get(ref)) and facts.uid == uid:
            del self._facts[ref]
            self._by_namespace[ref.namespace].discard(ref)
            self._by_scope[facts.scope].discard(ref)

    # ConfigStores and namespaces

    def see_store(self, body: Body) -> None:
        store = spec.config_store(body, self.region)
        self._stores[store.name] = store
        self._router = Router(self._stores.values())

    def forget_store(self, name: str) -> None:
        self._stores.pop(name, None)
        self._router = Router(self._stores.values())

    def see_namespace(self, body: Body) -> None:
        annotations = body["metadata"].get("annotations") or {}
        self._rights[body["metadata"]["name"]] = NamespaceRights.from_annotations(annotations)

    def forget_namespace(self, name: str) -> None:
        self._rights.pop(name, None)

    # ConfigMaps and Secrets

    def see_configmap(self, body: Body) -> str:
        """Returns the uid of the owner."""
        found = configmaps.projected(body)
        name = _name(body)
        self._targets[name] = Target(found.owner, found.version.revision, found.version.digest, digest(found.data))
        self._projections[found.owner].add((configmaps.CONFIGMAPS, name[1]))
        return found.owner

    def forget_configmap(self, body: Body) -> str:
        """Returns the uid of the former owner."""
        owner = configmaps.projected(body).owner
        self._targets.pop(_name(body), None)
        self._projections[owner].discard((configmaps.CONFIGMAPS, _name(body)[1]))
        return owner

    def see_secret(self, body: Body) -> None:
        metadata = body["metadata"]
        if (metadata.get("labels") or {}).get(LABEL_SOURCE) == "true":
            self._sources[_name(body)] = SourceSecret(metadata["uid"], metadata["resourceVersion"])
            return
        self._sources.pop(_name(body), None)
        if owner := configmaps.controller_uid(body):
            self._projections[owner].add((configmaps.SECRETS, metadata["name"]))

    def forget_secret(self, body: Body) -> None:
        self._sources.pop(_name(body), None)
        self._projections[configmaps.controller_uid(body)].discard((configmaps.SECRETS, body["metadata"]["name"]))


def _name(body: Body) -> Name:
    return body["metadata"]["namespace"], body["metadata"]["name"]
