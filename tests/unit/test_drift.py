"""Changes by others: when they are put back, and which of them no event told of."""

import pytest

from tenantconfig.drift import (
    ANNOUNCED_WITHIN_SECONDS,
    LONGEST_HOLD_SECONDS,
    QUIET_SECONDS,
    Announcements,
    Change,
    Holds,
    Tally,
    hold_seconds,
)
from tenantconfig.model import Policy, ResourceRef, Scope

REF, SCOPE = ResourceRef("team", "test"), Scope("acme")


def change(version: str, key: str = "a") -> Change:
    return Change(key, Policy.SEED, "ssm", "ssm/1", version)


def test_the_first_time_at_once_and_then_less_and_less_often() -> None:
    holds, now, waits = Holds(), 0.0, []
    for _ in range(12):
        waits.append(holds.wait("uid", "a", now))
        now += waits[-1]
        assert holds.wait("uid", "a", now) == 0
        holds.put_back("uid", "a", now)
    assert waits == [0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert hold_seconds(10**6) == LONGEST_HOLD_SECONDS
    assert holds.wait("uid", "b", now) == holds.wait("other", "a", now) == 0


def test_who_writes_on_is_not_forgotten_and_who_stops_is() -> None:
    holds = Holds()
    for number in range(9):
        holds.put_back("uid", "a", float(number))
    holds.expire(8.0 + QUIET_SECONDS)
    assert holds.wait("uid", "a", 8.0) == LONGEST_HOLD_SECONDS
    assert holds.wait("uid", "a", 9.0 + QUIET_SECONDS) == 0
    assert QUIET_SECONDS > 2 * LONGEST_HOLD_SECONDS


def test_an_event_before_or_soon_after_and_none_at_all() -> None:
    told = Announcements()
    told.tell(SCOPE, "a", "1", 0.0)
    assert told.find(REF, SCOPE, change("2"), 1.0)
    assert told.tally == Tally(1, 0)
    assert told.find(REF, SCOPE, change("3"), 2.0)
    told.tell(SCOPE, "a", "2", 3.0)
    assert told.tally == Tally(2, 0)
    told.find(REF, SCOPE, change("4"), 4.0)
    told.expire(4.0 + ANNOUNCED_WITHIN_SECONDS - 1)
    assert told.tally == Tally(2, 0)
    told.expire(4.0 + ANNOUNCED_WITHIN_SECONDS)
    assert told.tally == Tally(3, 1)


def test_a_change_that_several_passes_find_is_one() -> None:
    told = Announcements()
    assert [told.find(REF, SCOPE, change("2"), float(number)) for number in range(3)] == [True, False, False]
    told.settle(REF, "a")
    assert told.find(REF, SCOPE, change("2"), 4.0), "it was put back, and changed again"
    told.expire(5.0 + ANNOUNCED_WITHIN_SECONDS)
    assert told.tally == Tally(1, 1)


@pytest.mark.parametrize("event", ["1", ""])
def test_an_event_that_comes_again_does_not_cover_for_one_that_is_lost(event: str) -> None:
    told = Announcements()
    told.tell(SCOPE, "a", event, 0.0)
    told.find(REF, SCOPE, change("2"), 1.0)
    told.tell(SCOPE, "a", event, 2.0)
    told.find(REF, SCOPE, change("3"), 3.0)
    told.expire(3.0 + ANNOUNCED_WITHIN_SECONDS)
    assert told.tally == (Tally(2, 1) if event else Tally(2, 0))
