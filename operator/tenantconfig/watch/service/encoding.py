"""What the hub says, as bytes for the wire. Pure."""

from datetime import datetime
from functools import lru_cache

from tenantconfig.model import Scope, Version
from tenantconfig.watch.hub import Hub, Reply, Say, Watcher
from tenantconfig.watch.standing import AbsentReason, Stale
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb

ABSENT_REASONS = {
    AbsentReason.WITHDRAWN: pb.ABSENT_REASON_WITHDRAWN,
    AbsentReason.NOT_FOUND: pb.ABSENT_REASON_NOT_FOUND,
}


def snapshot_response(hub: Hub, scope: Scope, known: Version | None) -> bytes:
    """The answer to GetSnapshot."""
    response, whole = pb.GetSnapshotResponse(), b""
    reply = hub.reply(scope, known)
    if reply and reply.snapshot:
        whole = encode_reply(reply)  # a snapshot is field 1 here and in a WatchResponse: the same bytes for both
    elif reply and reply.say is Say.CURRENT:
        response.current.CopyFrom(_current(reply))
    elif reply:
        response.absent.CopyFrom(_absent(reply))
    stale = hub.stale(scope, known)
    if stale:
        response.stale.CopyFrom(_stale_scope(scope, stale))
    return whole + response.SerializeToString()


def encode_reply(reply: Reply) -> bytes:
    """A reply as it goes over the wire, made once."""
    if not reply.encoded:
        reply.encoded = _response(reply).SerializeToString()
    return reply.encoded


def _response(reply: Reply) -> pb.WatchResponse:
    if reply.snapshot and reply.base:
        return pb.WatchResponse(delta=codec.write_delta(reply.snapshot, reply.base, reply.keys))
    if reply.snapshot:
        return pb.WatchResponse(snapshot=codec.write_snapshot(reply.snapshot))
    if reply.say is Say.CURRENT:
        return pb.WatchResponse(current=_current(reply))
    return pb.WatchResponse(absent=_absent(reply))


def encode_denied(scope: Scope, reason: str) -> bytes:
    return pb.WatchResponse(denied=pb.Denied(scope=codec.write_scope(scope), reason=reason)).SerializeToString()


def encode_heartbeat(hub: Hub, watcher: Watcher) -> bytes:
    return _heartbeat(hub.fresh_as_of, tuple(watcher.stale()))


@lru_cache(maxsize=8)  # most streams are told the same
def _heartbeat(fresh_as_of: datetime | None, stale: tuple[tuple[Scope, Stale], ...]) -> bytes:
    heartbeat = pb.Heartbeat(stale=[_stale_scope(*each) for each in stale])
    if fresh_as_of:
        heartbeat.fresh_as_of.CopyFrom(codec.write_time(fresh_as_of))
    return pb.WatchResponse(heartbeat=heartbeat).SerializeToString()


def _current(reply: Reply) -> pb.Current:
    version = codec.write_version(reply.version) if reply.version else None
    return pb.Current(scope=codec.write_scope(reply.scope), version=version)


def _absent(reply: Reply) -> pb.Absent:
    reason = ABSENT_REASONS[reply.absent] if reply.absent else pb.ABSENT_REASON_NOT_FOUND
    return pb.Absent(scope=codec.write_scope(reply.scope), reason=reason)


def _stale_scope(scope: Scope, stale: Stale) -> pb.StaleScope:
    message = pb.StaleScope(scope=codec.write_scope(scope), reason=stale.reason)
    if stale.verified_as_of:
        message.verified_as_of.CopyFrom(codec.write_time(stale.verified_as_of))
    return message
