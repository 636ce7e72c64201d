"""What a peer may have of what a server has for all."""

from dataclasses import replace

import pytest

from tenantconfig.model import Claims
from tenantconfig.watch.service.quota import Limits, Peer, Quota, peer_of

A, B, C = (Peer("ipv4:10.0.0.1", "login", name, group=name) for name in "abc")
SOMEONE = Claims("login", "someone", 0.0, frozenset("*"), tenants=frozenset({"acme"}))


def test_a_peer_has_its_share_and_no_more_and_others_have_the_rest() -> None:
    quota = Quota("streams", total=5, each=3)
    assert [quota.take(A) for _ in range(3)] == ["", "", ""]
    assert quota.take(A) == "a client has at most 3 streams here"
    assert [quota.take(B) for _ in range(2)] == ["", ""]
    assert quota.take(C) == "the server has 5 streams, and no more"
    assert quota.taken == 5


def test_what_is_given_back_is_there_for_anyone() -> None:
    quota = Quota("streams", total=2, each=2)
    assert (quota.take(A), quota.take(B)) == ("", "")
    quota.give(A)
    quota.give(B, 1)
    quota.give(C, 0)
    assert quota.taken == 0
    assert (quota.take(B), quota.take(C)) == ("", "")


def test_peers_with_the_same_rights_leave_half_to_others_however_many_they_are() -> None:
    quota = Quota("streams", total=6, each=2)
    pods = [replace(A, address=f"ipv4:10.0.0.{number}") for number in range(9)]
    assert [quota.take(pod) for pod in pods[:3]] == ["", "", ""]
    assert quota.take(pods[3]) == "clients with the same rights have at most 3 streams here"
    assert [quota.take(B), quota.take(B), quota.take(C)] == ["", "", ""]
    quota.give(pods[0])
    assert quota.take(pods[3]) == ""


def test_no_peer_alone_keeps_the_others_out() -> None:
    limits = Limits()
    assert limits.streams_per_peer * 4 == limits.streams
    assert (limits.subscriptions, limits.subscriptions_per_peer) == (200_000, 50_000)


@pytest.mark.parametrize("address", ["ipv4:10.0.0.1:4242", "ipv6:%5B::1%5D:4242", "unix:"])
def test_connections_of_one_bearer_at_one_address_are_one_peer(address: str) -> None:
    peer = peer_of(address, SOMEONE)
    assert peer == peer_of(address.replace("4242", "99"), SOMEONE)
    assert peer != peer_of(address, replace(SOMEONE, subject="another"))
    assert peer != peer_of(address, replace(SOMEONE, issuer="cluster"))
    assert peer != peer_of("ipv4:10.0.0.2:4242", SOMEONE)


def test_the_same_rights_are_those_of_a_namespace_or_of_a_tenant_by_one_issuer() -> None:
    group = peer_of("ipv4:10.0.0.1:1", SOMEONE).group
    assert group == peer_of("ipv4:10.0.0.2:1", replace(SOMEONE, subject="another")).group
    assert group != peer_of("ipv4:10.0.0.1:1", replace(SOMEONE, tenants=frozenset({"globex"}))).group
    assert group != peer_of("ipv4:10.0.0.1:1", replace(SOMEONE, issuer="other")).group
    pod = replace(SOMEONE, tenants=frozenset(), namespace="acme")
    assert peer_of("ipv4:10.0.0.1:1", pod).group != peer_of("ipv4:10.0.0.1:1", replace(pod, namespace="globex")).group
