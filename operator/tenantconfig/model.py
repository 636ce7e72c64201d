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
