"""Keeps a sink in step with a collection of the API server: list, then watch, and again whenever that breaks.

    list ─► replace(all) ─► watch from there ─► apply / delete …
      ▲                        │    ▲ │
      └── 410: too old ────────┘    └─┘ ended, cut off or silent: watch on from the last
                                       resourceVersion, with back-off if nothing came

Raw JSON throughout: a model per object would cost more than all the rest.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol
from urllib.parse import urlencode

from tenantconfig.backoff import delay
from tenantconfig.errors import Expired, TenantConfigError

PAGE = 500
LIST_TIMEOUT_SECONDS = 60.0
WATCH_SECONDS = (240, 480)  # how long a watch is asked to last; spread, so that servers do not renew as one
SHORTEST_WATCH_SECONDS = 1.0
FIRST_BACK_OFF_SECONDS = 0.2
LONGEST_BACK_OFF_SECONDS = 15.0

Object = Mapping[str, Any]
Chunks = AbstractAsyncContextManager[AsyncIterator[bytes]]

logger = logging.getLogger(__name__)


class Cluster(Protocol):
    """What an informer needs of the API server. Both raise TenantConfigError; of a watch too old, Expired."""

    async def get(self, path: str, seconds: float = ..., /) -> dict[str, Any]: ...

    def stream(self, path: str, silence: float) -> Chunks:
        """The body of an answer as it comes; it ends when nothing comes for `silence` seconds."""


class Sink(Protocol):
    """What an informer keeps in step."""

    def replace(self, objects: Iterable[Object]) -> None: ...

    def apply(self, body: Object) -> None: ...

    def delete(self, body: Object) -> None: ...


class WatchFailed(Exception):
    """The API server ended a watch with an error."""


class Informer:
    """One collection and its sink."""

    def __init__(self, cluster: Cluster, path: str, sink: Sink, *, selector: str = "", silence: float) -> None:
        self._cluster = cluster
        self._path = path
        self._sink = sink
        self._selector = selector
        self._silence = silence
        self._version = ""  # to watch from; empty: list first
        self._failures = 0
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                if not self._version:
                    await self._list()
                began = time.monotonic()
                await self._watch()
                if time.monotonic() - began < SHORTEST_WATCH_SECONDS:
                    raise WatchFailed("the API server ended the watch at once")
            except Expired:
                logger.info("history of %s expired, listing again", self._path)
                self._version = ""
            except (TenantConfigError, WatchFailed) as error:
                self._failures += 1
                logger.warning("cannot watch %s: %s", self._path, error)
                await asyncio.sleep(back_off(self._failures))

    async def _list(self) -> None:
        objects: list[Object] = []
        query = {"limit": str(PAGE)}
        while True:
            page = await self._cluster.get(self._url(query), LIST_TIMEOUT_SECONDS)
            objects += page.get("items") or ()
            following = page["metadata"].get("continue")
            if not following:
                break
            query = {"limit": str(PAGE), "continue": following}
        self._sink.replace(objects)
        self._version = page["metadata"]["resourceVersion"]
        self._failures = 0
        self.synced.set()

    async def _watch(self) -> None:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": str(random.randint(*WATCH_SECONDS)),  # noqa: S311  no secret
        }
        async with self._cluster.stream(self._url(query), self._silence) as chunks, aclosing(lines(chunks)) as events:
            async for line in events:
                self._take(json.loads(line))
                self._failures = 0

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, body = event["type"], event["object"]
        if kind == "ERROR":
            if body.get("code") == 410:
                raise Expired("the history is gone")
            raise WatchFailed(str(body.get("message", "no message")))
        if kind in {"ADDED", "MODIFIED"}:
            self._sink.apply(body)
        elif kind == "DELETED":
            self._sink.delete(body)
        self._version = body["metadata"]["resourceVersion"]

    def _url(self, query: dict[str, str]) -> str:
        selector = {"labelSelector": self._selector} if self._selector else {}
        return f"{self._path}?{urlencode(selector | query)}"


def back_off(failures: int, spread: Callable[[], float] = random.random) -> float:
    """Seconds to wait after that many failures in a row: doubling up to a limit, the upper half by chance."""
    return delay(failures + 1, FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS, spread)


async def lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Whole lines from chunks of any size. (aiohttp's own line reader fails on long ones.)"""
    parts: list[bytes] = []
    async for chunk in chunks:
        head, *rest = chunk.split(b"\n")
        parts.append(head)
        for each in rest:
            line = b"".join(parts)
            parts = [each]
            if line:
                yield line
