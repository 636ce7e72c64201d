"""From what the API server sends to frozen values, and back for the status. Pure.

The CRD refuses most mistakes; what it cannot see (an entry stored as `value: null`
by server-side apply, a number that no JSON reader agrees on) becomes the entry's
`problem` here, so that the rest of the resource can still be judged and deleted.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import rfc8785

from tenantconfig.model import (
    ANNOTATION_ADOPT,
    GROUP,
    Condition,
    ConfigStore,
    Entry,
    EntryStatus,
    Format,
    Location,
    Policy,
    ResourceRef,
    Scope,
    SecretKeyRef,
    State,
    Status,
    TenantConfig,
    Value,
    Version,
)

FINALIZER = f"{GROUP}/finalizer"
ORPHAN = "orphan"  # the garbage collector's own, while it takes the owner off the dependents

Body = Mapping[str, Any]


def tenant_config(body: Body) -> TenantConfig:
    """Read a TenantConfig; never fails on what the CRD lets through."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    finalizers = metadata.get("finalizers") or ()
    target = spec.get("target") or {}
    return TenantConfig(
        ref=ResourceRef(metadata["namespace"], metadata["name"]),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata["generation"],
        created=metadata.get("creationTimestamp", ""),
        scope=scope(body),
        entries=tuple(entry(each) for each in spec.get("entries") or ()),
        configmap_name=target.get("configMapName") or metadata["name"],
        secret_name=target.get("secretName") or metadata["name"],
        retain=spec.get("deletionPolicy") == "Retain",
        suspend=bool(spec.get("suspend")),
        deleting="deletionTimestamp" in metadata,
        orphaning=ORPHAN in finalizers,
        finalized=FINALIZER in finalizers,
        adopt=(metadata.get("annotations") or {}).get(ANNOTATION_ADOPT, ""),
        status=status(body.get("status") or {}),
    )


def scope(body: Body) -> Scope:
    """The scope of a TenantConfig."""
    return Scope(body["spec"]["tenantId"], body["spec"].get("environment", ""), body["spec"].get("service", ""))


def entry(body: Body) -> Entry:
    """Read one element of spec.entries."""
    key, policy = body["key"], Policy(body.get("policy") or Policy.ENFORCE)
    source, value = (body.get("valueFrom") or {}).get("secretKeyRef"), body.get("value")
    if policy is Policy.OBSERVE:
        told = source or value is not None
        return Entry(key, policy, problem="is observed: its value comes from the store alone" if told else "")
    if source and value is not None:
        return Entry(key, policy, problem="has a value and a valueFrom: keep one of them")
    if source:
        return Entry(key, policy, source=SecretKeyRef(source["name"], source["key"]))
    if value is None:
        return Entry(key, policy, problem="has no value (null is none): give it a value or a valueFrom")
    try:
        return Entry(key, policy, value=stored(value))
    except rfc8785.CanonicalizationError:
        return Entry(key, policy, problem="has a number that not every JSON reader keeps exactly: quote it")


def stored(value: Any) -> Value:
    """Text as it is; anything else as RFC 8785 JSON.

    Raises rfc8785.CanonicalizationError for integers beyond 2^53 and the like.
    """
    if isinstance(value, str):
        return Value(value)
    return Value(rfc8785.dumps(value).decode(), Format.JSON)


def status(body: Body) -> Status:
    """Read a TenantConfig's status; absent fields are empty."""
    version = Version(body["revision"], body["digest"]) if body.get("revision") and body.get("digest") else None
    return Status(
        observed_generation=body.get("observedGeneration", -1),
        conditions=conditions(body.get("conditions") or ()),
        version=version,
        entries=tuple(entry_status(each) for each in body.get("entries") or ()),
        locations=tuple(body.get("locations") or ()),
        inputs=body.get("inputs", ""),
    )


