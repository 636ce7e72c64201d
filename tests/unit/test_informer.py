"""List, watch, and all the ways in which a watch ends."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tenantconfig.errors import Expired, Reason, Transient
from tenantconfig.watch import informer
from tenantconfig.watch.informer import LONGEST_BACK_OFF_SECONDS, Informer, back_off, lines


def body(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}}


def event(kind: str, name: str, version: str) -> dict[str, Any]:
    return {"type": kind, "object": body(name, version)}


class Sink:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def replace(self, objects: Iterable[Any]) -> None:
        self.told.append(("replace", [each["metadata"]["name"] for each in objects]))

    def apply(self, body: Any) -> None:
        self.told.append(("apply", body["metadata"]["name"]))

    def delete(self, body: Any) -> None:
        self.told.append(("delete", body["metadata"]["name"]))


class Script:
    """An API server that gives its answers in order, and then none."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, str]] = []
        self.exhausted = asyncio.Event()

    async def get(self, path: str, seconds: float = 0, /) -> dict[str, Any]:
        answer: dict[str, Any] = await self._next(path)
        return answer

    @asynccontextmanager
    async def stream(self, path: str, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        events = await self._next(path)

        async def chunks() -> AsyncIterator[bytes]:
            for each in events:
                if isinstance(each, Exception):
                    raise each
                yield json.dumps(each).encode() + b"\n"

        yield chunks()

    async def _next(self, path: str) -> Any:
        self.asked.append({name: values[0] for name, values in parse_qs(urlsplit(path).query).items()})
        if not self.answers:
            self.exhausted.set()
            await asyncio.Event().wait()
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def listed(*names: str, version: str = "10", following: str = "") -> dict[str, Any]:
    return {
        "metadata": {"resourceVersion": version, "continue": following},
        "items": [body(name, "1") for name in names],
    }


async def run(script: Script, monkeypatch: pytest.MonkeyPatch) -> Sink:
    """What the sink was told when the script is through."""
    monkeypatch.setattr(informer, "SHORTEST_WATCH_SECONDS", 0.0)
    monkeypatch.setattr(informer, "FIRST_BACK_OFF_SECONDS", 0.001)
    sink = Sink()
    task = asyncio.create_task(Informer(script, "/things", sink, selector="label", silence=1.0).run())
    await asyncio.wait_for(script.exhausted.wait(), 30)
    task.cancel()
    return sink


DROPPED = Transient(Reason.KUBERNETES_FAILED, "dropped")


async def test_list_then_watch_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = [event("ADDED", "b", "11"), event("MODIFIED", "a", "12"), event("DELETED", "b", "13")]
    script = Script(listed("a"), watched)
    sink = await run(script, monkeypatch)
    assert sink.told == [("replace", ["a"]), ("apply", "b"), ("apply", "a"), ("delete", "b")]
    first, second, third = script.asked
    assert (first["labelSelector"], first.get("watch")) == ("label", None)
    assert (second["resourceVersion"], second["watch"], second["allowWatchBookmarks"]) == ("10", "true", "true")
    assert third["resourceVersion"] == "13"


async def test_a_long_list_comes_in_pages_and_is_taken_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(listed("a", following="more"), listed("b", version="20"))
    sink = await run(script, monkeypatch)
    assert sink.told == [("replace", ["a", "b"])]
    assert script.asked[1]["continue"] == "more"
    assert script.asked[2]["resourceVersion"] == "20"


async def test_a_list_that_fails_half_way_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = await run(Script(listed("a", following="more"), DROPPED, listed("a", "b")), monkeypatch)
    assert sink.told == [("replace", ["a", "b"])]


async def test_bookmarks_move_the_place_to_resume_from(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script(listed(), [event("BOOKMARK", "", "99")])
    sink = await run(script, monkeypatch)
    assert sink.told == [("replace", [])]
    assert script.asked[-1]["resourceVersion"] == "99"


@pytest.mark.parametrize("ending", [[DROPPED], DROPPED, [], [{"type": "ERROR", "object": {"code": 500}}]])
async def test_a_watch_that_breaks_goes_on_from_the_last_event(monkeypatch: pytest.MonkeyPatch, ending: Any) -> None:
    script = Script(listed(), [event("ADDED", "a", "11")], ending, [event("ADDED", "b", "12")])
    sink = await run(script, monkeypatch)
    assert sink.told == [("replace", []), ("apply", "a"), ("apply", "b")]
    assert [each["resourceVersion"] for each in script.asked[1:]] == ["10", "11", "11", "12"]


@pytest.mark.parametrize("ending", [[{"type": "ERROR", "object": {"code": 410}}], Expired("too old")])
async def test_a_history_that_expired_is_listed_again(monkeypatch: pytest.MonkeyPatch, ending: Any) -> None:
    script = Script(listed("a"), ending, listed("b", version="50"))
    sink = await run(script, monkeypatch)
    assert sink.told == [("replace", ["a"]), ("replace", ["b"])]
    assert script.asked[-1]["resourceVersion"] == "50"


async def test_a_server_that_is_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = await run(Script(DROPPED, DROPPED, listed("a")), monkeypatch)
    assert sink.told == [("replace", ["a"])]


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([b"one\ntwo\n"], [b"one", b"two"]),
        ([b"o", b"n", b"e\nt", b"wo", b"\n"], [b"one", b"two"]),
        ([b"\n\none\n"], [b"one"]),
        ([b"one\nhalf"], [b"one"]),
        ([b"x" * 2**20] * 8 + [b"\n"], [b"x" * 2**23]),
    ],
)
async def test_lines_from_chunks_of_any_size(parts: list[bytes], expected: list[bytes]) -> None:
    assert [line async for line in lines(_chunks(*parts))] == expected


def test_back_off_grows_to_a_limit_and_is_spread() -> None:
    assert back_off(1, lambda: 1.0) < back_off(2, lambda: 1.0) < back_off(50, lambda: 1.0) == LONGEST_BACK_OFF_SECONDS
    assert back_off(5, lambda: 0.0) == back_off(5, lambda: 1.0) / 2
