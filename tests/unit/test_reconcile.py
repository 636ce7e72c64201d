"""What a failed pass means for pods and for the next try."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tenantconfig.clock import rfc3339
from tenantconfig.conditions import Findings, judge
from tenantconfig.drift import drift_error
from tenantconfig.errors import Reason, Stalled, TenantConfigError, Transient
from tenantconfig.guard import Guard
from tenantconfig.inputs import Facts, inputs
from tenantconfig.known import Known
from tenantconfig.model import Entry, EntryStatus, Policy, ResourceRef, Scope, State, Status, TenantConfig, Version
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.reconcile import Reconciler, Unverified

DAY = 86_400.0
DOWN = Transient(Reason.STORE_FAILED, "no answer")
MISSING = (EntryStatus("a", "ssm", "ssm/1", Policy.OBSERVE, State.MISSING),)
SYNCED = (EntryStatus("a", "ssm", "ssm/1", Policy.OBSERVE, State.SYNCED, "1"),)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def reconciler(known: Known) -> Reconciler:
    keeper: Any = SimpleNamespace(stamp=lambda resource: (resource.uid, resource.generation, resource.deleting, ""))
    nothing: Any = None
    return Reconciler(nothing, known, keeper, Guard(OwnWrites(time.monotonic)), secrets=False, tolerance=60.0)


def resource(known: Known, entries: tuple[EntryStatus, ...] = SYNCED, drift: Transient | None = None) -> TenantConfig:
    """One whose status has been the same for a day."""
    bare = TenantConfig(
        ResourceRef("team", "test"),
        "uid",
        "1",
        1,
        "2026-01-02T03:04:05Z",
        Scope("acme"),
        (Entry("a", Policy.OBSERVE),),
        "test",
        "test",
        status=Status(locations=("ssm/1",)),
    )
    used = inputs(Facts.of(bare), known)
    findings = Findings(1, used, Version(5, "d"), entries, ("ssm/1",), drift=drift)
    return replace(bare, status=judge(findings, Status(), rfc3339(time.time() - DAY)))


def remember(reconciler: Reconciler, about: TenantConfig, error: TenantConfigError | None, **findings: bool) -> None:
    made = Findings(about.generation, "", None, (), (), **findings)  # type: ignore[arg-type]
    reconciler._remember(about, made, error, time.time())


def stale(reconciler: Reconciler) -> list[Unverified]:
    return list(reconciler.unverified())


@pytest.mark.parametrize(
    ("entries", "drift"), [(SYNCED, None), (MISSING, None), (SYNCED, drift_error({"a": 300.0}))], ids=str
)
def test_a_store_that_is_gone_for_a_moment_makes_nothing_stale_that_was_verified(
    reconciler: Reconciler, known: Known, entries: tuple[EntryStatus, ...], drift: Transient | None
) -> None:
    about = resource(known, entries, drift)
    remember(reconciler, about, drift)
    remember(reconciler, about, DOWN)
    assert stale(reconciler) == []
    (found,) = reconciler._unverified.values()
    assert found.told_from == pytest.approx(found.since + 60)
    assert found.since == pytest.approx(time.time(), abs=60)
    remember(reconciler, about, DOWN)
    assert list(reconciler._unverified.values()) == [found], "the first failure counts"
    remember(reconciler, about, None)
    assert reconciler._unverified == {}


def test_after_a_restart_the_status_tells_what_was_well(reconciler: Reconciler, known: Known) -> None:
    remember(reconciler, resource(known), DOWN)
    assert stale(reconciler) == []


@pytest.mark.parametrize("error", [DOWN, Stalled(Reason.INVALID, "no")], ids=str)
def test_what_was_edited_is_stale_at_once(reconciler: Reconciler, known: Known, error: TenantConfigError) -> None:
    about = resource(known)
    remember(reconciler, about, None)
    remember(reconciler, replace(about, generation=2), error)
    assert [each.reason for each in stale(reconciler)] == [error.reason]


def test_an_edit_while_the_store_is_gone_ends_the_patience(reconciler: Reconciler, known: Known) -> None:
    about = resource(known)
    remember(reconciler, about, DOWN)
    remember(reconciler, replace(about, generation=2), DOWN)
    assert len(stale(reconciler)) == 1


def test_what_others_changed_and_is_not_projected_is_stale_at_once(reconciler: Reconciler, known: Known) -> None:
    remember(reconciler, resource(known), DOWN, unprojected=True)
    assert len(stale(reconciler)) == 1


def test_what_was_not_well_before_the_start_is_stale_since_then(reconciler: Reconciler, known: Known) -> None:
    remember(reconciler, resource(known, MISSING), DOWN)
    (found,) = stale(reconciler)
    assert found.since == pytest.approx(time.time() - DAY, abs=60)


@pytest.mark.parametrize(
    ("failures", "within", "after"),
    [
        ([DOWN], 60.0, 0.0),
        ([drift_error({"a": 290.0})], 60.0, 290.0),
        ([DOWN, drift_error({"a": 290.0})], 60.0, 0.0),
        ([Stalled(Reason.INVALID, "no"), drift_error({"a": 290.0})], 60.0, 290.0),
    ],
    ids=str,
)
def test_a_fight_over_one_key_delays_no_other_try(
    reconciler: Reconciler, known: Known, failures: list[TenantConfigError], within: float, after: float
) -> None:
    findings = Findings(1, "", None, (), (), store_failures=tuple(failures))
    outcome = reconciler._outcome(resource(known), findings, failures[0])
    assert (outcome.retry_within, outcome.retry_after) == (within, after)
