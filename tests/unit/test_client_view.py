"""What a subscriber makes of what it is told."""

from datetime import UTC, datetime

import pytest

from tenantconfig.client.printing import Printer, stale_note, timestamp
from tenantconfig.client.view import Changed, Denied, Fresh, Gone, StaleScope, Unchanged, View
from tenantconfig.model import Scope, Snapshot, Version, digest
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb

SCOPE = Scope("acme", "prod")
NOW = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def snapshot(revision: int, entries: dict[str, str], said: str = "") -> pb.WatchResponse:
    version = Version(revision, said or digest(entries))
    return pb.WatchResponse(snapshot=codec.write_snapshot(Snapshot(SCOPE, version, entries)))


def absent(reason: pb.AbsentReason.ValueType) -> pb.WatchResponse:
    return pb.WatchResponse(absent=pb.Absent(scope=codec.write_scope(SCOPE), reason=reason))


WITHDRAWN, NOT_FOUND = absent(pb.ABSENT_REASON_WITHDRAWN), absent(pb.ABSENT_REASON_NOT_FOUND)


@pytest.fixture
def view() -> View:
    return View([SCOPE], "me")


def known(view: View) -> int:
    """The revision from which the next stream would resume."""
    (request,) = view.opening()
    return request.subscribe.known.revision


def test_a_snapshot_is_held_acknowledged_and_resumed_from(view: View) -> None:
    assert known(view) == 0
    event, (answer,) = view.take(snapshot(5, {"a": "1"}), NOW)
    assert isinstance(event, Changed)
    assert event.snapshot.entries == {"a": "1"}
    assert (answer.acknowledge.version.revision, answer.acknowledge.error) == (5, "")
    assert known(view) == 5
    assert view.opening()[0].subscribe.subscriber == "me"


def test_a_snapshot_that_is_not_what_the_digest_says_is_refused_and_what_is_held_stays(view: View) -> None:
    view.take(snapshot(5, {"a": "1"}), NOW)
    event, (refusal,) = view.take(snapshot(6, {"a": "2"}, said=digest({"a": "3"})), NOW)
    assert event is None
    assert "digest" in refusal.acknowledge.error
    assert view.held[SCOPE].entries == {"a": "1"}


def delta(base: dict[str, str], entries: dict[str, str], from_revision: int = 5, said: str = "") -> pb.WatchResponse:
    """The difference between two sets of entries, from revision 5 to 6 unless told otherwise."""
    version = Version(6, said or digest(entries))
    before = Snapshot(SCOPE, Version(from_revision, digest(base)), base)
    after = Snapshot(SCOPE, version, entries)
    return pb.WatchResponse(delta=codec.write_delta(after, before.version, base.keys() | entries.keys()))


def test_a_difference_to_what_is_held_leads_to_what_the_server_has(view: View) -> None:
    base, entries = {"a": "1", "b": "1", "c": "1"}, {"a": "2", "c": "1", "d": ""}
    view.take(snapshot(5, base), NOW)
    event, (answer,) = view.take(delta(base, entries), NOW)
    assert isinstance(event, Changed)
    assert event.snapshot == Snapshot(SCOPE, Version(6, digest(entries)), entries)
    assert (answer.acknowledge.version.revision, answer.acknowledge.error) == (6, "")


def test_a_difference_whose_result_is_not_what_the_digest_says_is_asked_for_whole(view: View) -> None:
    view.take(snapshot(5, {"a": "1"}), NOW)
    event, (refusal, again) = view.take(delta({"a": "1"}, {"a": "2"}, said=digest({"a": "3"})), NOW)
    assert event is None
    assert refusal.acknowledge.error
    assert not again.subscribe.HasField("known")
    assert view.held[SCOPE].entries == {"a": "1"}


