"""What an application reads of a scope, and how far it may trust it."""

from datetime import UTC, datetime, timedelta

import pytest

from harness.clock import Clock
from tenantconfig.client.config import GRACE_SECONDS, SILENCE_SECONDS, Config, MissingKey, State, WrongType
from tenantconfig.client.view import Changed, Denied, Disconnected, Event, Fresh, Gone, Refused, StaleScope, Unchanged
from tenantconfig.model import Scope, Snapshot, Version, digest

SCOPE, OTHER = Scope("acme", "prod"), Scope("globex")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = {"int": "5", "float": "1.5", "yes": "true", "no": "false", "json": '{"a":[1]}', "text": "hush"}


def config(clock: Clock, snapshot: Snapshot | None = None) -> Config:
    """One whose monotonic and wall clocks agree on how time goes on."""
    return Config(SCOPE, snapshot, clock=clock, wall_clock=lambda: NOW.timestamp() + clock.now - 1000.0)


def snapshot(revision: int = 1, scope: Scope = SCOPE) -> Snapshot:
    return Snapshot(scope, Version(revision, digest(VALUES)), VALUES)


def changed(revision: int = 1, scope: Scope = SCOPE) -> Changed:
    return Changed(snapshot(revision, scope), NOW)


def fresh(seconds: float, *stale: StaleScope) -> Fresh:
    """The controller's word, that many seconds after the beginning."""
    return Fresh(NOW + timedelta(seconds=seconds), stale)


@pytest.fixture
def ready(clock: Clock) -> Config:
    made = config(clock)
    for event in (changed(), fresh(0)):
        made.take(event)
    assert made.state is State.READY
    return made


def test_values_are_a_mapping_of_texts(ready: Config) -> None:
    assert dict(ready) == VALUES
    assert ready["text"] == "hush"
    assert ready.get("absent", "default") == "default"
    assert ready.version == Version(1, digest(VALUES))


def test_typed_getters_read_what_is_stored_as_json(ready: Config) -> None:
    assert ready.get_int("int") == 5
    assert ready.get_float("float") == 1.5
    assert (ready.get_bool("yes"), ready.get_bool("no")) == (True, False)
    assert ready.get_json("json") == {"a": [1]}


def test_a_missing_key_is_its_default_or_an_error_that_names_it(ready: Config) -> None:
    assert ready.get_int("absent", 7) == 7
    assert ready.get_bool("absent", False) is False
    for ask in (ready.get_int, ready.get_json, ready.__getitem__):
        with pytest.raises(MissingKey, match=r"^scope acme/prod/_ has no key absent$"):
            ask("absent")


@pytest.mark.parametrize("getter", ["get_int", "get_float", "get_bool", "get_json"])
def test_a_value_of_another_type_is_an_error_that_does_not_repeat_it(ready: Config, getter: str) -> None:
    with pytest.raises(WrongType, match="text of scope acme/prod/_ is not") as caught:
        getattr(ready, getter)("text")
    assert "hush" not in str(caught.value)
    with pytest.raises(WrongType):
        getattr(ready, getter)("text", 1)


@pytest.mark.parametrize(
    ("getter", "text"),
    [
        *(("get_int", text) for text in ("1_000", "\u0663", "1e3", "5.0", "0x1f", "", "true")),
        *(("get_float", text) for text in ("NaN", "nan", "inf", "-Infinity", "1e400", "1_0", "")),
        *(("get_bool", text) for text in ("True", "1", "yes", "")),
        *(("get_json", text) for text in ("NaN", "[-Infinity]", "1e400", "[" * 100_000, "{'a': 1}", "")),
    ],
)
def test_what_is_no_value_of_the_type_in_json_is_an_error(clock: Clock, getter: str, text: str) -> None:
    made = config(clock, Snapshot(SCOPE, Version(1, digest({"odd": text})), {"odd": text}))
    with pytest.raises(WrongType, match=r"^odd of scope acme/prod/_ is not "):
        getattr(made, getter)("odd")


def test_before_anything_came_there_is_nothing_to_trust(clock: Clock) -> None:
    made = config(clock)
    assert (made.state, made.staleness, dict(made), made.version) == (State.NOT_READY, None, {}, None)
    with pytest.raises(MissingKey, match="nothing was received yet"):
        made["int"]


def test_why_a_version_is_refused_is_said_until_one_is_taken(ready: Config) -> None:
    refused = StaleScope(SCOPE, "REFUSED", None)
    ready.take(Refused(SCOPE, Version(6, "d"), "too many"))
    for event in (fresh(0, refused), changed(scope=OTHER), fresh(1, refused)):
        ready.take(event)
        assert (ready.state, ready.reason) == (State.STALE, "revision 6 was refused: too many")
    ready.take(changed())
    ready.take(fresh(2, refused))
    assert ready.reason == "REFUSED"
    ready.take(fresh(3))
    assert ready.state is State.READY


