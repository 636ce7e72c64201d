"""The values that every other module speaks in: scopes, versions, snapshots, entries.

Frozen, without I/O and without third-party imports, so that the client library
can use them without the operator's dependencies.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

GROUP = "tenantconfig.dev"
VERSION = "v1alpha1"

LABEL_TENANT = f"{GROUP}/tenant"
LABEL_ENVIRONMENT = f"{GROUP}/environment"
LABEL_SERVICE = f"{GROUP}/service"
LABEL_SOURCE = f"{GROUP}/source"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "tenantconfig"

ANNOTATION_REVISION = f"{GROUP}/revision"
ANNOTATION_DIGEST = f"{GROUP}/digest"
ANNOTATION_WITHDRAWN = f"{GROUP}/withdrawn"
ANNOTATION_ADOPT = f"{GROUP}/adopt"
ANNOTATION_TENANTS = f"{GROUP}/tenants"
ANNOTATION_READABLE_TENANTS = f"{GROUP}/readable-tenants"

ALL_TENANTS = "*"
OPERATOR_NAMESPACE = "tenantconfig-system"
TICK_NAME = "tenantconfig-tick"
TICK_FRESH_AS_OF = "freshAsOf"
TICK_STALE = "stale"


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """What one TenantConfig configures. An absent dimension is the empty string."""

    tenant: str
    environment: str = ""
    service: str = ""

    def __str__(self) -> str:
        return "/".join(part or "_" for part in (self.tenant, self.environment, self.service))

    def labels(self) -> dict[str, str]:
        """The labels of the scope's ConfigMap; an absent dimension has none."""
        dimensions = (
            (LABEL_TENANT, self.tenant),
            (LABEL_ENVIRONMENT, self.environment),
            (LABEL_SERVICE, self.service),
        )
        return {label: part for label, part in dimensions if part}

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> "Scope":
        """The inverse of `labels`."""
        return cls(labels.get(LABEL_TENANT, ""), labels.get(LABEL_ENVIRONMENT, ""), labels.get(LABEL_SERVICE, ""))


@dataclass(frozen=True, slots=True)
class Version:
    """A state of a scope: the revision orders, the digest identifies."""

    revision: int
    digest: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The data of a scope's ConfigMap at one version."""

    scope: Scope
    version: Version
    entries: Mapping[str, str]