def test_a_difference_to_something_else_than_what_is_held_is_answered_with_what_is_held(view: View) -> None:
    event, (again,) = view.take(delta({"a": "1"}, {"a": "2"}), NOW)
    assert (event, again.subscribe.HasField("known")) == (None, False)
    view.take(snapshot(4, {"a": "1"}), NOW)
    event, (again,) = view.take(delta({"a": "1"}, {"a": "2"}), NOW)
    assert (event, again.subscribe.known.revision) == (None, 4)


def doubts(view: View) -> list[str]:
    """Why a heartbeat that says nothing of it leaves the scope stale."""
    event, _ = view.take(pb.WatchResponse(heartbeat=pb.Heartbeat(fresh_as_of=codec.write_time(NOW))), NOW)
    assert isinstance(event, Fresh)
    return [stale.reason for stale in event.stale]


def test_a_heartbeat_does_not_vouch_for_what_the_stream_has_not_answered() -> None:
    held = Snapshot(SCOPE, Version(5, digest({"a": "1"})), {"a": "1"})
    version = codec.write_version(held.version)
    answers = {
        "the latest": pb.WatchResponse(current=pb.Current(scope=codec.write_scope(SCOPE), version=version)),
        "the same": snapshot(5, {"a": "1"}),
        "newer": snapshot(6, {"a": "2"}),
        "a difference": delta({"a": "1"}, {"a": "2"}),
    }
    for what, answer in answers.items():
        view = View([SCOPE], held={SCOPE: held})
        assert doubts(view) == ["UNANSWERED"], what
        view.take(answer, NOW)
        assert doubts(view) == [], what
        view.opening()
        assert doubts(view) == ["UNANSWERED"], what


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (snapshot(6, {"a": "refused"}), "REFUSED"),
        (snapshot(6, {"a": "2"}, said="wrong"), "REFUSED"),
        (snapshot(4, {"a": "older"}), "REFUSED"),
        (delta({"a": "something else"}, {"a": "2"}), "UNANSWERED"),
        (NOT_FOUND, "NOT_FOUND"),
    ],
)
def test_a_heartbeat_does_not_vouch_for_something_else_than_what_the_server_has(
    told: pb.WatchResponse, why: str
) -> None:
    view = View([SCOPE], validator=lambda _, entries: "no" if entries["a"] == "refused" else "")
    view.take(snapshot(5, {"a": "1"}), NOW)
    view.take(told, NOW)
    assert doubts(view) == [why]
    view.take(snapshot(7, {"a": "7"}), NOW)
    assert doubts(view) == []
    view.take(told, NOW)
    view.take(WITHDRAWN, NOW)
    assert doubts(view) == [], "there is nothing to be stale"


def test_the_same_version_again_is_no_news(view: View) -> None:
    view.take(snapshot(5, {"a": "1"}), NOW)
    event, _ = view.take(snapshot(5, {"a": "1"}), NOW)
    assert event is None


def test_nothing_older_replaces_what_is_held(view: View) -> None:
    view.take(snapshot(5, {"a": "1"}), NOW)
    event, (answer,) = view.take(snapshot(4, {"a": "0"}), NOW)
    assert event is None
    assert answer.acknowledge.error
    assert view.held[SCOPE].version.revision == 5


def test_values_are_dropped_when_withdrawn_only(view: View) -> None:
    view.take(snapshot(5, {"a": "1"}), NOW)
    assert view.take(NOT_FOUND, NOW) == (Gone(SCOPE, withdrawn=False, received_at=NOW), [])
    assert known(view) == 5
    assert view.take(WITHDRAWN, NOW) == (Gone(SCOPE, withdrawn=True, received_at=NOW), [])
    assert known(view) == 0
    assert view.held == {}


def test_what_was_withdrawn_does_not_come_back_from_a_server_that_lags(view: View) -> None:
    view.take(snapshot(5, {"a": "1"}), NOW)
    view.take(WITHDRAWN, NOW)
    assert view.take(snapshot(5, {"a": "1"}), NOW)[0] is None
    assert view.held == {}
    assert isinstance(view.take(snapshot(6, {"a": "1"}), NOW)[0], Changed)


