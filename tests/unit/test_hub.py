"""Who is told what, and when."""

import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tenantconfig.model import Scope, Snapshot, Version
from tenantconfig.watch.history import VERSIONS
from tenantconfig.watch.hub import Hub, Reply, Say, Watcher
from tenantconfig.watch.standing import AbsentReason, Stale, StaleReason, Standing

SCOPE, OTHER = Scope("acme"), Scope("acme", "prod")
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def version(revision: int) -> Version:
    return Version(revision, f"digest-{revision}")


def serving(revision: int, scope: Scope = SCOPE, stale: Stale | None = None) -> Standing:
    snapshot = Snapshot(scope, version(revision), {"revision": str(revision)})
    return Standing(snapshot=snapshot, version=snapshot.version, stale=stale)


def withdrawn(revision: int) -> Standing:
    return Standing(absent=AbsentReason.WITHDRAWN, version=version(revision), since=0.0)


class Stream:
    """A watcher that counts how often it is woken."""

    def __init__(self, hub: Hub) -> None:
        self.woken = 0
        self.watcher = Watcher(hub, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def replies(self) -> list[tuple[Say, Scope, int]]:
        """All that is owed, with the revision of each."""
        found = []
        while reply := self.watcher.next_reply():
            found.append((reply.say, reply.scope, _revision(reply)))
        return found


def _revision(reply: Reply) -> int:
    said = reply.snapshot.version if reply.snapshot else reply.version
    return said.revision if said else 0


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.sync()
    return hub


@pytest.fixture
def stream(hub: Hub) -> Stream:
    return Stream(hub)


def test_a_subscriber_gets_the_snapshot_and_each_change_once(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(5))
    stream.watcher.subscribe(SCOPE)
    assert stream.replies() == [(Say.SNAPSHOT, SCOPE, 5)]
    assert stream.replies() == []
    hub.settle(SCOPE, serving(6))
    assert stream.replies() == [(Say.DELTA, SCOPE, 6)]


def entries(revision: int, **texts: str) -> Standing:
    snapshot = Snapshot(SCOPE, version(revision), texts)
    return Standing(snapshot=snapshot, version=snapshot.version)


def keys(stream: Stream) -> tuple[Say, int, set[str]]:
    """The one reply that is owed: its kind, the revision of its base, and the keys that it tells of."""
    reply = stream.watcher.next_reply()
    assert reply
    assert stream.watcher.next_reply() is None
    return reply.say, reply.base.revision if reply.base else 0, set(reply.keys)


def test_a_difference_tells_of_the_keys_that_changed_since_its_base(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, entries(1, same="1", changed="1", removed="1"))
    stream.watcher.subscribe(SCOPE)
    assert keys(stream) == (Say.SNAPSHOT, 0, set())
    hub.settle(SCOPE, entries(2, same="1", changed="2", added="1"))
    assert keys(stream) == (Say.DELTA, 1, {"changed", "removed", "added"})


def test_a_slow_reader_gets_one_difference_over_all_that_it_missed(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, entries(1, a="1", b="1", c="1"))
    stream.watcher.subscribe(SCOPE)
    stream.replies()
    hub.settle(SCOPE, entries(2, a="2", b="1", c="1"))
    hub.settle(SCOPE, entries(3, a="2", b="2", c="1"))
    assert keys(stream) == (Say.DELTA, 1, {"a", "b"})


def test_who_comes_back_with_a_base_that_is_held_gets_the_difference_and_else_the_whole(hub: Hub) -> None:
    for revision in range(1, VERSIONS + 3):
        hub.settle(SCOPE, serving(revision))
    for known, say in [
        (version(2), Say.DELTA),
        (version(1), Say.SNAPSHOT),
        (Version(2, "another"), Say.SNAPSHOT),
        (None, Say.SNAPSHOT),
    ]:
        stream = Stream(hub)
        stream.watcher.subscribe(SCOPE, known)
        assert [each[0] for each in stream.replies()] == [say], known


def test_after_a_refusal_the_next_message_is_whole_and_then_differences_again(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(1))
    stream.watcher.subscribe(SCOPE)
    stream.replies()
    stream.watcher.acknowledge(SCOPE, version(1), "not valid here")
    hub.settle(SCOPE, serving(2))
    assert stream.replies() == [(Say.SNAPSHOT, SCOPE, 2)]
    hub.settle(SCOPE, serving(3))
    assert stream.replies() == [(Say.DELTA, SCOPE, 3)]


def test_what_was_withdrawn_in_between_is_told_whole(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(1))
    hub.settle(SCOPE, withdrawn(1))
    hub.settle(SCOPE, serving(2))
    stream.watcher.subscribe(SCOPE, version(1))
    assert stream.replies() == [(Say.SNAPSHOT, SCOPE, 2)]


def test_a_slow_reader_skips_versions_and_is_woken_once(hub: Hub, stream: Stream) -> None:
    stream.watcher.subscribe(SCOPE)
    stream.replies()
    stream.woken = 0
    for revision in range(1, 100):
        hub.settle(SCOPE, serving(revision))
    assert stream.woken == 1
    assert stream.replies() == [(Say.SNAPSHOT, SCOPE, 99)]


def test_what_is_owed_is_paid_in_order(hub: Hub, stream: Stream) -> None:
    scopes = [Scope("acme", f"e{number}") for number in range(5)]
    for scope in scopes:
        hub.settle(scope, serving(1, scope))
        stream.watcher.subscribe(scope)
    assert [scope for _, scope, _ in stream.replies()] == scopes


def test_one_change_is_one_reply_for_all_who_hold_the_same(hub: Hub) -> None:
    streams = [Stream(hub) for _ in range(3)]
    hub.settle(SCOPE, serving(5))
    for each in streams:
        each.watcher.subscribe(SCOPE)
    first, second, third = (each.watcher.next_reply() for each in streams)
    assert first
    assert first is second is third
    hub.settle(SCOPE, serving(6))
    newer, same, _ = (each.watcher.next_reply() for each in streams)
    assert newer
    assert newer.say is Say.DELTA
    assert newer is same is not first


def test_replies_are_kept_for_bases_that_are_held_alone(hub: Hub) -> None:
    hub.settle(SCOPE, serving(5))
    whole = hub.reply(SCOPE, None)
    stranger = Version(4, "f" * 64)
    for number in range(100):
        assert hub.reply(SCOPE, replace(stranger, digest=f"{number:064}"), whole=False) is whole
    (slot,) = hub._slots.values()
    assert list(slot._replies.values()) == [whole]


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (version(5), [(Say.CURRENT, SCOPE, 5)]),
        (version(4), [(Say.SNAPSHOT, SCOPE, 5)]),
        (Version(5, "other"), [(Say.SNAPSHOT, SCOPE, 5)]),
        (version(6), []),
    ],
    ids=["equal", "older", "same revision, other digest", "newer: silence"],
)
def test_resuming_from_what_is_known(
    hub: Hub, stream: Stream, known: Version, expected: list[tuple[Say, Scope, int]]
) -> None:
    hub.settle(SCOPE, serving(5))
    stream.watcher.subscribe(SCOPE, known)
    assert stream.replies() == expected