def entry_status(body: Body) -> EntryStatus:
    """Read one element of status.entries."""
    return EntryStatus(
        key=body["key"],
        store=body.get("store", ""),
        location=body.get("location", ""),
        policy=Policy(body.get("policy") or Policy.ENFORCE),
        state=State(body.get("state") or State.PENDING),
        version=body.get("version", ""),
        message=body.get("message", ""),
    )


def conditions(bodies: Iterable[Body]) -> tuple[Condition, ...]:
    """Read metav1.Conditions."""
    return tuple(
        Condition(
            type=each["type"],
            status=each["status"] == "True",
            reason=each["reason"],
            message=each["message"],
            observed_generation=each.get("observedGeneration", 0),
            last_transition_time=each["lastTransitionTime"],
        )
        for each in bodies
    )


def status_body(value: Status) -> dict[str, Any]:
    """The whole status as a merge patch: what is not there is null, so that it goes."""
    return {
        "observedGeneration": value.observed_generation,
        "conditions": conditions_body(value.conditions),
        "revision": value.version.revision if value.version else None,
        "digest": value.version.digest if value.version else None,
        "entries": [entry_status_body(each) for each in value.entries],
        "locations": list(value.locations),
        "inputs": value.inputs or None,
    }


def entry_status_body(value: EntryStatus) -> dict[str, Any]:
    """One element of status.entries; empty fields are left out."""
    body = {
        "key": value.key,
        "store": value.store,
        "location": value.location,
        "policy": value.policy.value,
        "state": value.state.value,
        "version": value.version,
        "message": value.message,
    }
    return {name: field for name, field in body.items() if field}


def conditions_body(values: Iterable[Condition]) -> list[dict[str, Any]]:
    """metav1.Conditions as JSON."""
    return [
        {
            "type": each.type,
            "status": "True" if each.status else "False",
            "reason": each.reason,
            "message": each.message,
            "observedGeneration": each.observed_generation,
            "lastTransitionTime": each.last_transition_time,
        }
        for each in values
    ]


PLACE_FIELDS = ("tableName", "pathPrefix", "plugin", "config", "region", "assumeRoleArn", "sessionTagKey")
KINDS = ("dynamodb", "ssm", "plugin")


def config_store(body: Body, region: str = "") -> ConfigStore:
    """Read a ConfigStore; `region` is where an AWS place is that names none."""
    metadata, spec, state = body["metadata"], body["spec"], body.get("status") or {}
    kind = next(each for each in KINDS if each in spec)
    fields = _in_region(kind, spec[kind], region)
    if kind == "plugin":
        fields["plugin"] = fields.pop("name")
    return ConfigStore(
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata["generation"],
        created=metadata.get("creationTimestamp", ""),
        prefixes=tuple(spec["prefixes"]),
        kind=kind,
        place=_pairs(fields, PLACE_FIELDS),
        options=_pairs(fields, [name for name in fields if name not in PLACE_FIELDS]),
        locations=tuple(location(each, region) for each in state.get("locations") or ()),
        observed_generation=state.get("observedGeneration", -1),
        conditions=conditions(state.get("conditions") or ()),
        deleting="deletionTimestamp" in metadata,
        adopt=(metadata.get("annotations") or {}).get(ANNOTATION_ADOPT, ""),
    )


def location(body: Body, region: str = "") -> Location:
    """Read one element of a ConfigStore's status.locations."""
    kind = "dynamodb" if "tableName" in body else "ssm" if "pathPrefix" in body else "plugin"
    return Location(body["id"], kind, _pairs(_in_region(kind, body, region), PLACE_FIELDS))


def location_body(value: Location) -> dict[str, str]:
    """The inverse of `location`."""
    return {"id": value.id, **dict(value.place)}


def _in_region(kind: str, fields: Body, region: str) -> dict[str, Any]:
    """`fields` with a region, so that a place stays where it is when the controller's own region changes."""
    return {**({"region": region} if region and kind != "plugin" else {}), **fields}


def _pairs(fields: Body, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, _text(fields[name])) for name in names if name in fields))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else rfc8785.dumps(value).decode()
