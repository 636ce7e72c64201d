"""What an answer of the API server says of an attempt, and what all attempts together say."""

from pathlib import Path

import pytest

from tenantconfig.app import isolation as app
from tenantconfig.errors import AlreadyExists, Missing, Reason, Stalled, TenantConfigError, Transient
from tenantconfig.isolation import Attempt, Guard, Outcome, Result, Side, attempts, exit_code, judged
from tenantconfig.model import Scope
from tenantconfig.settings import IsolationSettings

NO_RIGHT = 'POST /x is forbidden: tenantconfigs is forbidden: User "me" cannot create resource "tenantconfigs"'
BY_POLICY = "POST /x is forbidden: x is forbidden: ValidatingAdmissionPolicy '{}' with binding 'b' denied request: no"
DECLARED, PROJECTED = (
    BY_POLICY.format("tenantconfigs.tenantconfig.dev"),
    BY_POLICY.format("configmaps.tenantconfig.dev"),
)
ROLE = "give the account the Role of manifests/components/verify-isolation"
SERIES = attempts(Side(Scope("own"), "home"), Side(Scope("other"), "away"))


def forbidden(message: str) -> Transient:
    return Transient(Reason.ACCESS_DENIED, message)


def immutable() -> Stalled:
    return Stalled(Reason.KUBERNETES_FAILED, "PATCH /x is refused: spec.tenantId is immutable: create another")


@pytest.mark.parametrize(
    ("guards", "error", "outcome"),
    [
        ((Guard.DECLARED,), None, Outcome.BREACH),
        ((Guard.DECLARED,), forbidden(DECLARED), Outcome.REFUSED),
        ((Guard.DECLARED,), forbidden(PROJECTED), Outcome.UNTRIED),
        ((Guard.DECLARED,), forbidden(BY_POLICY.format("of-somebody-else")), Outcome.UNTRIED),
        ((Guard.DECLARED,), forbidden(NO_RIGHT), Outcome.UNTRIED),
        ((Guard.PROJECTED,), forbidden(PROJECTED), Outcome.REFUSED),
        ((Guard.PROJECTED,), AlreadyExists("POST /x: exists already"), Outcome.UNTRIED),
        ((Guard.IMMUTABLE, Guard.DECLARED), immutable(), Outcome.REFUSED),
        ((Guard.IMMUTABLE, Guard.DECLARED), forbidden(DECLARED), Outcome.REFUSED),
        ((Guard.RIGHTS,), forbidden(NO_RIGHT), Outcome.REFUSED),
        ((Guard.RIGHTS,), forbidden("GET /x is forbidden: Unauthorized"), Outcome.UNTRIED),
        ((Guard.RIGHTS,), forbidden(DECLARED), Outcome.UNTRIED),
        ((Guard.RIGHTS,), Missing("PATCH /x: not found"), Outcome.BREACH),
        ((Guard.RIGHTS,), AlreadyExists("POST /x: exists already"), Outcome.BREACH),
        ((Guard.RIGHTS,), Transient(Reason.KUBERNETES_FAILED, "the API server did not answer"), Outcome.UNTRIED),
        ((Guard.REVIEW,), forbidden(Guard.REVIEW), Outcome.REFUSED),
        ((Guard.REVIEW,), forbidden(NO_RIGHT), Outcome.UNTRIED),
        ((), None, Outcome.PERMITTED),
        ((), forbidden(NO_RIGHT), Outcome.UNTRIED),
    ],
)
def test_only_a_refusal_by_what_has_to_refuse_counts(
    guards: tuple[Guard, ...], error: TenantConfigError | None, outcome: Outcome
) -> None:
    assert judged(Attempt("it", "create", "/x", {}, guards), error).outcome is outcome


def test_a_refusal_proves_nothing_while_the_control_is_refused() -> None:
    attempt = Attempt("forged", "create", "/x", {}, (Guard.DECLARED,))
    control = judged(Attempt("one's own", "create", "/x", {}, ()), forbidden(NO_RIGHT))
    assert control.detail == f"refusals prove nothing while this fails: {NO_RIGHT}; {ROLE}"
    result = judged(attempt, forbidden(DECLARED), control)
    assert result == Result("forged", Outcome.UNTRIED, f"proves nothing without “one's own”: {control.detail}")
    assert judged(attempt, None, control).outcome is Outcome.BREACH
    permitted = Result("one's own", Outcome.PERMITTED)
    assert judged(attempt, forbidden(DECLARED), permitted).outcome is Outcome.REFUSED


def test_whatever_is_refused_by_something_else_than_rights_has_a_control_with_the_same_right() -> None:
    relying = [(each, series.control) for series in SERIES for each in series.attempts if each.verb != "review"]
    for attempt, control in relying:
        if Guard.RIGHTS not in attempt.guards:
            assert control
            assert (attempt.verb, attempt.path, ()) == (control.verb, control.path, control.guards)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([], 3),
        ([Outcome.REFUSED, Outcome.PERMITTED], 0),
        ([Outcome.REFUSED, Outcome.UNTRIED], 3),
        ([Outcome.UNTRIED, Outcome.BREACH], 1),
    ],
)
def test_the_worst_counts(outcomes: list[Outcome], code: int) -> None:
    assert exit_code([Result("it", outcome) for outcome in outcomes]) == code


@pytest.mark.parametrize("gateway", ["127.0.0.1:port", "[::1", "127.0.0.1:9"])
@pytest.mark.parametrize(("outcome", "code"), [(Outcome.REFUSED, 3), (Outcome.BREACH, 1)])
def test_a_push_gateway_that_cannot_be_used_is_no_breach_and_hides_none(
    gateway: str, outcome: Outcome, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def results(settings: IsolationSettings) -> list[Result]:
        return [Result("it", outcome)]

    monkeypatch.setattr(app, "_all", results)
    assert app.run(settings(push_gateway=gateway)) == code
    assert capsys.readouterr().err.startswith(f"tenantconfig: --push-gateway {gateway} takes no metrics: ")


def test_a_defect_is_no_breach(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def fail(settings: IsolationSettings) -> list[Result]:
        raise RuntimeError("of ours")

    monkeypatch.setattr(app, "_all", fail)
    assert app.run(settings()) == 3
    assert "RuntimeError: of ours" in capsys.readouterr().err


def settings(push_gateway: str = "") -> IsolationSettings:
    return IsolationSettings(
        server="127.0.0.1:9",
        insecure=True,
        token_file=Path("/nowhere"),
        tenant="one",
        namespace="one",
        foreign_scope="other",
        foreign_namespace="other",
        push_gateway=push_gateway,
    )