def test_behind_is_stale_until_caught_up(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(5))
    stream.watcher.subscribe(SCOPE, version(7))
    assert stream.replies() == []
    assert stream.watcher.stale() == [(SCOPE, Stale(StaleReason.BEHIND))]
    hub.settle(SCOPE, serving(6))
    assert stream.replies() == []
    hub.settle(SCOPE, serving(7))
    assert stream.replies() == [(Say.CURRENT, SCOPE, 7)]
    assert stream.watcher.stale() == []


def test_an_old_withdrawal_is_not_told_to_who_knows_a_newer_version(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, withdrawn(5))
    stream.watcher.subscribe(SCOPE, version(9))
    assert stream.replies() == []
    assert stream.watcher.stale() == [(SCOPE, Stale(StaleReason.BEHIND))]


def test_absent_and_back(hub: Hub, stream: Stream) -> None:
    stream.watcher.subscribe(SCOPE)
    assert stream.replies() == [(Say.ABSENT, SCOPE, 0)]
    hub.settle(SCOPE, serving(5))
    hub.settle(SCOPE, withdrawn(5))
    reply = stream.watcher.next_reply()
    assert reply
    assert reply.absent is AbsentReason.WITHDRAWN
    hub.settle(SCOPE, serving(6))
    assert stream.replies() == [(Say.SNAPSHOT, SCOPE, 6)]


def test_subscribing_again_is_answered_again(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(5))
    stream.watcher.subscribe(SCOPE)
    stream.replies()
    stream.watcher.subscribe(SCOPE)
    assert stream.replies() == [(Say.SNAPSHOT, SCOPE, 5)]
    stream.watcher.subscribe(SCOPE, version(5))
    assert stream.replies() == [(Say.CURRENT, SCOPE, 5)]


@pytest.mark.parametrize("between", [False, True], ids=["subscribe", "unsubscribe in between"])
def test_what_a_stream_repeats_without_reading_takes_no_room(hub: Hub, stream: Stream, between: bool) -> None:
    def ask(times: int) -> None:
        for _ in range(times):
            for scope in (SCOPE, OTHER):
                if between:
                    stream.watcher.unsubscribe(scope)
                stream.watcher.subscribe(scope)

    ask(10)
    tracemalloc.start()
    try:
        ask(1000)
        assert tracemalloc.get_traced_memory()[0] < 5000  # bytes
    finally:
        tracemalloc.stop()
    assert [scope for _, scope, _ in stream.replies()] == [SCOPE, OTHER]


