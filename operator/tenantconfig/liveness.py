"""Whether kopf's watches are open, by what its HTTP session asks: a watch that is asked for again had ended before."""

from collections.abc import Iterable
from typing import Any

import aiohttp
import yarl


class Liveness:
    """Of the watches of some kinds, by how their paths end. For the event loop's thread alone."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._closed: set[str] = set()  # paths that were asked for, and not answered yet
        self._disturbed = False  # since `steady` was asked last

    def trace(self) -> aiohttp.TraceConfig:
        """For the session that makes the watches."""
        config = aiohttp.TraceConfig()
        config.on_request_start.append(self._asked)
        config.on_request_end.append(self._answered)
        return config

    def steady(self) -> bool:
        """Whether all watches are open, and have been since the last call."""
        steady = not self._closed and not self._disturbed
        self._disturbed = False
        return steady

    async def _asked(self, session: Any, context: Any, request: aiohttp.TraceRequestStartParams) -> None:
        if self._concerns(request.url):
            self._closed.add(request.url.path)
            self._disturbed = True

    async def _answered(self, session: Any, context: Any, request: aiohttp.TraceRequestEndParams) -> None:
        if self._concerns(request.url) and request.response.ok:
            self._closed.discard(request.url.path)
            self._disturbed = True

    def _concerns(self, url: yarl.URL) -> bool:
        return "watch" in url.query and url.path.endswith(self._paths)
