"""What becomes of messages about changes, where the store does not show yet what they tell of."""

from collections.abc import Callable
from typing import Any

import pytest

from tenantconfig import refresh
from tenantconfig.announcements import Announcements, Tally
from tenantconfig.errors import Reason, Stalled, Transient
from tenantconfig.known import Known
from tenantconfig.model import Location, Options, ResourceRef, Scope
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.passes import Outcome, Passes
from tenantconfig.rations import Rations
from tenantconfig.refresh import Notice, Poison, Refresh, read_notice

SCOPE, REF = Scope("acme"), ResourceRef("team", "test")
BODY: dict[str, Any] = {
    "metadata": {
        "name": "test",
        "namespace": "team",
        "uid": "uid",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2026-01-02T03:04:05Z",
    },
    "spec": {"tenantId": "acme", "entries": [{"key": "a", "value": 1}]},
}


def clock() -> float:
    return 1000.0


def unopened(location: Location, options: Options) -> Any:
    raise AssertionError("nothing was written here")


class Scene:
    """One resource; `shows` is what each pass over it finds in turn: a version, nothing new, or an error."""

    def __init__(self, *shows: str | Transient | Stalled | None) -> None:
        self.announcements = Announcements()
        self.passes = 0
        self._shows = shows
        known = Known()
        known.see_tenant_config(BODY)
        rations = Rations(wake=lambda ref: None)
        self.refresh = Refresh(
            known, Passes(self._pass, clock), self.announcements, OwnWrites(clock), unopened, rations, clock
        )

    async def _pass(self, ref: ResourceRef) -> Outcome:
        shown = self._shows[min(self.passes, len(self._shows) - 1)]
        self.passes += 1
        if isinstance(shown, str):
            self.announcements.find(ref, SCOPE, "a", shown, clock())
        return Outcome(shown if isinstance(shown, Transient | Stalled) else None)

    async def hear(self, *events: str, kind: str = "ssm") -> list[bool]:
        return await self.refresh([Notice(kind, "/t", SCOPE, "a", event) for event in events])


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "SECOND_LOOK_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("shows", "kind", "passes", "tally"),
    [
        (["2"], "ssm", 1, Tally(1, 0)),
        ([None, "2"], "ssm", 2, Tally(1, 0)),  # the first read lagged
        ([None, None], "ssm", 2, Tally()),  # there is nothing to see, and it is not asked for ever
        ([None, "2"], "dynamodb", 1, Tally()),  # its reads are consistent
        ([Transient(Reason.DRIFTED, "held"), "2"], "ssm", 2, Tally(1, 0)),
    ],
)
async def test_what_ssm_does_not_show_yet_is_looked_at_twice(
    shows: list[str | Transient | None], kind: str, passes: int, tally: Tally
) -> None:
    scene = Scene(*shows)
    assert await scene.hear("1", kind=kind) == [True]
    assert (scene.passes, scene.announcements.tally) == (passes, tally)
    assert not scene.announcements.unanswered(SCOPE, "a")
    assert scene.refresh.outcomes == {"changed": 1}


async def test_a_message_that_comes_again_is_not_looked_at_twice() -> None:
    scene = Scene("2", None)
    assert await scene.hear("1", "1") == [True, True]
    assert await scene.hear("1") == [True]
    assert scene.passes == 2
    assert scene.announcements.tally == Tally(1, 0)


@pytest.mark.parametrize(
    ("error", "done"),
    [
        (lambda: Transient(Reason.KUBERNETES_FAILED, "no status"), False),
        (lambda: Transient(Reason.RATE_LIMITED, "its turn comes"), True),
        (lambda: Stalled(Reason.INVALID, "nothing can be done"), True),
    ],
)
async def test_after_a_pass_that_failed_the_event_still_counts(
    error: Callable[[], Transient | Stalled], done: bool, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene(error())
    assert await scene.hear("1") == [done]
    assert ("A message about a of scope acme/_/_ comes again: no status" in caplog.text) is not done
    assert scene.passes == 1
    scene.announcements.find(REF, SCOPE, "a", "2", clock())
    assert scene.announcements.tally == Tally(1, 0)
    assert scene.refresh.outcomes == {"changed" if done else "again": 1}


@pytest.mark.parametrize("body", ["", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "null", "[]", '"x"'])
def test_a_message_of_any_shape_is_no_more_than_poison(body: str) -> None:
    with pytest.raises(Poison):
        read_notice(body)
