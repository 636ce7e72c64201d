"""Fairness and cost of the write budget over the whole way from a TenantConfig to SSM, in virtual time."""

from collections.abc import Callable
from functools import cache

import pytest

from budget_model import (
    BURST,
    RATE,
    SMALLS,
    Again,
    Result,
    a_strict_store,
    many_tenants,
    one_large_resource,
    one_tenant_of_many_resources,
)
from harness.virtual_time import run

TENANTS, KEYS = 200, 10
LIMITED_SECONDS = 300.0


@cache
def tenants() -> tuple[Result, Again]:
    return run(many_tenants(TENANTS, KEYS))


@cache
def resources() -> Result:
    return run(one_tenant_of_many_resources(TENANTS, KEYS))


@cache
def large() -> Result:
    return run(one_large_resource(300))


@cache
def strict(burst: float) -> Result:
    """SSM takes two writes a second for a while, when three are configured."""
    return run(a_strict_store(TENANTS // 2, KEYS, 2.0, burst, LIMITED_SECONDS))


SCENARIOS: dict[str, Callable[[], Result]] = {
    "many tenants": lambda: tenants()[0],
    "one tenant of many resources": resources,
    "one large resource": large,
}
everywhere = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())


@everywhere
def test_everything_is_ready_after_the_time_that_arithmetic_says(scenario: Callable[[], Result]) -> None:
    result = scenario()
    assert result.seconds == pytest.approx(result.arithmetic, abs=1.0)


@everywhere
def test_exactly_the_values_that_are_missing_are_written(scenario: Callable[[], Result]) -> None:
    result = scenario()
    assert (result.writes, result.refused) == (result.needed, 0)


@everywhere
def test_a_small_tenant_that_comes_in_the_middle_waits_less_than_a_second(scenario: Callable[[], Result]) -> None:
    result = scenario()
    assert len(result.waits) == SMALLS
    assert max(result.waits) <= 1 / RATE + 0.01


@everywhere
def test_no_second_has_more_writes_than_the_bucket_and_its_inflow(scenario: Callable[[], Result]) -> None:
    assert scenario().most_in_a_second <= BURST + RATE


def test_who_waits_for_one_turn_reads_twice() -> None:
    result, _ = tenants()
    assert result.most_reads == 2


def test_a_resource_of_many_turns_reads_what_each_writes_and_all_of_it_at_both_ends() -> None:
    whole, turns = 300 // KEYS, 300 // BURST
    assert large().most_reads == whole + (turns - 2) + whole


def test_nobody_is_asked_for_passes_while_it_waits() -> None:
    result, _ = tenants()
    assert result.passes <= 3 * (TENANTS + SMALLS), "one that waits for its read, one that plans, one that writes"


def test_a_new_controller_finds_nothing_to_do() -> None:
    _, again = tenants()
    assert again.passes_at_start == 0


def test_looking_at_everything_again_reads_once_and_writes_nothing_anywhere() -> None:
    _, again = tenants()
    assert again.requests == {"GetParameters": TENANTS + SMALLS}
    assert again.kubernetes_writes == 0


@pytest.mark.parametrize("burst", [10.0, 2.0])
def test_a_stricter_store_refuses_few_writes_and_everything_is_written(burst: float) -> None:
    result = strict(burst)
    assert result.writes == result.needed + result.refused
    assert 0 < result.refused <= LIMITED_SECONDS / 8


def test_what_a_stricter_store_takes_at_once_is_found_out() -> None:
    assert strict(10.0).seconds <= strict(10.0).arithmetic * 1.1
    assert strict(2.0).seconds <= strict(2.0).arithmetic * 1.5


@pytest.mark.parametrize("burst", [10.0, 2.0])
def test_the_rate_recovers_when_the_store_is_not_strict_any_more(burst: float) -> None:
    assert strict(burst).last_rate == pytest.approx(RATE, abs=0.2)
