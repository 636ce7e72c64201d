"""Between the messages of the protocol and the values of the model."""

import re
from collections.abc import Collection
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from tenantconfig import model
from tenantconfig.watch.v1 import watch_pb2 as pb

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Malformed(Exception):
    """A message that no well-behaved client sends; the text names the field."""


def read_scope(message: pb.Scope) -> model.Scope:
    """The scope, if it can be one. Raises Malformed."""
    if not message.tenant:
        raise Malformed("scope.tenant: is required")
    parts = (("tenant", message.tenant), ("environment", message.environment), ("service", message.service))
    for field, part in parts:
        if part and not _DNS_LABEL.fullmatch(part):
            raise Malformed(f"scope.{field}: is not a DNS label (a-z, 0-9 and - between them, at most 63)")
    return model.Scope(message.tenant, message.environment, message.service)


def write_scope(scope: model.Scope) -> pb.Scope:
    return pb.Scope(tenant=scope.tenant, environment=scope.environment, service=scope.service)


def read_version(message: pb.Version) -> model.Version | None:
    """None when the message says nothing."""
    return model.Version(message.revision, message.digest) if message.revision > 0 else None


def write_version(version: model.Version) -> pb.Version:
    return pb.Version(revision=version.revision, digest=version.digest)


def read_snapshot(message: pb.Snapshot) -> model.Snapshot:
    version = model.Version(message.version.revision, message.version.digest)
    return model.Snapshot(scope_of(message.scope), version, dict(message.entries))


def write_snapshot(snapshot: model.Snapshot) -> pb.Snapshot:
    return pb.Snapshot(
        scope=write_scope(snapshot.scope), version=write_version(snapshot.version), entries=dict(snapshot.entries)
    )


def write_delta(snapshot: model.Snapshot, base: model.Version, keys: Collection[str]) -> pb.Delta:
    """How to come from `base` to the snapshot, given the keys in which they may differ."""
    return pb.Delta(
        scope=write_scope(snapshot.scope),
        base=write_version(base),
        version=write_version(snapshot.version),
        changed={key: snapshot.entries[key] for key in keys if key in snapshot.entries},
        removed=sorted(key for key in keys if key not in snapshot.entries),
    )


def apply_delta(message: pb.Delta, base: model.Snapshot) -> model.Snapshot:
    """What `base` becomes by a difference; whether it is what the server means, its digest tells."""
    version = model.Version(message.version.revision, message.version.digest)
    entries = {**base.entries, **message.changed}
    for key in message.removed:
        entries.pop(key, None)
    return model.Snapshot(base.scope, version, entries)


def scope_of(message: pb.Scope) -> model.Scope:
    """The scope as a server names it."""
    return model.Scope(message.tenant, message.environment, message.service)


def read_time(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)


def write_time(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message
