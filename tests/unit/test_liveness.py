"""Whether watches are open, as an HTTP session shows it; the server is real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tenantconfig.liveness import Liveness

WATCHED, OTHER = "/apis/example.dev/v1/things", "/apis/other.dev/v1/others"


class Server:
    """Answers watches with a stream that stays open until it is told to end."""

    def __init__(self) -> None:
        self.status = 200
        self.end = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=self.status)
        await response.prepare(request)
        if "watch" in request.query and self.status == 200:
            await self.end.wait()
        return response

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        application = web.Application()
        application.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(application, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/cluster"
        finally:
            self.end.set()
            await runner.cleanup()


@pytest.fixture
def server() -> Server:
    return Server()


def heard(liveness: Liveness) -> list[bool]:
    """Whether all was heard of, asked twice."""
    return [not liveness.unheard(), not liveness.unheard()]


async def test_who_watches_vouches_from_the_second_look_on(server: Server) -> None:
    liveness = Liveness(["/v1/things"])
    async with (
        server.running() as url,
        aiohttp.ClientSession(trace_configs=[liveness.trace()]) as session,
        asyncio.timeout(60),
    ):
        assert heard(liveness) == [True, True]
        watch = await session.get(url + WATCHED, params={"watch": "true"})
        assert heard(liveness) == [False, True]

        server.end.set()
        await watch.read()
        server.status = 503
        await session.get(url + WATCHED, params={"watch": "true"})
        assert heard(liveness) == [False, False]
        assert "no watch is open on /cluster/apis/example.dev/v1/things" in liveness.unheard()
        server.status = 200
        server.end.clear()
        await session.get(url + WATCHED, params={"watch": "true"})
        assert heard(liveness) == [False, True]


async def test_who_lists_does_not_watch(server: Server) -> None:
    liveness = Liveness(["/v1/things"])
    async with server.running() as url, aiohttp.ClientSession(trace_configs=[liveness.trace()]) as session:
        await session.get(url + WATCHED, params={"limit": "500"})
        assert heard(liveness) == [False, False]
        await session.get(url + WATCHED, params={"watch": "true"})
        assert heard(liveness) == [False, True]


async def test_other_requests_and_other_kinds_say_nothing(server: Server) -> None:
    liveness = Liveness(["/v1/things"])
    async with server.running() as url, aiohttp.ClientSession(trace_configs=[liveness.trace()]) as session:
        server.status = 503
        await session.patch(f"{url}{WATCHED}/one")
        await session.get(url + OTHER, params={"watch": "true"})
        assert heard(liveness) == [True, True]


async def test_a_server_that_is_not_there_leaves_the_watch_closed() -> None:
    liveness = Liveness(["/v1/things"])
    async with aiohttp.ClientSession(trace_configs=[liveness.trace()]) as session:
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get("http://127.0.0.1:1" + WATCHED, params={"watch": "true"})
    assert heard(liveness) == [False, False]
