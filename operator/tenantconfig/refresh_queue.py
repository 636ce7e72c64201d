"""The SQS queue of messages about changes: received one batch after another, deleted when dealt with, otherwise left.

One thread waits for messages; the event loop works on a bounded number of batches at
once, and while it has no room for another none is received. A batch that is being
worked on stays hidden from others. What cannot be read, or was not dealt with, comes
again, until the queue's own redrive policy takes it away.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tenantconfig.backoff import delay
from tenantconfig.errors import Reason, Stalled, TenantConfigError
from tenantconfig.refresh import Notice, Poison, read_notice
from tenantconfig.stores import aws

WAIT_SECONDS = 20  # of a long poll
BATCH = 10  # messages in one answer, at most
BATCHES = 8  # at once
HIDDEN_SECONDS = 60  # from receipt; extended at half of it
LONGEST_PAUSE_SECONDS = 30.0  # after answers that failed

REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-[0-9]+")

Handle = Callable[[Sequence[Notice]], Awaitable[Sequence[bool]]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the queue."""

    id: str
    receipt: str
    body: str
    attempts: int  # how often it was received


class Queue:
    """The queue at `url`. Its methods block; they raise Stalled or Transient."""

    def __init__(self, url: str) -> None:
        region = region_of(url) or aws.default_region()
        if not region:
            raise Stalled(Reason.INVALID, f"--refresh-queue-url {url} names no region: set AWS_DEFAULT_REGION")
        self._url = url
        self._client = aws.client("sqs", region, wait_seconds=WAIT_SECONDS)

    def receive(self) -> list[Message]:
        """The next messages; none if none came in time."""
        with aws.translated(f"queue {self._url}"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=WAIT_SECONDS,
                VisibilityTimeout=HIDDEN_SECONDS,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
        return [message_of(each) for each in answer.get("Messages", ())]

    def delete(self, messages: Sequence[Message]) -> None:
        """They are dealt with."""
        entries = [{"Id": str(number), "ReceiptHandle": each.receipt} for number, each in enumerate(messages)]
        with aws.translated(f"queue {self._url}"):
            self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def hide(self, messages: Sequence[Message]) -> None:
        """They are still worked on."""
        entries = [
            {"Id": str(number), "ReceiptHandle": each.receipt, "VisibilityTimeout": HIDDEN_SECONDS}
            for number, each in enumerate(messages)
        ]
        with aws.translated(f"queue {self._url}"):
            self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)


class Consumer:
    """Hands the messages of a queue to `handle`, from the time when it is run."""

    def __init__(self, queue: Queue, handle: Handle) -> None:
        self.poison = 0
        self._queue = queue
        self._handle = handle
        self._room = threading.Semaphore(BATCHES)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Consume, for ever."""
        loop, ended = asyncio.get_running_loop(), threading.Event()

        def take(messages: list[Message]) -> None:
            task = loop.create_task(self._work(messages))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        # A daemon: it may wait for an answer while the process ends.
        threading.Thread(target=self._receive, args=(loop, take, ended), name="refresh queue", daemon=True).start()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
            for task in self._tasks:
                task.cancel()

    def _receive(
        self, loop: asyncio.AbstractEventLoop, take: Callable[[list[Message]], None], ended: threading.Event
    ) -> None:
        failures = 0
        while not ended.is_set():
            self._room.acquire()
            messages: list[Message] = []
            try:
                messages = self._queue.receive()
                failures = 0
            except TenantConfigError as error:
                failures += 1
                logger.warning("Messages about changes cannot be received: %s", error)
            except Exception:  # nobody would notice the end of this thread
                failures += 1
                logger.exception("Messages about changes cannot be received by a defect")
            if messages and not ended.is_set():
                loop.call_soon_threadsafe(take, messages)
                continue
            self._room.release()
            if failures:
                time.sleep(delay(failures, 1.0, LONGEST_PAUSE_SECONDS))

    async def _work(self, messages: list[Message]) -> None:
        hiding = asyncio.create_task(self._keep_hidden(messages))
        try:
            notices = {each.id: notice for each in messages if (notice := self._notice(each))}
            readable = [each for each in messages if each.id in notices]
            done = await self._handle([notices[each.id] for each in readable]) if readable else []
            finished = [each for each, yes in zip(readable, done, strict=True) if yes]
            if finished:
                await asyncio.to_thread(self._queue.delete, finished)
        except TenantConfigError as error:
            logger.warning("Messages that were dealt with come again: %s", error)
        except Exception:
            logger.exception("Messages could not be dealt with by a defect")
        finally:
            hiding.cancel()
            self._room.release()

    async def _keep_hidden(self, messages: Sequence[Message]) -> None:
        while True:
            await asyncio.sleep(HIDDEN_SECONDS / 2)
            try:
                await asyncio.to_thread(self._queue.hide, messages)
            except TenantConfigError as error:
                logger.warning("Messages that are worked on may come again: %s", error)
            except Exception:
                logger.exception("Messages that are worked on may come again by a defect")

    def _notice(self, message: Message) -> Notice | None:
        try:
            return read_notice(message.body)
        except Poison as poison:
            self.poison += 1
            logger.warning("Message %s is not understood (received %d times): %s", message.id, message.attempts, poison)
            return None


def message_of(answer: dict[str, Any]) -> Message:
    attempts = int(answer.get("Attributes", {}).get("ApproximateReceiveCount", 1))
    return Message(answer["MessageId"], answer["ReceiptHandle"], answer.get("Body", ""), attempts)


def region_of(url: str) -> str | None:
    """The region that a queue's URL names, by whichever endpoint; None if it names none."""
    parts = (urlsplit(url).hostname or "").split(".")
    return next((part for part in parts if REGION.fullmatch(part)), None)
