"""The round: everyone once, as often as the budget allows, and on from where a former process was."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantconfig.inputs import Facts
from tenantconfig.model import Location, Options, ResourceRef, Scope
from tenantconfig.sweep import SHARE, due, phase, rotation_seconds

SSM, TABLE = Location("ssm/1", "ssm", ()), Location("tables/1", "dynamodb", ())


def facts(keys: int, *locations: str) -> Facts:
    names = tuple(map(str, range(keys)))
    blank: dict[str, Any] = dict.fromkeys(Facts.__dataclass_fields__, "")
    return Facts(**{**blank, "scope": Scope("acme"), "keys": names, "locations": locations})


def place(rate: str = "") -> Any:
    options: Options = (("readsPerSecond", rate),) if rate else ()
    return {"ssm/1": (SSM, options), "tables/1": (TABLE, ())}.get


@pytest.mark.parametrize(
    ("resources", "rate", "expected"),
    [
        ([], "", 600.0),
        ([facts(10, "ssm/1")] * 1_000, "", 600.0),
        ([facts(10, "ssm/1")] * 10_000, "", 10_000 / (SHARE * 40)),
        ([facts(11, "ssm/1")] * 10_000, "100", 20_000 / (SHARE * 100)),
        ([facts(10, "tables/1", "gone/1")] * 100_000, "", 100_000 / (SHARE * 200)),
        ([facts(10, "ssm/1", "tables/1")] * 10_000, "", 10_000 / (SHARE * 40)),
    ],
)
def test_a_round_takes_as_long_as_its_reads_take_within_their_share(
    resources: list[Facts], rate: str, expected: float
) -> None:
    assert rotation_seconds(resources, place(rate), 600.0) == pytest.approx(expected)


ORDER = sorted((phase(f"uid-{number}"), ResourceRef("team", str(number))) for number in range(100))


@given(st.floats(0, 5), st.lists(st.floats(0.001, 0.4), min_size=1, max_size=60))
def test_within_a_round_everyone_comes_once_wherever_it_begins(start: float, steps: list[float]) -> None:
    seen: list[ResourceRef] = []
    at = start
    for step in steps:
        if at + step > start + 1:
            break
        seen += due(ORDER, at, at + step)
        at += step
    assert len(seen) == len(set(seen))
    seen += due(ORDER, at, start + 1)
    assert len(seen) in {99, 100, 101}  # who stands where it begins, by a rounding error
    assert len(set(seen)) >= 99


def test_a_step_of_more_than_a_round_is_everyone_once() -> None:
    assert len(due(ORDER, 0.3, 7.0)) == 100


def test_the_round_is_evenly_filled() -> None:
    most = max(len(due(ORDER, number / 10, (number + 1) / 10)) for number in range(10))
    assert most < 25
