"""The tick: up to when everything is projected, and for which scopes nobody vouches."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from tenantconfig import freshness
from tenantconfig.clock import rfc3339
from tenantconfig.errors import Reason, Transient
from tenantconfig.freshness import MOST_STALE, stale_json
from tenantconfig.model import Scope
from tenantconfig.projection import MAX_BYTES
from tenantconfig.verification import Unverified

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()


def test_a_time_is_utc_with_microseconds() -> None:
    assert rfc3339(NOON) == "2026-01-01T12:00:00.000000Z"
    assert rfc3339(NOON + 0.25) == "2026-01-01T12:00:00.250000Z"


def test_a_stale_scope_is_listed_with_its_time_and_reason() -> None:
    listed = json.loads(stale_json([Unverified(Scope("acme", "prod"), NOON, "Throttled")]))
    assert listed == [
        {
            "tenant": "acme",
            "environment": "prod",
            "service": "",
            "verifiedAsOf": "2026-01-01T12:00:00.000000Z",
            "reason": "Throttled",
        }
    ]
    assert stale_json([]) == "[]"


def scopes(count: int) -> list[Unverified]:
    longest = "x" * 57
    return [
        Unverified(Scope(f"{longest}{number:06}", "e" * 63, "s" * 63), NOON - number, Reason.CONFIGMAP_CONFLICT.value)
        for number in range(count)
    ]


def test_the_longest_list_fits_a_configmap() -> None:
    assert len(stale_json(scopes(MOST_STALE))) < MAX_BYTES


class Kube:
    """Takes ticks, and ends the loop after a few."""

    def __init__(self, last: int) -> None:
        self.ticks: list[dict[str, str]] = []
        self.last = last
        self.failures = 0

    async def apply(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/system/configmaps/tenantconfig-tick"
        assert body["metadata"]["labels"]["tenantconfig.dev/tenant"] == ""
        self.ticks.append(body["data"])
        if len(self.ticks) == self.last:
            raise asyncio.CancelledError
        if self.failures:
            self.failures -= 1
            raise Transient(Reason.KUBERNETES_FAILED, "no answer")
        return body


async def tick(
    monkeypatch: pytest.MonkeyPatch,
    kube: Kube,
    oldest: Callable[[], float | None] = lambda: None,
    unverified: Sequence[Unverified] = (),
    unheard: Callable[[], str] = str,
) -> None:
    """Ticks without their pauses until `kube` has had enough."""

    async def no_pause(seconds: float) -> None:
        assert seconds == freshness.PERIOD_SECONDS

    monkeypatch.setattr(asyncio, "sleep", no_pause)
    monkeypatch.setattr(time, "time", lambda: NOON)
    with pytest.raises(asyncio.CancelledError):
        await freshness.tick(kube, "system", oldest, lambda _: unverified, unheard)  # type: ignore[arg-type]


@pytest.mark.parametrize(("pending", "expected"), [(None, NOON), (NOON - 5, NOON - 5), (NOON + 5, NOON)])
async def test_the_tick_vouches_up_to_the_oldest_request_that_is_not_answered(
    monkeypatch: pytest.MonkeyPatch, pending: float | None, expected: float
) -> None:
    kube = Kube(1)
    await tick(monkeypatch, kube, lambda: pending)
    assert kube.ticks == [{"freshAsOf": rfc3339(expected), "stale": "[]"}]


async def test_every_tick_looks_again_and_a_failed_one_does_not_end_them(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, times = Kube(3), iter([NOON - 3, NOON - 2, NOON - 1])
    kube.failures = 1
    await tick(monkeypatch, kube, lambda: next(times))
    assert [each["freshAsOf"] for each in kube.ticks] == [rfc3339(NOON - 3), rfc3339(NOON - 2), rfc3339(NOON - 1)]


async def test_nothing_is_vouched_for_while_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, times, answers = Kube(2), iter(range(-9, 0)), iter(["", "a watch is closed", "a watch is closed", ""])
    await tick(monkeypatch, kube, lambda: NOON + next(times), unheard=lambda: next(answers))
    assert [each["freshAsOf"] for each in kube.ticks] == [rfc3339(NOON - 9), rfc3339(NOON - 6)]


async def test_what_does_not_fit_the_list_holds_the_time_back(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, many = Kube(1), scopes(MOST_STALE + 50)
    await tick(monkeypatch, kube, unverified=many)
    listed = {each["tenant"] for each in json.loads(kube.ticks[0]["stale"])}
    oldest = min(each.since for each in many if each.scope.tenant not in listed)
    assert kube.ticks[0]["freshAsOf"] <= rfc3339(oldest)


async def test_the_longest_standing_come_first_and_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, many = Kube(1), scopes(MOST_STALE + 50)
    await tick(monkeypatch, kube, unverified=many)
    times = [each["verifiedAsOf"] for each in json.loads(kube.ticks[0]["stale"])]
    assert times == sorted(times)
    assert len(times) == MOST_STALE
    assert times[0] == rfc3339(NOON - MOST_STALE - 49)
