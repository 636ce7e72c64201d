"""Whether kopf's watches are open, by what its HTTP session asks: who lists or watches again had lost one before."""

from collections.abc import Iterable
from typing import Any

import aiohttp
import yarl


class Liveness:
    """Of the watches of some kinds, by how their paths end. For the event loop's thread alone."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(paths)
        self._closed: set[str] = set()  # paths that were asked for, and not answered yet
        self._disturbed = False  # since `unheard` was asked last

    def trace(self) -> aiohttp.TraceConfig:
        """For the session that makes the watches."""
        config = aiohttp.TraceConfig()
        config.on_request_start.append(self._asked)
        config.on_request_end.append(self._answered)
        return config

    def unheard(self) -> str:
        """Why a change may not have been heard of since the last call; empty if all watches were open all the time."""
        disturbed, self._disturbed = self._disturbed, False
        if self._closed:
            return f"no watch is open on {', '.join(sorted(self._closed))}"
        return "a watch was closed and opened again" if disturbed else ""

    async def _asked(self, session: Any, context: Any, request: aiohttp.TraceRequestStartParams) -> None:
        if self._concerns(request.url):
            self._closed.add(request.url.path)
            self._disturbed = True

    async def _answered(self, session: Any, context: Any, request: aiohttp.TraceRequestEndParams) -> None:
        if self._concerns(request.url) and "watch" in request.url.query and request.response.ok:
            self._closed.discard(request.url.path)
            self._disturbed = True

    def _concerns(self, url: yarl.URL) -> bool:
        return url.path.endswith(self._paths)
