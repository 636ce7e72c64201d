"""Which writes are our own."""

import pytest

from harness.clock import Clock
from tenantconfig import ownwrites
from tenantconfig.model import Location, Scope
from tenantconfig.ownwrites import KEPT_SECONDS, LAG_SECONDS, OwnWrites

SCOPE = Scope("acme")
SSM, TABLE = Location("ssm/1", "ssm", (("pathPrefix", "/t"),)), Location("db/1", "dynamodb", (("tableName", "t"),))


@pytest.fixture
def own(clock: Clock) -> OwnWrites:
    return OwnWrites(clock)


def mark(own: OwnWrites, key: str = "key", place: str = "/t", scope: Scope = SCOPE) -> str | None:
    found = own.find("ssm", place, scope, key)
    return found.mark if found else None


def test_the_last_write_counts(own: OwnWrites) -> None:
    own.note(SSM, SCOPE, "key", "1")
    own.note(SSM, SCOPE, "key", "2")
    assert mark(own) == "2"
    assert mark(own, "other") is mark(own, place="/u") is mark(own, scope=Scope("globex")) is None
    assert own.find("dynamodb", "/t", SCOPE, "key") is None


def test_it_is_forgotten_after_a_while_and_beyond_a_number(
    own: OwnWrites, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ownwrites, "KEPT", 2)
    for key in "abc":
        own.note(SSM, SCOPE, key, "1")
    assert [mark(own, key) for key in "abc"] == [None, "1", "1"]
    clock.now += KEPT_SECONDS
    assert mark(own, "c") is None
    own.note(SSM, SCOPE, "d", "1")
    assert len(own._writes) == 1


@pytest.mark.parametrize(
    ("location", "shown", "after", "ours"),
    [
        (SSM, "3", 800.0, True),
        (SSM, "2", LAG_SECONDS - 1, True),
        (SSM, "2", LAG_SECONDS + 1, False),
        (SSM, "1", 0.0, False),
        (SSM, "4", 0.0, False),
        (TABLE, "3", 0.0, True),
        (TABLE, "2", 0.0, False),  # its reads are consistent
    ],
)
def test_what_a_place_shows_is_ours_or_what_was_there_just_before(
    own: OwnWrites, clock: Clock, location: Location, shown: str, after: float, ours: bool
) -> None:
    own.note(location, SCOPE, "key", "3", replaced="2")
    clock.now += after
    assert own.made(location, SCOPE, "key", shown) is ours


def test_a_version_of_ours_with_another_text_is_not_ours(own: OwnWrites) -> None:
    own.note(SSM, SCOPE, "key", "1", text="ours")
    found = own.find("ssm", "/t", SCOPE, "key")
    assert found
    assert found.shows("1", "ours")
    assert not found.shows("1", "theirs")
    assert not found.shows("", "")


def test_what_has_moved_is_known_at_both_places(own: OwnWrites) -> None:
    old = Location("ssm/2", "ssm", (("pathPrefix", "/old"),))
    own.note(SSM, SCOPE, "key", "1")
    own.note(old, SCOPE, "key", "", replaced="7")
    found = [own.find("ssm", place, SCOPE, "key") for place in ("/t", "/old")]
    assert [(each.location, each.mark) for each in found if each] == [("ssm/1", "1"), ("ssm/2", "")]
    assert own.made(SSM, SCOPE, "key", "1")
    assert own.made(old, SCOPE, "key", "")
    assert not own.made(SSM, SCOPE, "key", "")


@pytest.mark.parametrize("before", ["", "1"])
def test_what_others_may_have_removed_is_never_taken_for_a_lag(own: OwnWrites, before: str) -> None:
    own.note(SSM, SCOPE, "key", "2", replaced=before)
    assert not own.made(SSM, SCOPE, "key", before)
