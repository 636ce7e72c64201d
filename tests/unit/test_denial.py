"""A denial is decided by the claims alone."""

from collections import Counter
from typing import Any

import grpc
import pytest

from tenantconfig.model import Claims, NamespaceRights, Scope
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.service.quota import Quota, peer_of
from tenantconfig.watch.service.stream import Stream
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb

FOREIGN = Scope("globex", "prod")


class Untouchable(Hub):
    """Whoever looks anything up fails."""

    def __init__(self) -> None:
        """Holds nothing."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"{name} was looked up")


@pytest.mark.parametrize("first", [True, False])
async def test_a_denial_looks_nothing_up(first: bool) -> None:
    """Neither text nor time can tell whether the scope is there: it takes the same steps."""
    claims = Claims("cluster", "someone", 2.0**40, frozenset("*"), namespace="acme")
    rights = NamespaceRights(reads=frozenset({"acme"}))
    peer, quota = peer_of("ipv4:10.0.0.1:4242", claims), Quota("subscriptions", 9, 9)
    stream = Stream(Untouchable(), claims, lambda namespace: rights, peer, quota, Counter())
    stream._subscribed = not first
    stream.take(pb.WatchRequest(subscribe=pb.Subscribe(scope=codec.write_scope(FOREIGN))))
    reason = "not permitted to read scope globex/prod/_"
    if first:
        assert stream.end
        assert stream.end[0] is grpc.StatusCode.PERMISSION_DENIED
        assert stream.end[1].startswith(reason)
    else:
        message = stream.next_message()
        assert message
        assert pb.WatchResponse.FromString(message[1]).denied.reason.startswith(reason)
