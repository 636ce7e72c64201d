"""The queue: in which region it is asked, and what becomes of its messages."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from harness.wait import wait_for
from tenantconfig import refresh_queue
from tenantconfig.errors import Reason, Stalled, Transient
from tenantconfig.refresh import Notice
from tenantconfig.refresh_queue import BATCHES, Consumer, Message, Queue, region_of


class Stand(Queue):
    """In SQS's place: answers with batches while there are any, and then waits to be ended."""

    def __init__(self, *batches: Sequence[str]) -> None:
        self.batches = [self.received(*bodies) for bodies in batches]
        self.asked = 0
        self.deleted: list[str] = []
        self.hidden: list[str] = []
        self.failing: list[str] = []  # methods that fail
        self.ended = threading.Event()

    def received(self, *bodies: str) -> list[Message]:
        return [Message(f"id-{body}", f"receipt-{body}", body, 1) for body in bodies]

    def receive(self) -> list[Message]:
        self.asked += 1
        if self.batches:
            return self.batches.pop(0)
        self.ended.wait()
        return []

    def delete(self, messages: Sequence[Message]) -> None:
        self._fail("delete")
        self.deleted += [each.id for each in messages]

    def hide(self, messages: Sequence[Message]) -> None:
        self.hidden += [each.id for each in messages]
        self._fail("hide")

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise Transient(Reason.STORE_FAILED, f"{method} failed")


def notice(key: str) -> str:
    return json.dumps({"store": "ssm", "tenant": "acme", "key": key})


@asynccontextmanager
async def consuming(queue: Stand, handle: Callable[[Sequence[Notice]], Any]) -> AsyncIterator[Consumer]:
    consumer = Consumer(queue, handle)
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        task.cancel()
        queue.ended.set()
        with suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_for, lambda: bool(condition()), "the queue's part")


async def dealt_with(notices: Sequence[Notice]) -> list[bool]:
    return [True for _ in notices]


async def test_what_is_worked_on_stays_hidden_and_is_deleted_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh_queue, "HIDDEN_SECONDS", 0.01)
    queue, done = Stand([notice("a")]), asyncio.Event()
    queue.failing = ["hide"]

    async def slow(notices: Sequence[Notice]) -> list[bool]:
        await done.wait()
        return [True for _ in notices]

    async with consuming(queue, slow):
        await until(lambda: len(queue.hidden) >= 3)  # also when it fails at first
        assert queue.deleted == []
        done.set()
        await until(lambda: queue.deleted)
    assert queue.deleted == [f"id-{notice('a')}"]


async def test_only_what_is_dealt_with_is_deleted() -> None:
    queue = Stand([notice("a"), "{", notice("b")])

    async def half(notices: Sequence[Notice]) -> list[bool]:
        return [each.key == "b" for each in notices]

    async with consuming(queue, half) as consumer:
        await until(lambda: queue.deleted)
    assert queue.deleted == [f"id-{notice('b')}"]
    assert consumer.poison == 1


async def test_no_more_is_received_than_is_worked_on() -> None:
    batches = [[notice(str(number))] for number in range(BATCHES + 2)]
    queue, done, begun = Stand(*batches), asyncio.Event(), 0

    async def slow(notices: Sequence[Notice]) -> list[bool]:
        nonlocal begun
        begun += 1
        await done.wait()
        return [True for _ in notices]

    async with consuming(queue, slow):
        await until(lambda: begun == BATCHES)
        assert queue.asked == BATCHES
        done.set()
        await until(lambda: len(queue.deleted) == BATCHES + 2)


async def test_a_defect_and_a_deletion_that_fails_leave_room_for_the_next(caplog: pytest.LogCaptureFixture) -> None:
    batches = [[notice("defect")]] * BATCHES + [[notice("undeleted")]] * BATCHES + [[notice("well")]]
    queue = Stand(*batches)

    async def handle(notices: Sequence[Notice]) -> list[bool]:
        if notices[0].key == "defect":
            raise RuntimeError("by a test")
        queue.failing = ["delete"] if notices[0].key == "undeleted" else []
        return await dealt_with(notices)

    async with consuming(queue, handle):
        await until(lambda: f"id-{notice('well')}" in queue.deleted)
    assert "Messages could not be dealt with by a defect" in caplog.text
    assert "Messages that were dealt with come again: delete failed" in caplog.text


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("sqs.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
        ("sqs-fips.us-east-1.amazonaws.com", "us-east-1"),
        ("eu-west-1.queue.amazonaws.com", "eu-west-1"),
        ("vpce-0a1-b2.sqs.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("sqs.eu-central-1.localhost.localstack.cloud:4566", "eu-central-1"),
        ("sqs.localhost.localstack.cloud:4566", None),
        ("127.0.0.1:5000", None),
    ],
)
def test_the_region_is_in_the_address(host: str, region: str | None) -> None:
    assert region_of(f"https://{host}/123456789012/tenantconfig-blue") == region


def test_an_address_that_names_no_region_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Stalled, match="names no region: set AWS_DEFAULT_REGION"):
        Queue("http://127.0.0.1:5000/123456789012/tenantconfig-blue")