def test_a_scope_that_is_denied_says_so_whatever_the_stream_ends_with_for_others(ready: Config) -> None:
    ready.take(Disconnected("PERMISSION_DENIED", "no right to globex", lasting=False))
    assert (ready.state, ready.reason) == (State.STALE, "no right to globex")
    ready.take(Denied(SCOPE, "no right to acme"))
    for lasting in (False, True):
        ready.take(Disconnected("PERMISSION_DENIED", "no right to globex", lasting=lasting))
        assert (ready.state, ready.reason) == (State.ERROR, "no right to acme")
    ready.take(Disconnected("UNAVAILABLE", "no server", lasting=False))
    assert (ready.state, ready.reason) == (State.ERROR, "no server")


def test_values_are_trusted_once_the_controller_vouches_for_them(clock: Clock) -> None:
    made = config(clock)
    states = []
    for event in (changed(), fresh(0)):
        made.take(event)
        states.append(made.state)
    assert (states, made.staleness) == ([State.STALE, State.READY], timedelta(0))


def test_what_nobody_vouches_for_is_stale_and_after_the_grace_an_error(clock: Clock, ready: Config) -> None:
    clock.now += SILENCE_SECONDS
    assert (ready.state, ready.reason) == (State.READY, "")
    clock.now += 1
    assert (ready.state, ready.staleness) == (State.STALE, timedelta(seconds=SILENCE_SECONDS + 1))
    ready.take(fresh(0))
    assert (ready.state, ready.reason) == (State.STALE, ""), "the controller has said that before: it may be dead"
    clock.now += GRACE_SECONDS
    assert (ready.state, dict(ready)) == (State.ERROR, VALUES)
    ready.take(fresh(clock.now - 1000))
    assert (ready.state, ready.reason) == (State.READY, "")


def test_a_newer_version_takes_no_trust_away(clock: Clock, ready: Config) -> None:
    ready.take(changed(2))
    assert (ready.state, ready.reason, ready.version) == (State.READY, "", Version(2, digest(VALUES)))
    ready.take(Disconnected("UNAVAILABLE", "gone", lasting=False))
    ready.take(changed(3))
    assert (ready.state, ready.reason) == (State.STALE, "not verified yet")
    clock.now += SILENCE_SECONDS + 1
    ready.take(changed(4))
    assert ready.state is State.STALE, "nobody has vouched for long"


@pytest.mark.parametrize("held", [True, False])
def test_a_scope_that_is_not_found_is_permitted_again(clock: Clock, held: bool) -> None:
    made = config(clock, snapshot() if held else None)
    made.take(Denied(SCOPE, "not yours"))
    assert made.state is State.ERROR
    made.take(Gone(SCOPE, False, NOW))
    assert (made.state, made.reason) == (State.STALE if held else State.NOT_READY, "not found")


def test_a_server_whose_news_are_old_does_not_make_a_config_ready(clock: Clock) -> None:
    made = config(clock)
    made.take(changed())
    made.take(fresh(-600))
    assert (made.state, made.staleness) == (State.STALE, timedelta(seconds=600))
    clock.now += GRACE_SECONDS + 1
    assert made.state is State.ERROR


STALE = StaleScope(SCOPE, "DISAPPEARED", None)


@pytest.mark.parametrize(
    ("event", "state", "reason"),
    [
        (Disconnected("UNAVAILABLE", "gone", lasting=False), State.STALE, "gone"),
        (Disconnected("UNAUTHENTICATED", "expired", lasting=True), State.ERROR, "expired"),
        (Denied(SCOPE, "not yours"), State.ERROR, "not yours"),
        (Gone(SCOPE, False, NOW), State.STALE, "not found"),
        (fresh(1, STALE), State.STALE, "DISAPPEARED"),
    ],
)
def test_trouble_shows_at_once_values_stay_and_it_passes(
    ready: Config, clock: Clock, event: Event, state: State, reason: str
) -> None:
    ready.take(event)
    assert (ready.state, ready.reason, dict(ready)) == (state, reason, VALUES)
    clock.now += 2
    for recovered in (Unchanged(SCOPE, Version(1, digest(VALUES))), fresh(2)):
        ready.take(recovered)
    assert ready.state is State.READY


def test_what_was_withdrawn_is_gone(ready: Config) -> None:
    ready.take(Gone(SCOPE, True, NOW))
    assert (ready.state, dict(ready), ready.reason) == (State.NOT_READY, {}, "withdrawn")


@pytest.mark.parametrize(
    "event",
    [changed(2, OTHER), Unchanged(OTHER, Version(1, "x")), Gone(OTHER, True, NOW), Denied(OTHER, "not yours")],
)
def test_other_scopes_are_not_its_concern(ready: Config, event: Event) -> None:
    ready.take(event)
    ready.take(fresh(1, StaleScope(OTHER, "DISAPPEARED", None)))
    assert (ready.state, dict(ready)) == (State.READY, VALUES)


def test_values_of_the_last_time_are_stale_until_a_server_confirms_them(clock: Clock) -> None:
    made = config(clock, snapshot())
    assert (made.state, made.staleness, dict(made)) == (State.STALE, None, VALUES)
    clock.now += GRACE_SECONDS + 1
    assert (made.state, made.staleness) == (State.ERROR, None)
    made.take(Unchanged(SCOPE, Version(1, digest(VALUES))))
    made.take(fresh(clock.now - 1000))
    assert (made.state, made.staleness) == (State.READY, timedelta(0))
