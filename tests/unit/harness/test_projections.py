"""The judge of the chaos: which revision is due at which time, and for how long a client was wrong."""

from datetime import UTC, datetime, timedelta

import pytest

from harness.projections import Projections
from harness.swarm import Sighting, longest
from tenantconfig.client import State
from tenantconfig.model import Scope, Version

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCOPE = Scope("acme", "prod")


def seconds(count: float) -> datetime:
    return NOON + timedelta(seconds=count)


@pytest.fixture
def projections() -> Projections:
    """Revisions 1, 2 and 3, with a tick after the first, one after the second, and an older one at the end."""
    projections = Projections()
    for line in ("1", seconds(0), "2", seconds(2), "3", seconds(1)):
        if isinstance(line, datetime):
            projections.take("", "", "", "", "", "", line.isoformat())
        else:
            projections.take("acme", "prod", "", line, "digest", line, "")
    return projections


@pytest.mark.parametrize(("as_of", "revision"), [(-1, 1), (0, 1), (1, 2), (2, 2), (2.5, 3)])
def test_what_was_written_before_the_tick_is_due(projections: Projections, as_of: float, revision: int) -> None:
    assert projections.due(SCOPE, seconds(as_of)) == revision
    assert projections.due(Scope("globex"), seconds(as_of)) == 0
    assert projections.latest(SCOPE) == Version(3, "digest")


def test_the_longest_time_goes_from_the_first_wrong_sighting_to_the_next_right_one() -> None:
    seen = [Sighting(at, None, None, State.READY) for at in (0, 1, 3, 4, 9)]
    assert longest(seen, lambda each: each.at in {1, 3}, 10) == 3
    assert longest(seen, lambda each: each.at in {1, 4}, 10) == 5
    assert longest(seen, lambda each: each.at in {1, 9}, 12) == 3
    assert longest(seen, lambda _: False, 10) == 0