def test_the_other_messages(view: View) -> None:
    scope, version = codec.write_scope(SCOPE), pb.Version(revision=5, digest="d")
    current = pb.WatchResponse(current=pb.Current(scope=scope, version=version))
    assert view.take(current, NOW) == (Unchanged(SCOPE, Version(5, "d")), [])
    denied = pb.WatchResponse(denied=pb.Denied(scope=scope, reason="no"))
    assert view.take(denied, NOW) == (Denied(SCOPE, "no"), [])
    assert view.take(pb.WatchResponse(), NOW) == (None, [])


def test_a_heartbeat(view: View) -> None:
    scope, time = codec.write_scope(SCOPE), codec.write_time(NOW)
    stale = [pb.StaleScope(scope=scope, verified_as_of=time, reason="DISAPPEARED"), pb.StaleScope(scope=scope)]
    event, _ = view.take(pb.WatchResponse(heartbeat=pb.Heartbeat(fresh_as_of=time, stale=stale)), NOW)
    assert event == Fresh(NOW, (StaleScope(SCOPE, "DISAPPEARED", NOW), StaleScope(SCOPE, "", None)))
    assert view.take(pb.WatchResponse(heartbeat=pb.Heartbeat()), NOW)[0] == Fresh(None, ())


@pytest.mark.parametrize(
    ("scope", "field"),
    [
        (pb.Scope(), "scope.tenant"),
        (pb.Scope(tenant="Acme"), "scope.tenant"),
        (pb.Scope(tenant="a" * 64), "scope.tenant"),
        (pb.Scope(tenant="acme\n"), "scope.tenant"),
        (pb.Scope(tenant="acme", environment="_"), "scope.environment"),
        (pb.Scope(tenant="acme", service="a#b"), "scope.service"),
    ],
)
def test_a_scope_that_is_none_names_its_field(scope: pb.Scope, field: str) -> None:
    with pytest.raises(codec.Malformed, match=f"^{field}:"):
        codec.read_scope(scope)


def changed(revision: int, entries: dict[str, str]) -> Changed:
    return Changed(Snapshot(SCOPE, Version(revision, digest(entries)), entries), NOW)


def test_json_is_one_line() -> None:
    line = Printer("json").changed(changed(57, {"a": "1\n2", "ä": "ö"}))
    assert line == (
        '{"scope": {"tenant": "acme", "environment": "prod", "service": ""}, "revision": 57, '
        f'"digest": "{digest({"a": "1" + chr(10) + "2", "ä": "ö"})}", "entries": {{"a": "1\\n2", "ä": "ö"}}, '
        '"receivedAt": "2026-01-01T12:00:00.250000Z"}'
    )
    assert Printer("json").gone(Gone(SCOPE, True, NOW)) == (
        '{"scope": {"tenant": "acme", "environment": "prod", "service": ""}, "absent": "WITHDRAWN", '
        '"receivedAt": "2026-01-01T12:00:00.250000Z"}'
    )


def test_a_table_marks_what_is_new_and_quotes_what_would_break_it() -> None:
    printer = Printer("table")
    assert printer.changed(changed(1, {"a": "1", "b": "2", "c": "\x1b[2J\n"})).splitlines()[1:] == [
        "    a  1",
        "    b  2",
        '    c  "\\u001b[2J\\n"',
    ]
    second = printer.changed(changed(2, {"a": "1", "b": "3", "d": "4"}))
    assert second.splitlines()[1:] == ["    a  1", "  ~ b  3", "  + d  4", "  - c"]


def test_yaml_is_a_document_each() -> None:
    assert Printer("yaml").gone(Gone(SCOPE, False, NOW)).startswith("---\nscope:\n  tenant: acme\n")


def test_a_note_of_staleness() -> None:
    note = stale_note(StaleScope(SCOPE, "DISAPPEARED", NOW))
    assert note == f"scope acme/prod/_ may not be at its latest version since {timestamp(NOW)}: DISAPPEARED"
