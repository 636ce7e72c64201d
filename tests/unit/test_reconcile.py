"""When a pass that failed is tried again."""

import time
from typing import Any

import pytest

from tenantconfig.conditions import Findings
from tenantconfig.drift import drift_error
from tenantconfig.errors import Reason, Stalled, TenantConfigError, Transient
from tenantconfig.guard import Guard
from tenantconfig.known import Known
from tenantconfig.model import Entry, Policy, ResourceRef, Scope, TenantConfig
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.reconcile import Reconciler
from tenantconfig.verification import Verification

DOWN = Transient(Reason.STORE_FAILED, "no answer")


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
    failures: list[TenantConfigError], within: float, after: float
) -> None:
    nothing: Any = None
    known = Known()
    guard = Guard(OwnWrites(time.monotonic))
    reconciler = Reconciler(nothing, known, nothing, guard, Verification(known), secrets=False)
    about = TenantConfig(
        ResourceRef("team", "test"), "uid", "1", 1, "", Scope("acme"), (Entry("a", Policy.OBSERVE),), "test", "test"
    )
    findings = Findings(1, "", None, (), (), store_failures=tuple(failures))
    outcome = reconciler._outcome(about, findings, failures[0])
    assert (outcome.retry_within, outcome.retry_after) == (within, after)