def digest(entries: Mapping[str, str]) -> str:
    """Lower-case hex SHA-256 of the RFC 8785 JSON of `entries` (ConfigMap data: ASCII keys, text values).

    For such a map the standard library's JSON, sorted and without spaces, is RFC 8785 to the byte.
    """
    canonical = json.dumps(entries, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def tenants(text: str) -> frozenset[str]:
    """The tenants of a comma-separated list, such as a namespace's annotation; `*` stands for all."""
    return frozenset(part for each in text.split(",") if (part := each.strip()))


@dataclass(frozen=True, slots=True)
class NamespaceRights:
    """What a namespace's administrator says in its annotations."""

    declares: frozenset[str] = frozenset()  # tenants that its resources may configure
    reads: frozenset[str] = frozenset()  # tenants that its pods may read

    @classmethod
    def from_annotations(cls, annotations: Mapping[str, str]) -> "NamespaceRights":
        declares = tenants(annotations.get(ANNOTATION_TENANTS, ""))
        readable = annotations.get(ANNOTATION_READABLE_TENANTS)
        return cls(declares, declares - {ALL_TENANTS} if readable is None else tenants(readable))

    def may_declare(self, tenant: str) -> bool:
        return bool({tenant, ALL_TENANTS} & self.declares)

    def may_read(self, tenant: str) -> bool:
        return bool({tenant, ALL_TENANTS} & self.reads)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says of its bearer: a service account's namespace, or tenants and perhaps more."""

    issuer: str  # its name in the issuers file
    subject: str
    expires_at: float  # Unix time
    vouched: frozenset[str]  # tenants that the issuer may speak for, or `*`
    namespace: str | None = None  # of a service account; the three claims below are everyone else's
    tenants: frozenset[str] = frozenset()
    environments: frozenset[str] | None = None  # None: the issuer is configured without this claim
    services: frozenset[str] | None = None


class Policy(StrEnum):
    """Who owns the value of an entry."""

    ENFORCE = "Enforce"  # the resource: drift is reverted
    SEED = "Seed"  # the store, once the value is there
    OBSERVE = "Observe"  # the store: never written, only projected


class Format(StrEnum):
    """How an entry's text came about; it is stored beside the value."""

    TEXT = "text"
    JSON = "json"  # RFC 8785 of what the resource said


@dataclass(frozen=True, slots=True)
class Value:
    """What a store holds, or shall hold, under a key."""

    text: str
    format: Format = Format.TEXT
    sensitive: bool = False

    def __repr__(self) -> str:  # a value must not reach a log through a traceback or a debug line
        return f"Value(format={self.format.value}, sensitive={self.sensitive}, characters={len(self.text)})"


@dataclass(frozen=True, slots=True, order=True)
class ResourceRef:
    """Namespace and name of a TenantConfig."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SecretKeyRef:
    """Where a sensitive entry's value comes from: a key of a Secret in the resource's namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a resource's spec. Exactly one of `value` and `source`, neither when observed."""

    key: str
    policy: Policy
    value: Value | None = None
    source: SecretKeyRef | None = None
    problem: str = ""  # why it cannot be stored as it is; empty when it can


class State(StrEnum):
    """Where an entry stands, in the resource's status."""

    SYNCED = "Synced"
    PENDING = "Pending"
    DRIFTED = "Drifted"
    MISSING = "Missing"
    INVALID = "Invalid"


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """What the status records of an entry. For Enforce and Seed it is also the memory of what is ours."""

    key: str
    store: str = ""
    location: str = ""
    policy: Policy = Policy.ENFORCE
    state: State = State.PENDING
    version: str = ""  # as the store counts; empty: not there
    message: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """A metav1.Condition."""

    type: str
    status: bool
    reason: str
    message: str
    observed_generation: int
    last_transition_time: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """A TenantConfig's status."""

    observed_generation: int = -1
    conditions: tuple[Condition, ...] = ()
    version: Version | None = None
    entries: tuple[EntryStatus, ...] = ()
    locations: tuple[str, ...] = ()
    inputs: str = ""

    @property
    def ready(self) -> bool:
        return any(condition.type == "Ready" and condition.status for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """A TenantConfig resource as the API server has it."""

    ref: ResourceRef
    uid: str
    resource_version: str
    generation: int
    created: str
    scope: Scope
    entries: tuple[Entry, ...]
    configmap_name: str
    secret_name: str
    retain: bool = False
    suspend: bool = False
    deleting: bool = False
    orphaning: bool = False  # deleted with its dependents to be left: they are withdrawn, but stay
    finalized: bool = False  # our finalizer is in place: nothing is written anywhere before it
    adopt: str = ""
    status: Status = Status()


Options = tuple[tuple[str, str], ...]  # of a ConfigStore, what is not its place: tier, kmsKeyId, plugin configuration


@dataclass(frozen=True, slots=True)
class Location:
    """A place that holds values: what a ConfigStore's spec says of it, under an id that never changes meaning."""

    id: str
    kind: str  # dynamodb, ssm or plugin
    # Sorted pairs: tableName, pathPrefix, plugin, config, region; and how one gets there: assumeRoleArn, sessionTagKey.
    place: tuple[tuple[str, str], ...]

    @property
    def role(self) -> str:
        """The role under which it is reached; empty: the controller's own."""
        return dict(self.place).get("assumeRoleArn", "")

    @property
    def name(self) -> str:
        """The table, or the path without a slash at its end, as events of AWS call it."""
        place = dict(self.place)
        return place.get("tableName") or place.get("pathPrefix", "").rstrip("/")

    @property
    def without_role(self) -> tuple[tuple[str, str], ...]:
        """The place, whoever goes there."""
        return tuple(pair for pair in self.place if pair[0] not in ("assumeRoleArn", "sessionTagKey"))


@dataclass(frozen=True, slots=True)
class ConfigStore:
    """A ConfigStore resource."""

    name: str
    uid: str
    generation: int
    created: str  # creationTimestamp; of two with the same prefix the older one keeps it
    prefixes: tuple[str, ...]
    kind: str
    place: tuple[tuple[str, str], ...]
    options: Options = ()
    locations: tuple[Location, ...] = ()  # recorded in the status
    observed_generation: int = -1
    conditions: tuple[Condition, ...] = ()
    deleting: bool = False  # it gets no keys any more, but stays until its values have gone elsewhere
    adopt: str = ""  # annotated: the id under which the status of TenantConfigs knows the place

    @property
    def location(self) -> Location | None:
        """The recorded location of the place in spec; None until it is recorded."""
        return next((each for each in self.locations if (each.kind, each.place) == (self.kind, self.place)), None)

    @property
    def accepted(self) -> bool:
        """Whether the current generation was found usable and its place is recorded."""
        ready = any(condition.type == "Ready" and condition.status for condition in self.conditions)
        return ready and self.observed_generation == self.generation and self.location is not None
