"""What the edge makes of the hub's words."""

from tenantconfig.model import Scope, Snapshot, Version, digest
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.service.encoding import encode_reply, snapshot_response
from tenantconfig.watch.standing import Stale, StaleReason, Standing
from tenantconfig.watch.v1 import watch_pb2 as pb

SCOPE = Scope("acme", "prod")
ENTRIES = {"key": "value", "other": "ü"}


def test_a_snapshot_is_made_once_for_streams_and_for_single_answers() -> None:
    hub = Hub()
    version = Version(5, digest(ENTRIES))
    stale = Stale(StaleReason.BEHIND)
    hub.settle(SCOPE, Standing(Snapshot(SCOPE, version, ENTRIES), version=version, stale=stale))
    answer = snapshot_response(hub, SCOPE, None)
    reply = hub.reply(SCOPE, None)
    assert reply
    assert reply.published
    assert answer.startswith(reply.published.encoded[None])
    assert encode_reply(reply) is reply.published.encoded[None]

    response = pb.GetSnapshotResponse.FromString(answer)
    assert dict(response.snapshot.entries) == ENTRIES
    assert (response.snapshot.version.revision, response.snapshot.version.digest) == (5, version.digest)
    assert response.stale.reason == stale.reason
    assert pb.WatchResponse.FromString(encode_reply(reply)).snapshot == response.snapshot
