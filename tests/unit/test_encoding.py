"""What the edge makes of the hub's words."""

from datetime import UTC, datetime, timedelta

from tenantconfig.model import Scope, Snapshot, Version, digest
from tenantconfig.watch.hub import Hub, Watcher
from tenantconfig.watch.service.encoding import encode_heartbeat, encode_reply, snapshot_response
from tenantconfig.watch.standing import Stale, StaleReason, Standing
from tenantconfig.watch.v1 import watch_pb2 as pb

SCOPE = Scope("acme", "prod")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ENTRIES = {"key": "value", "other": "ü"}


def test_a_snapshot_is_made_once_for_streams_and_for_single_answers() -> None:
    hub = Hub()
    version = Version(5, digest(ENTRIES))
    stale = Stale(StaleReason.BEHIND)
    hub.settle(SCOPE, Standing(Snapshot(SCOPE, version, ENTRIES), version=version, stale=stale))
    answer = snapshot_response(hub, SCOPE, None)
    reply = hub.reply(SCOPE, None)
    assert reply
    assert reply.encoded
    assert answer.startswith(reply.encoded)
    assert encode_reply(reply) is reply.encoded

    response = pb.GetSnapshotResponse.FromString(answer)
    assert dict(response.snapshot.entries) == ENTRIES
    assert (response.snapshot.version.revision, response.snapshot.version.digest) == (5, version.digest)
    assert response.stale.reason == stale.reason
    assert pb.WatchResponse.FromString(encode_reply(reply)).snapshot == response.snapshot


def test_a_heartbeat_is_made_once_for_streams_that_are_told_the_same() -> None:
    hub = Hub()
    one, other, third = (Watcher(hub, lambda: None) for _ in range(3))
    for watcher in (one, other):
        watcher.subscribe(SCOPE)
    hub.tick(NOON, {})
    fresh = encode_heartbeat(hub, one)
    assert encode_heartbeat(hub, other) is fresh
    stale = Stale("StoreFailed", NOON)
    hub.tick(NOON + timedelta(seconds=2), {SCOPE: stale})
    told = pb.WatchResponse.FromString(encode_heartbeat(hub, one)).heartbeat
    assert [each.reason for each in told.stale] == ["StoreFailed"]
    assert told.fresh_as_of.ToDatetime(UTC) == NOON + timedelta(seconds=2)
    assert encode_heartbeat(hub, other) is encode_heartbeat(hub, one)
    assert not pb.WatchResponse.FromString(encode_heartbeat(hub, third)).heartbeat.stale
