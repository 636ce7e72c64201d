"""What a server says without a token, its health and its API's description; an address has a few such calls at once."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection

from tenantconfig.watch.service.quota import OPEN_TO_ALL, OPEN_TO_ALL_PER_ADDRESS, Peer, Quota, host_of
from tenantconfig.watch.service.unary import only

Context = grpc.aio.ServicerContext[Any, Any]


class OpenCalls:
    """Counts the calls that need no token."""

    def __init__(self) -> None:
        self._quota = Quota("calls without a token", OPEN_TO_ALL, OPEN_TO_ALL_PER_ADDRESS)

    async def admit(self, context: Context) -> None:
        """Count a call until it ends, or abort it."""
        host = host_of(context.peer())
        if refusal := self._quota.lend(Peer(host, "", "", host), context):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)


class Health:
    """The health service of gRPC, of `services` and of the server as a whole.

    The library's own writes to clients while it holds the lock that a change of health waits for: one client that reads
    nothing would keep the server from ending.
    """

    def __init__(self, services: Collection[str], calls: OpenCalls) -> None:
        self.serving = False
        self._services = {"", *services}
        self._calls = calls
        self._checks = OpenCalls()  # probes have room whatever others do
        self._changed = asyncio.Event()

    def set(self, *, serving: bool) -> None:
        """Tell all who watch."""
        self.serving = serving
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def handler(self) -> grpc.GenericRpcHandler:
        """For a server."""
        read, write = health_pb2.HealthCheckRequest.FromString, health_pb2.HealthCheckResponse.SerializeToString
        methods = {
            "Check": grpc.stream_unary_rpc_method_handler(self._check, read, write),
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, read, write),
        }
        return grpc.method_handlers_generic_handler(health.SERVICE_NAME, methods)

    async def _check(self, requests: AsyncIterator[Any], context: Context) -> health_pb2.HealthCheckResponse:
        await self._checks.admit(context)
        request = await only(requests, context)
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service here")
        return self._response(request.service)

    async def _watch(self, requests: AsyncIterator[Any], context: Context) -> None:
        await self._calls.admit(context)
        request = await only(requests, context)
        said = None
        while True:
            changed, response = self._changed, self._response(request.service)
            if response != said:
                await context.write(response)
                said = response
            else:
                await changed.wait()

    def _response(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._services:
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        statuses = health_pb2.HealthCheckResponse
        return statuses(status=statuses.SERVING if self.serving else statuses.NOT_SERVING)


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
