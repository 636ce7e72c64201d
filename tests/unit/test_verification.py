"""What passes mean for pods: which scopes are stale, since when, and from when on they are told."""

from dataclasses import replace

import pytest

from tenantconfig.clock import rfc3339
from tenantconfig.conditions import Findings, judge
from tenantconfig.drift import drift_error
from tenantconfig.errors import Reason, Stalled, TenantConfigError, Transient
from tenantconfig.inputs import Facts, inputs
from tenantconfig.known import Known
from tenantconfig.model import Entry, EntryStatus, Policy, ResourceRef, Scope, State, Status, TenantConfig, Version
from tenantconfig.verification import Unverified, Verification

NOON = 1_767_268_800.0
DAY = 86_400.0
TOLERANCE = 60.0
DOWN = Transient(Reason.STORE_FAILED, "no answer")
MISSING = (EntryStatus("a", "ssm", "ssm/1", Policy.OBSERVE, State.MISSING),)
SYNCED = (EntryStatus("a", "ssm", "ssm/1", Policy.OBSERVE, State.SYNCED, "1"),)


class History:
    """Passes, one a second."""

    def __init__(self) -> None:
        self.known = Known()
        self.now = NOON
        self._verification = Verification(self.known, TOLERANCE)

    def passed(self, about: TenantConfig, error: TenantConfigError | None, *, unprojected: bool = False) -> None:
        self.now += 1
        stamp = (about.uid, about.generation)
        self._verification.passed(about, stamp, error, self.now, unprojected=unprojected)

    def stale(self, after: float = 0.0) -> list[Unverified]:
        """What pods hear so many seconds later."""
        return list(self._verification.unverified(self.now + after))

    def verified(self, about: TenantConfig) -> float | None:
        return self._verification.verified.get(about.ref)

    def forget(self, about: TenantConfig) -> None:
        self._verification.forget(about.ref)

    def resource(self, entries: tuple[EntryStatus, ...] = SYNCED, drift: Transient | None = None) -> TenantConfig:
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
        used = inputs(Facts.of(bare), self.known)
        findings = Findings(1, used, Version(5, "d"), entries, ("ssm/1",), drift=drift)
        return replace(bare, status=judge(findings, Status(), rfc3339(NOON - DAY)))


@pytest.fixture
def history() -> History:
    return History()


@pytest.mark.parametrize(
    ("entries", "drift"), [(SYNCED, None), (MISSING, None), (SYNCED, drift_error({"a": 300.0}))], ids=str
)
def test_a_store_that_is_gone_for_a_moment_makes_nothing_stale_that_was_verified(
    history: History, entries: tuple[EntryStatus, ...], drift: Transient | None
) -> None:
    about = history.resource(entries, drift)
    history.passed(about, drift)
    good = history.now
    assert history.verified(about) == good
    history.passed(about, DOWN)
    first_failure = history.now
    assert history.stale() == history.stale(TOLERANCE - 1) == []
    history.passed(about, DOWN)
    (found,) = history.stale(TOLERANCE)
    assert (found.scope, found.since, found.reason) == (about.scope, first_failure, "StoreFailed")
    assert history.verified(about) == good
    history.passed(about, None)
    assert history.stale(DAY) == []
    assert history.verified(about) == history.now


def test_after_a_restart_the_status_tells_what_was_well(history: History) -> None:
    history.passed(history.resource(), DOWN)
    assert history.stale() == []
    assert len(history.stale(TOLERANCE)) == 1


@pytest.mark.parametrize("error", [DOWN, Stalled(Reason.INVALID, "no")], ids=str)
def test_what_was_edited_is_stale_at_once(history: History, error: TenantConfigError) -> None:
    about = history.resource()
    history.passed(about, None)
    history.passed(replace(about, generation=2), error)
    assert [each.reason for each in history.stale()] == [error.reason]


def test_an_edit_while_the_store_is_gone_ends_the_patience(history: History) -> None:
    about = history.resource()
    history.passed(about, DOWN)
    since = history.now
    history.passed(replace(about, generation=2), DOWN)
    assert [each.since for each in history.stale()] == [since]


def test_what_is_wrong_with_the_resource_is_told_at_once(history: History) -> None:
    about = history.resource()
    history.passed(about, None)
    history.passed(about, Stalled(Reason.TENANT_NOT_ALLOWED, "no"))
    assert len(history.stale()) == 1


def test_what_others_changed_and_is_not_projected_is_stale_at_once(history: History) -> None:
    history.passed(history.resource(), DOWN, unprojected=True)
    assert len(history.stale()) == 1


def test_what_was_not_well_before_the_start_is_stale_since_then(history: History) -> None:
    history.passed(history.resource(MISSING), DOWN)
    assert [each.since for each in history.stale()] == [NOON - DAY]


def test_who_does_not_have_the_scope_says_nothing_about_it(history: History) -> None:
    about = history.resource()
    history.passed(about, Stalled(Reason.SCOPE_CONFLICT, "another's"))
    assert history.stale(DAY) == []
    assert history.verified(about) is None


@pytest.mark.parametrize("error", [None, DOWN], ids=str)
def test_what_is_being_deleted_or_is_gone_is_not_stale(history: History, error: TenantConfigError | None) -> None:
    about = history.resource()
    history.passed(about, Stalled(Reason.INVALID, "no"))
    assert history.stale()
    history.passed(replace(about, deleting=True), error)
    assert history.stale(DAY) == []
    history.passed(about, Stalled(Reason.INVALID, "no"))
    history.forget(about)
    assert history.stale(DAY) == []
    assert history.verified(about) is None
