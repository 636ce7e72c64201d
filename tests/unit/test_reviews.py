"""What the API server says of tokens: asked once, used for a minute, and never guessed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tenantconfig.errors import Reason, TenantConfigError, Transient
from tenantconfig.identity import KeysUnavailable, TokenRefused
from tenantconfig.kubeapi import Body, KubeApi
from tenantconfig.reviews import KEPT, KEPT_SECONDS, PATH, Reviews

AUDIENCES = frozenset({"tenantconfig"})


class Reviewer(KubeApi):
    """An API server that answers reviews as it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.status: dict[str, Any] = {"authenticated": True, "audiences": ["tenantconfig"]}
        self.error: TenantConfigError | None = None
        self.answers = asyncio.Event()
        self.answers.set()

    async def post(self, path: str, body: Mapping[str, Any]) -> Body:
        assert path == PATH
        assert body["spec"]["audiences"] == ["tenantconfig"]
        self.asked.append(body["spec"]["token"])
        await self.answers.wait()
        if self.error:
            raise self.error
        return {"status": self.status}


class Scene:
    def __init__(self) -> None:
        self.now = 0.0
        self.server = Reviewer()
        self.reviews = Reviews(self.server, lambda: self.now)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_an_answer_is_used_for_a_minute(scene: Scene) -> None:
    for _ in range(3):
        await scene.reviews("token", AUDIENCES)
    assert scene.server.asked == ["token"]
    scene.now = KEPT_SECONDS
    scene.server.status = {"authenticated": False}
    with pytest.raises(TokenRefused, match="does not stand by"):
        await scene.reviews("token", AUDIENCES)


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"authenticated": False, "audiences": ["tenantconfig"]},
        {"authenticated": "true", "audiences": ["tenantconfig"]},
        {"authenticated": True},
        {"authenticated": True, "audiences": ["other"]},
    ],
)
async def test_whatever_is_not_a_plain_yes_for_this_audience_is_a_no(scene: Scene, status: dict[str, Any]) -> None:
    scene.server.status = status
    with pytest.raises(TokenRefused):
        await scene.reviews("token", AUDIENCES)


@pytest.mark.parametrize(
    ("reason", "why"), [(Reason.KUBERNETES_FAILED, "at the moment"), (Reason.ACCESS_DENIED, "does not let this server")]
)
async def test_no_answer_is_neither_and_is_asked_for_again(scene: Scene, reason: Reason, why: str) -> None:
    scene.server.error = Transient(reason, "no")
    with pytest.raises(KeysUnavailable, match=why):
        await scene.reviews("token", AUDIENCES)
    scene.server.error = None
    await scene.reviews("token", AUDIENCES)
    assert scene.server.asked == ["token", "token"]


async def test_many_who_bear_one_token_cause_one_question_even_if_the_first_goes_away(scene: Scene) -> None:
    scene.server.answers.clear()
    asking = [asyncio.create_task(scene.reviews("token", AUDIENCES)) for _ in range(100)]
    await asyncio.sleep(0)
    asking[0].cancel()
    scene.server.answers.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert set(outcomes[1:]) == {None}
    assert scene.server.asked == ["token"]


async def test_what_is_kept_is_bounded_and_holds_no_token(scene: Scene) -> None:
    for number in range(KEPT + 5):
        await scene.reviews(f"token-{number}", AUDIENCES)
    assert len(scene.reviews._answers) == KEPT
    assert not any(isinstance(key, str) for key in scene.reviews._answers)
    await scene.reviews("token-0", AUDIENCES)
    assert scene.server.asked[-1] == "token-0"
