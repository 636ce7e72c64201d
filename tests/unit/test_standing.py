"""What the ConfigMaps that claim a scope come to."""

from datetime import UTC, datetime

import pytest

from tenantconfig.model import NamespaceRights, Scope, Snapshot, Version
from tenantconfig.watch.standing import (
    GRACE_SECONDS,
    UNKNOWN,
    AbsentReason,
    Claim,
    Moment,
    Namespace,
    StaleReason,
    Standing,
    judge,
)

SCOPE = Scope("acme", "prod")
VERIFIED = datetime(2026, 1, 2, tzinfo=UTC)
NOW = Moment(1000.0, VERIFIED)


def claim(
    uid: str = "a",
    revision: int = 5,
    digest: str = "",
    *,
    namespace: str = "home",
    created: str = "2026-01-01T00:00:00Z",
    problem: StaleReason | None = None,
    withdrawn: bool = False,
) -> Claim:
    version = Version(revision, digest or f"digest-{revision}")
    snapshot = Snapshot(SCOPE, version, {"revision": str(revision)})
    return Claim(uid, namespace, "1", created, snapshot, problem, withdrawn)


def namespaces(*declares: str, uid: str = "home-uid", ending: bool = False) -> dict[str, Namespace]:
    return {"home": Namespace(uid, NamespaceRights(frozenset(declares)), ending)}


PERMITTED = namespaces("acme")
FORBIDDEN = namespaces("globex")


def after(*steps: tuple[list[Claim], dict[str, Namespace]], at: Moment = NOW) -> Standing:
    """The standing after judging each of a row of worlds."""
    standing = UNKNOWN
    for claims, around in steps:
        standing = judge(standing, claims, around, at)
    return standing


def served(standing: Standing) -> int:
    assert standing.snapshot
    return standing.snapshot.version.revision


def reason(standing: Standing) -> str:
    assert standing.stale
    return standing.stale.reason


def test_a_permitted_claim_is_served() -> None:
    standing = after(([claim()], PERMITTED))
    assert served(standing) == 5
    assert standing.stale is None


def test_any_tenant_may_be_declared_with_a_star() -> None:
    assert served(after(([claim()], namespaces("*")))) == 5


def test_no_claim_is_not_found() -> None:
    assert after(([], PERMITTED)).absent is AbsentReason.NOT_FOUND


def test_a_newer_version_replaces() -> None:
    assert served(after(([claim()], PERMITTED), ([claim(revision=6)], PERMITTED))) == 6


def test_a_lower_revision_is_never_served() -> None:
    standing = after(([claim()], PERMITTED), ([claim(revision=4)], PERMITTED))
    assert served(standing) == 5
    assert reason(standing) == StaleReason.REVISION_WENT_BACK


def test_the_same_revision_with_another_digest_converges_on_the_latest_write() -> None:
    standing = after(([claim(digest="one")], PERMITTED), ([claim(digest="two")], PERMITTED))
    assert standing.snapshot
    assert standing.snapshot.version == Version(5, "two")


def test_of_two_claims_the_higher_revision_wins_and_then_the_younger() -> None:
    old, young = claim("a", created="2026-01-01T00:00:00Z"), claim("b", created="2026-01-02T00:00:00Z")
    for claims in ([old, young], [young, old]):
        standing = after((claims, PERMITTED))
        assert standing.source
        assert standing.source.uid == "b"
    assert served(after(([claim("a", 9), young], PERMITTED))) == 9


def test_a_marked_source_is_withdrawn() -> None:
    standing = after(([claim()], PERMITTED), ([claim(withdrawn=True)], PERMITTED))
    assert standing.absent is AbsentReason.WITHDRAWN
    assert standing.revision == 5


def test_withdrawn_outlives_the_configmap() -> None:
    steps = [([claim()], PERMITTED), ([claim(withdrawn=True)], PERMITTED), ([], PERMITTED)]
    assert after(*steps).absent is AbsentReason.WITHDRAWN


def test_a_marked_claim_is_withdrawn_for_a_server_that_starts_then() -> None:
    assert after(([claim(withdrawn=True)], PERMITTED)).absent is AbsentReason.WITHDRAWN
    assert after(([claim(withdrawn=True)], FORBIDDEN)).absent is AbsentReason.NOT_FOUND


def test_the_withdrawal_of_another_configmap_concerns_nobody() -> None:
    worlds = [([claim()], PERMITTED), ([claim(), claim("b", 5, withdrawn=True, created="2027")], PERMITTED)]
    assert served(after(*worlds)) == 5


def test_re_homed_to_another_configmap_the_first_one_may_go() -> None:
    first, second = claim("a"), claim("b", created="2026-02-01T00:00:00Z")
    for end in ([second], [claim("a", withdrawn=True), second]):
        standing = after(([first], PERMITTED), ([first, second], PERMITTED), (end, PERMITTED))
        assert served(standing) == 5
        assert standing.stale is None


