"""From what the stores hold to what Kubernetes shall show: snapshot, version, ConfigMap, Secret. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import (
    ANNOTATION_DIGEST,
    ANNOTATION_REVISION,
    GROUP,
    LABEL_MANAGED_BY,
    LABEL_SOURCE,
    MANAGED_BY,
    VERSION,
    TenantConfig,
    Version,
    digest,
)
from tenantconfig.plan import Held

MAX_BYTES = 1024 * 1024  # what the API server takes for a ConfigMap's or a Secret's data
PROJECTED_SECRET = "false"  # noqa: S105  value of LABEL_SOURCE: one watch brings source and projected Secrets


@dataclass(frozen=True, slots=True)
class Projection:
    """The texts that pods see: `entries` in the ConfigMap, `sensitive` in the Secret."""

    entries: Mapping[str, str] = field(default_factory=dict)
    sensitive: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Projected:
    """A ConfigMap or Secret as the API server has it."""

    uid: str
    resource_version: str
    owner: str  # uid of the controlling owner; empty: none
    data: Mapping[str, str] = field(repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False

    @property
    def version(self) -> Version:
        """As annotated; revision 0 when there is none."""
        text = self.annotations.get(ANNOTATION_REVISION, "")
        return Version(int(text) if text.isdecimal() else 0, self.annotations.get(ANNOTATION_DIGEST, ""))


class Write(Enum):
    """How a projected object is brought to what it should be."""

    NONE = "it is right already"
    CREATE = "POST, which cannot take over what someone else made"
    APPLY = "server-side apply under the uid, which cannot make a new one by accident"
    REPLACE = "PUT under the resourceVersion: apply would leave keys that it does not own"


def project(held: Iterable[tuple[str, Held]]) -> Projection:
    """Sort what the stores hold into text for everyone and sensitive values."""
    entries: dict[str, str] = {}
    sensitive: dict[str, str] = {}
    for key, each in held:
        (sensitive if each.sensitive else entries)[key] = each.text
    return Projection(entries, sensitive)


def refuse_large(projection: Projection) -> None:
    """Raise Stalled when a ConfigMap or Secret could not hold the projection."""
    for what, data in (("ConfigMap", projection.entries), ("Secret", projection.sensitive)):
        size = sum(len(key) + len(text.encode()) for key, text in data.items())
        if size > MAX_BYTES:
            message = f"the values are {size} bytes, a {what} holds {MAX_BYTES}: split the resource into several scopes"
            raise Stalled(Reason.SNAPSHOT_TOO_LARGE, message)


def next_version(
    entries: Mapping[str, str], recorded: Version | None, actual: Projected | None, milliseconds: int
) -> Version:
    """The version of `entries`: one more than any known revision when the digest is new, else as it is.

    `milliseconds` is the Unix time, the first revision of a scope that nothing is known of.
    """
    new = digest(entries)
    annotated = actual.version if actual else Version(0, "")
    known = recorded or Version(0, "")
    latest = max(known.revision, annotated.revision)
    if latest == 0:
        return Version(milliseconds, new)
    current = annotated if annotated.revision > known.revision else known
    return Version(latest if current.digest == new else latest + 1, new)


def write_needed(wanted: Mapping[str, Any], actual: Projected | None) -> Write:
    """How `wanted` (a body from `configmap_body` or `secret_body`) gets onto the API server."""
    if actual is None:
        return Write.CREATE
    data, metadata = wanted["data"], wanted["metadata"]
    strange = actual.data.keys() - data.keys()
    for ours, theirs in ((metadata["labels"], actual.labels), (metadata["annotations"], actual.annotations)):
        strange |= {name for name in theirs if name.startswith(f"{GROUP}/")} - ours.keys()
    if strange:
        return Write.REPLACE
    right = (
        actual.data == data
        and metadata["labels"].items() <= actual.labels.items()
        and metadata["annotations"].items() <= actual.annotations.items()
        and actual.owner == metadata["ownerReferences"][0]["uid"]
    )
    return Write.NONE if right else Write.APPLY


def configmap_body(resource: TenantConfig, entries: Mapping[str, str], version: Version) -> dict[str, Any]:
    """The ConfigMap of a scope at a version."""
    metadata = _metadata(resource, resource.configmap_name, resource.scope.labels())
    metadata["annotations"] = {ANNOTATION_REVISION: str(version.revision), ANNOTATION_DIGEST: version.digest}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(entries)}


def secret_body(resource: TenantConfig, sensitive: Mapping[str, str]) -> dict[str, Any]:
    """The Secret with a scope's sensitive values; `data` in plain text, the edge encodes it."""
    labels = resource.scope.labels() | {LABEL_SOURCE: PROJECTED_SECRET}
    metadata = _metadata(resource, resource.secret_name, labels)
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": dict(sensitive)}


def _metadata(resource: TenantConfig, name: str, labels: dict[str, str]) -> dict[str, Any]:
    owner = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TenantConfig",
        "name": resource.ref.name,
        "uid": resource.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "name": name,
        "namespace": resource.ref.namespace,
        "labels": labels | {LABEL_MANAGED_BY: MANAGED_BY},
        "annotations": {},
        "ownerReferences": [owner],
    }
