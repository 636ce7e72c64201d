"""Read and write projected ConfigMaps and Secrets, and the tick."""

import base64
from collections.abc import Mapping
from typing import Any

from tenantconfig.errors import AlreadyExists, Conflict, Missing, Reason, Stalled
from tenantconfig.kubeapi import Body, KubeApi
from tenantconfig.model import (
    ANNOTATION_WITHDRAWN,
    LABEL_MANAGED_BY,
    LABEL_TENANT,
    MANAGED_BY,
    TICK_FRESH_AS_OF,
    TICK_NAME,
    TICK_STALE,
)
from tenantconfig.projection import Projected, Write, write_needed

CONFIGMAPS, SECRETS = "configmaps", "secrets"


def path(plural: str, namespace: str, name: str = "") -> str:
    """The API path of a ConfigMap or Secret, or of their collection."""
    return f"/api/v1/namespaces/{namespace}/{plural}/{name}".rstrip("/")


async def read(kube: KubeApi, plural: str, namespace: str, name: str) -> Projected | None:
    """The object as it is; None when there is none."""
    try:
        return projected(await kube.get(path(plural, namespace, name)))
    except Missing:
        return None


def projected(body: Mapping[str, Any]) -> Projected:
    """A ConfigMap or Secret as JSON; a Secret's data is decoded, binaryData of a ConfigMap counts as data."""
    metadata, data = body["metadata"], dict(body.get("data") or {})
    if body.get("kind") == "Secret":
        data = {key: base64.b64decode(text).decode(errors="replace") for key, text in data.items()}
    return Projected(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        owner=controller_uid(body),
        data=data | dict.fromkeys(body.get("binaryData") or {}, ""),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        deleting="deletionTimestamp" in metadata,
    )


def controller_uid(body: Mapping[str, Any]) -> str:
    """The uid of an object's controlling owner; empty when it has none."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


async def bring(kube: KubeApi, plural: str, wanted: Body, actual: Projected | None) -> None:
    """Make the object what is `wanted`, by the least write that does it.

    Raises Stalled (ConfigMapConflict) when the name belongs to someone else, and
    Conflict when it changed since `actual` was read.
    """
    metadata = wanted["metadata"]
    owner = metadata["ownerReferences"][0]["uid"]
    if actual:
        refuse_taken(plural, metadata["name"], actual.owner, owner)
    if actual and actual.deleting:
        raise Conflict(f"{plural} {metadata['name']} is being deleted")
    write = write_needed(wanted, actual)
    collection, name = path(plural, metadata["namespace"]), metadata["name"]
    body = _encoded(wanted)
    if write is Write.CREATE:
        try:
            await kube.post(collection, body)
        except AlreadyExists:
            found = await read(kube, plural, metadata["namespace"], name)
            if found:
                refuse_taken(plural, name, found.owner, owner)
            raise
    elif actual and write is Write.APPLY:
        await kube.apply(f"{collection}/{name}", _with_metadata(body, uid=actual.uid))
    elif actual and write is Write.REPLACE:
        identity = {"uid": actual.uid, "resourceVersion": actual.resource_version}
        await kube.put(f"{collection}/{name}", _with_metadata(body, **identity))


async def withdraw(kube: KubeApi, namespace: str, name: str, actual: Projected) -> None:
    """Mark a ConfigMap as withdrawn, so that nobody takes its deletion for an accident. Gone already: nothing."""
    metadata = {"name": name, "namespace": namespace, "uid": actual.uid, "annotations": {ANNOTATION_WITHDRAWN: "true"}}
    try:
        await kube.merge(path(CONFIGMAPS, namespace, name), {"metadata": metadata})
    except (Missing, Conflict):
        return


async def delete(kube: KubeApi, plural: str, namespace: str, name: str, uid: str) -> None:
    """Delete the object with `uid`. Gone, or another one by now: nothing."""
    try:
        await kube.delete(path(plural, namespace, name), uid)
    except (Missing, Conflict):
        return


async def source(kube: KubeApi, namespace: str, name: str) -> Mapping[str, bytes]:
    """The decoded data of a source Secret. Raises Stalled (SecretNotFound) when there is none."""
    try:
        body = await kube.get(path(SECRETS, namespace, name))
    except Missing:
        raise Stalled(Reason.SECRET_NOT_FOUND, f"there is no Secret {name} in namespace {namespace}") from None
    return {key: base64.b64decode(text) for key, text in (body.get("data") or {}).items()}


async def tick(kube: KubeApi, namespace: str, fresh_as_of: str, stale: str) -> None:
    """Rewrite the tick; `stale` is a JSON list of scopes that could not be verified."""
    metadata = {
        "name": TICK_NAME,
        "namespace": namespace,
        "labels": {LABEL_TENANT: "", LABEL_MANAGED_BY: MANAGED_BY},
    }
    data = {TICK_FRESH_AS_OF: fresh_as_of, TICK_STALE: stale}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    await kube.apply(path(CONFIGMAPS, namespace, TICK_NAME), body)


def refuse_taken(plural: str, name: str, owner: str, ours: str) -> None:
    """Raise Stalled (ConfigMapConflict) when an object's owner is not the resource with the uid `ours`."""
    if owner != ours:
        field = "secretName" if plural == SECRETS else "configMapName"
        raise Stalled(
            Reason.CONFIGMAP_CONFLICT,
            f"{plural} {name} exists and is not this resource's: delete it, "
            f"or choose another name in spec.target.{field}",
        )


def _encoded(body: Body) -> Body:
    if body["kind"] != "Secret":
        return body
    return {**body, "data": {key: base64.b64encode(text.encode()).decode() for key, text in body["data"].items()}}


def _with_metadata(body: Body, **metadata: str) -> Body:
    return {**body, "metadata": {**body["metadata"], **metadata}}
