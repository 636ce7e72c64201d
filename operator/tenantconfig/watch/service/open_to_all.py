"""What a server says without a token, its health and its API's description; an address has a few such calls at once."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from tenantconfig.watch.service.quota import OPEN_TO_ALL, OPEN_TO_ALL_PER_ADDRESS, Peer, Quota, host_of

Context = grpc.aio.ServicerContext[Any, Any]


class OpenCalls:
    """Counts the calls that need no token."""

    def __init__(self) -> None:
        self._quota = Quota("calls without a token", OPEN_TO_ALL, OPEN_TO_ALL_PER_ADDRESS)

    async def admit(self, context: Context) -> None:
        """Count a call until it ends, or abort it."""
        host = host_of(context.peer())
        peer = Peer(host, "", "", host)
        if refusal := self._quota.take(peer):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
        context.add_done_callback(lambda _: self._quota.give(peer))  # type: ignore[arg-type]  # the stubs'


class Health(health.aio.HealthServicer):
    """The health service of gRPC, counted."""

    def __init__(self, calls: OpenCalls) -> None:
        super().__init__()
        self._calls = calls

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802  gRPC's name
        await self._calls.admit(context)
        await super().Watch(request, context)


class Reflection(reflection.aio.ReflectionServicer):
    """The reflection service of gRPC, counted."""

    def __init__(self, names: tuple[str, ...], calls: OpenCalls) -> None:
        super().__init__(names)
        self._calls = calls

    async def ServerReflectionInfo(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # type: ignore[override]  # noqa: N802
        await self._calls.admit(context)
        responses: Any = super().ServerReflectionInfo(requests, context)
        async for response in responses:
            yield response
