"""Which changes events told of."""

import pytest

from tenantconfig.announcements import WITHIN_SECONDS, Announcements, Tally
from tenantconfig.model import ResourceRef, Scope

REF, SCOPE = ResourceRef("team", "test"), Scope("acme")


@pytest.fixture
def told() -> Announcements:
    return Announcements()


def find(told: Announcements, version: str, now: float) -> bool:
    return told.find(REF, SCOPE, "a", version, now)


def test_an_event_before_or_soon_after_and_none_at_all(told: Announcements) -> None:
    assert told.tell(SCOPE, "a", "1", 0.0)
    assert find(told, "2", 1.0)
    assert told.tally == Tally(1, 0)
    assert find(told, "3", 2.0)
    assert not told.tell(SCOPE, "a", "2", 3.0), "it was found already"
    assert told.tally == Tally(2, 0)
    find(told, "4", 4.0)
    told.expire(4.0 + WITHIN_SECONDS - 1)
    assert told.tally == Tally(2, 0)
    told.expire(4.0 + WITHIN_SECONDS)
    assert told.tally == Tally(3, 1)


def test_a_change_that_several_passes_find_is_one(told: Announcements) -> None:
    assert [find(told, "2", float(number)) for number in range(3)] == [True, False, False]
    told.settle(REF, ["a"])
    assert not find(told, "2", 3.0), "the status could not be written yet"
    told.settle(REF, [])
    assert find(told, "2", 4.0), "it was as recorded in between"
    told.expire(5.0 + WITHIN_SECONDS)
    assert told.tally == Tally(2, 2)


@pytest.mark.parametrize("event", ["1", ""])
def test_an_event_that_comes_again_does_not_cover_for_one_that_is_lost(told: Announcements, event: str) -> None:
    told.tell(SCOPE, "a", event, 0.0)
    find(told, "2", 1.0)
    told.tell(SCOPE, "a", event, 2.0)
    find(told, "3", 3.0)
    told.expire(3.0 + WITHIN_SECONDS)
    assert told.tally == (Tally(2, 1) if event else Tally(2, 0))


def test_of_two_writes_that_one_pass_finds_the_second_event_covers_for_nothing_else(told: Announcements) -> None:
    for event in ("1", "2"):
        told.tell(SCOPE, "a", event, 0.0)
    find(told, "3", 1.0)
    told.tell(SCOPE, "a", "3", 2.0)
    assert told.unanswered(SCOPE, "a")
    told.answer(SCOPE, "a")  # a pass has looked
    find(told, "4", 3.0)
    told.expire(3.0 + WITHIN_SECONDS)
    assert told.tally == Tally(2, 1)


def test_what_is_put_back_before_its_event_comes_has_two(told: Announcements) -> None:
    find(told, "2", 1.0)
    told.put_back(REF, SCOPE, "a", 1.0)
    assert find(told, "", 2.0)
    told.put_back(REF, SCOPE, "a", 2.0)
    assert find(told, "", 3.0), "removed, put back, and removed again"
    for event in "abcde":
        assert not told.tell(SCOPE, "a", event, 4.0, own=True)
    assert told.tally == Tally(5, 0)
    told.tell(SCOPE, "a", "f", 4.0, own=True)
    assert not told.unanswered(SCOPE, "a")
    assert find(told, "9", 5.0)
    told.expire(5.0 + WITHIN_SECONDS)
    assert told.tally == Tally(6, 1), "an event of our own announces nothing"


def test_nothing_is_kept_of_what_is_over(told: Announcements) -> None:
    find(told, "2", 1.0)
    told.tell(SCOPE, "b", "1", 1.0)
    told.expire(2.0 + 2 * WITHIN_SECONDS)
    told.forget(REF)
    assert [told._told, told._due, told._events, told._last] == [{}, {}, {}, {}]