def test_made_again_after_withdrawal() -> None:
    steps = [([claim()], PERMITTED), ([claim(withdrawn=True)], PERMITTED), ([], PERMITTED)]
    assert served(after(*steps, ([claim("b", 6)], PERMITTED))) == 6
    assert after(*steps, ([claim("b", 4)], PERMITTED)).absent is AbsentReason.WITHDRAWN


def test_disappeared_is_served_on_stale() -> None:
    standing = after(([claim()], PERMITTED), ([], PERMITTED))
    assert served(standing) == 5
    assert reason(standing) == StaleReason.DISAPPEARED
    assert standing.stale
    assert standing.stale.verified_as_of == VERIFIED


def test_the_grace_is_counted_from_the_disappearance() -> None:
    gone = after(([claim()], PERMITTED), ([], PERMITTED))
    almost = judge(gone, [], PERMITTED, Moment(NOW.monotonic + GRACE_SECONDS - 1))
    assert served(almost) == 5
    over = judge(almost, [], PERMITTED, Moment(NOW.monotonic + GRACE_SECONDS))
    assert over.absent is AbsentReason.NOT_FOUND
    assert over.stale is None


def test_put_back_by_hand_it_is_fresh_again() -> None:
    standing = after(([claim()], PERMITTED), ([], PERMITTED), ([claim("b")], PERMITTED))
    assert served(standing) == 5
    assert standing.stale is None
    assert standing.since is None


@pytest.mark.parametrize(
    ("claims", "around"),
    [
        ([], {}),
        ([claim()], {}),
        ([], namespaces("acme", ending=True)),
        ([claim()], namespaces("acme", ending=True)),
        ([], namespaces("acme", uid="made-again")),
    ],
    ids=["gone", "gone, news of the ConfigMap to come", "terminating", "about to be emptied", "made again, empty"],
)
def test_a_namespace_that_goes_withdraws_its_scopes(claims: list[Claim], around: dict[str, Namespace]) -> None:
    assert after(([claim()], PERMITTED), (claims, around)).absent is AbsentReason.WITHDRAWN


def test_a_claim_whose_namespace_is_not_known_yet_is_not_withdrawn() -> None:
    standing = after(([claim()], {}))
    assert standing.absent is None
    assert standing.snapshot is None
    assert reason(standing) == StaleReason.NOT_PERMITTED
    assert served(judge(standing, [claim()], PERMITTED, NOW)) == 5


def test_without_permission_nothing_is_served_and_nothing_said_but_that_it_is_stale() -> None:
    standing = after(([claim()], FORBIDDEN))
    assert (standing.snapshot, standing.absent) == (None, None)
    assert reason(standing) == StaleReason.NOT_PERMITTED


def test_when_permission_ends_what_was_admitted_is_served_on_and_nothing_new() -> None:
    standing = after(([claim()], PERMITTED), ([claim()], FORBIDDEN), ([claim(revision=6)], FORBIDDEN))
    assert served(standing) == 5
    assert reason(standing) == StaleReason.NOT_PERMITTED
    assert served(judge(standing, [claim(revision=6)], PERMITTED, NOW)) == 6


def test_without_permission_the_resource_can_still_be_withdrawn() -> None:
    steps = [([claim()], PERMITTED), ([claim()], FORBIDDEN), ([claim(withdrawn=True)], FORBIDDEN)]
    assert after(*steps).absent is AbsentReason.WITHDRAWN


def test_what_stood_in_the_way_goes() -> None:
    assert after(([claim()], FORBIDDEN), ([], FORBIDDEN)) == UNKNOWN


@pytest.mark.parametrize("problem", [StaleReason.DIGEST_MISMATCH, StaleReason.INVALID])
def test_a_claim_with_a_problem_is_not_served(problem: StaleReason) -> None:
    fresh = after(([claim(problem=problem)], PERMITTED))
    assert (fresh.snapshot, reason(fresh)) == (None, problem)
    standing = after(([claim()], PERMITTED), ([claim(revision=6, problem=problem)], PERMITTED))
    assert served(standing) == 5
    assert reason(standing) == problem


def test_a_problem_keeps_the_time_of_the_last_verification() -> None:
    first = after(([claim()], PERMITTED), ([], PERMITTED))
    later = judge(first, [], PERMITTED, Moment(1001.0, datetime(2026, 1, 3, tzinfo=UTC)))
    assert later.stale
    assert later.stale.verified_as_of == VERIFIED


def test_judging_twice_changes_nothing() -> None:
    worlds = [([claim()], PERMITTED), ([], PERMITTED), ([claim()], FORBIDDEN), ([claim(withdrawn=True)], PERMITTED)]
    for claims, around in worlds:
        once = after(([claim()], PERMITTED), (claims, around))
        assert judge(once, claims, around, NOW) == once