def test_subscribing_again_forgets_what_was_said_of_versions(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(5))
    stream.watcher.subscribe(SCOPE, subscriber="one")
    stream.replies()
    stream.watcher.acknowledge(SCOPE, version(5), "")
    stream.watcher.acknowledge(SCOPE, version(5), "not valid")
    stream.watcher.subscribe(SCOPE, version(4), "two")
    now = stream.watcher.subscriptions[SCOPE]
    assert (now.known, now.subscriber, now.said) == (version(4), "two", None)
    assert (now.acknowledged, now.error, now.whole) == (None, "", False)


def test_after_unsubscribe_nothing_comes_and_nothing_is_kept(hub: Hub, stream: Stream) -> None:
    stream.watcher.subscribe(SCOPE)
    stream.watcher.unsubscribe(SCOPE)
    assert stream.replies() == []
    assert not hub._slots
    hub.settle(SCOPE, serving(5))
    assert stream.replies() == []


def test_closing_lets_go_of_all_scopes(hub: Hub, stream: Stream) -> None:
    for scope in (SCOPE, OTHER):
        stream.watcher.subscribe(scope)
    stream.watcher.close()
    assert not hub._slots


def test_a_scope_that_only_became_stale_is_not_sent_again(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(5))
    stream.watcher.subscribe(SCOPE)
    stream.replies()
    stale = Stale(StaleReason.DISAPPEARED)
    hub.settle(SCOPE, serving(5, stale=stale))
    assert stream.replies() == []
    assert stream.watcher.stale() == [(SCOPE, stale)]


def test_the_tick_never_goes_back(hub: Hub) -> None:
    ticks = []
    hub.on_freshness = lambda: ticks.append(hub.fresh_as_of)
    hub.tick(TIME, {SCOPE: Stale("Throttled")})
    hub.tick(TIME - timedelta(seconds=1), {})
    assert ticks == [TIME]
    assert hub.stale(SCOPE) == Stale("Throttled")
    hub.tick(TIME + timedelta(seconds=1), {})
    assert hub.stale(SCOPE) is None


def test_only_the_stale_scopes_of_the_stream_are_listed(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(5))
    hub.settle(OTHER, serving(5, OTHER))
    stream.watcher.subscribe(SCOPE)
    hub.tick(TIME, {OTHER: Stale("Throttled")})
    assert stream.watcher.stale() == []
    hub.tick(TIME, {OTHER: Stale("Throttled"), SCOPE: Stale("Throttled", TIME)})
    assert stream.watcher.stale() == [(SCOPE, Stale("Throttled", TIME))]


def test_a_refused_version_makes_the_next_message_whole(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(5))
    stream.watcher.subscribe(SCOPE)
    stream.replies()
    subscription = stream.watcher.subscriptions[SCOPE]
    stream.watcher.acknowledge(SCOPE, version(5), "not valid")
    assert (subscription.whole, subscription.error, subscription.acknowledged) == (True, "not valid", None)
    hub.settle(SCOPE, serving(6))
    assert stream.replies() == [(Say.SNAPSHOT, SCOPE, 6)]
    stream.watcher.acknowledge(SCOPE, version(6), "")
    assert (subscription.whole, subscription.error, subscription.acknowledged) == (False, "", version(6))


def test_an_acknowledgement_of_a_scope_that_is_not_watched_is_ignored(stream: Stream) -> None:
    stream.watcher.acknowledge(SCOPE, version(5), "")
    assert stream.watcher.subscriptions == {}


def test_a_watched_scope_is_not_forgotten(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, withdrawn(5))
    stream.watcher.subscribe(SCOPE)
    assert not hub.forget(SCOPE)
    stream.watcher.close()
    assert hub.forget(SCOPE)
    assert hub.standing(SCOPE).absent is AbsentReason.NOT_FOUND


def test_a_version_that_is_refused_again_and_again_is_news_once(hub: Hub, stream: Stream) -> None:
    hub.settle(SCOPE, serving(5))
    stream.watcher.subscribe(SCOPE)
    stream.replies()
    told = [stream.watcher.acknowledge(SCOPE, version(5), error) for error in ("bad", "worse", "", "bad")]
    assert told == [True, False, False, False]
    hub.settle(SCOPE, serving(6))
    stream.replies()
    assert stream.watcher.acknowledge(SCOPE, version(6), "bad")
