"""What a peer may have of what a server has for all."""

import pytest

from tenantconfig.watch.service.quota import Limits, Quota, peer_of


def test_a_peer_has_its_share_and_no_more_and_others_have_the_rest() -> None:
    quota = Quota("streams", total=5, each=3)
    assert [quota.take("a") for _ in range(3)] == ["", "", ""]
    assert quota.take("a") == "a client has at most 3 streams here"
    assert [quota.take("b") for _ in range(2)] == ["", ""]
    assert quota.take("b") == "the server has 5 streams, and no more"
    assert quota.taken == 5


def test_what_is_given_back_is_there_for_anyone() -> None:
    quota = Quota("streams", total=2, each=2)
    assert (quota.take("a"), quota.take("a")) == ("", "")
    quota.give("a", 2)
    quota.give("b", 0)
    assert quota.taken == 0
    assert (quota.take("b"), quota.take("a")) == ("", "")


def test_no_peer_alone_keeps_the_others_out() -> None:
    limits = Limits()
    assert limits.streams_per_peer * 4 == limits.streams
    assert (limits.subscriptions, limits.subscriptions_per_peer) == (200_000, 50_000)


@pytest.mark.parametrize("address", ["ipv4:10.0.0.1:4242", "ipv6:%5B::1%5D:4242", "unix:"])
def test_connections_of_one_bearer_at_one_address_are_one_peer(address: str) -> None:
    peer = peer_of(address, "login", "someone")
    assert peer == peer_of(address.replace("4242", "99"), "login", "someone")
    assert peer != peer_of(address, "login", "another")
    assert peer != peer_of(address, "cluster", "someone")
    assert peer != peer_of("ipv4:10.0.0.2:4242", "login", "someone")
