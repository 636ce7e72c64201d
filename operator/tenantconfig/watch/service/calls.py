"""The methods of the service, and all their streams: authentication, reading, writing, heartbeats, the end."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from tenantconfig.access import Rights, denial
from tenantconfig.identity import KeysUnavailable, TokenRefused, Verifier
from tenantconfig.model import Claims
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.service.encoding import snapshot_response
from tenantconfig.watch.service.quota import UNREAD_ANSWERS, Limits, Quota, peer_of
from tenantconfig.watch.service.stream import End, Stream
from tenantconfig.watch.service.unary import only
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb

SERVICE = "tenantconfig.watch.v1.WatchService"
LONGEST_PULSE_SECONDS = 4.0  # heartbeats come at least this often
SHORTEST_PULSE_SECONDS = 1.0  # and at most this often
STUCK_SECONDS = 30.0  # a client that takes nothing, or asks for nothing, for that long is sent away
BATCH = 100  # streams that are woken before others get their turn
DRAIN_SECONDS = 5.0  # the most that ending all streams is spread over
DRAIN_PER_SECOND = 500

DEFAULT_LIMITS = Limits()

Context = grpc.aio.ServicerContext[Any, Any]

logger = logging.getLogger(__name__)


class Refused(Exception):
    """A call that ends with a status of its own."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.end: End = (code, message)


class WatchService:
    """All streams of a server."""

    def __init__(
        self,
        hub: Hub,
        verifier: Verifier,
        rights: Rights,
        limits: Limits = DEFAULT_LIMITS,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.sent: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.acknowledgements: Counter[str] = Counter()
        self.streams: set[Stream] = set()
        self.subscriptions = Quota("subscriptions", limits.subscriptions, limits.subscriptions_per_peer)
        self._places = Quota("streams", limits.streams, limits.streams_per_peer)
        self._answers = Quota("unread answers", UNREAD_ANSWERS, UNREAD_ANSWERS // 8, UNREAD_ANSWERS // 4)
        self._hub = hub
        self._verifier = verifier
        self._rights = rights
        self._wall_clock = wall_clock
        self._news = asyncio.Event()
        self._draining = False
        hub.on_freshness = self._news.set

    def handler(self) -> grpc.GenericRpcHandler:
        """For a server; answers are bytes already, so nothing serialises them."""
        methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            "Watch": grpc.stream_stream_rpc_method_handler(self._watch, pb.WatchRequest.FromString, None),
            "GetSnapshot": grpc.stream_unary_rpc_method_handler(
                self._get_snapshot, pb.GetSnapshotRequest.FromString, None
            ),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def reauthorize(self, namespace: str) -> None:
        """Look again at what the pods of a namespace may read."""
        for stream in self.streams:
            if stream.claims.namespace == namespace:
                stream.reauthorize()

    async def pulse(self) -> None:
        """Heartbeats to all streams: when freshness changes, and now and then when it does not. Never returns."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LONGEST_PULSE_SECONDS - SHORTEST_PULSE_SECONDS)
            self._news.clear()
            now = asyncio.get_running_loop().time()
            for index, stream in enumerate(list(self.streams)):
                if stream.sending_since is not None and now - stream.sending_since > STUCK_SECONDS:
                    self._cut(stream)
                if now - stream.opened > STUCK_SECONDS:
                    stream.expect()
                stream.beat()
                if index % BATCH == BATCH - 1:
                    await asyncio.sleep(0)
            await asyncio.sleep(SHORTEST_PULSE_SECONDS)

    def _cut(self, stream: Stream) -> None:
        logger.info("a stream of %s has taken nothing for %g s: ended", stream.claims.issuer, STUCK_SECONDS)
        stream.cut(grpc.StatusCode.RESOURCE_EXHAUSTED, f"the client has taken nothing for {STUCK_SECONDS:g} s")
        self.ended["stuck"] += 1

    async def drain(self) -> None:
        """End all streams, spread out so that their clients do not reach the next server as one."""
        self._draining = True
        streams = list(self.streams)
        pause = min(DRAIN_SECONDS, len(streams) / DRAIN_PER_SECOND) / max(1, len(streams))
        for stream in streams:
            stream.finish(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
            await asyncio.sleep(pause)

    async def _watch(self, requests: AsyncIterator[pb.WatchRequest], context: Context) -> None:
        try:
            stream = await self._open(context)
        except Refused as refused:
            await context.abort(*refused.end)
        expiry = asyncio.get_running_loop().call_later(
            stream.claims.expires_at - self._wall_clock(),
            stream.finish,
            grpc.StatusCode.UNAUTHENTICATED,
            "the token has expired",
        )
        reader = asyncio.create_task(_read(stream, requests))
        self.streams.add(stream)
        try:
            await context.send_initial_metadata(())  # a client that waits for this before it writes loses no status
            end = await self._write(stream, context)
        except asyncio.CancelledError:
            if stream.end is None:
                raise  # the client is gone
            end = stream.end
        finally:
            self.streams.discard(stream)
            expiry.cancel()
            reader.cancel()
            stream.close()
            self._places.give(stream.peer)
        await context.abort(*end)

    async def _open(self, context: Context) -> Stream:
        claims = await self._admit(context)
        if self._draining:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        peer = peer_of(context.peer(), claims)
        if refusal := self._places.take(peer):
            self.ended["refused"] += 1
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
        return Stream(self._hub, claims, self._rights, peer, self.subscriptions, self.acknowledgements)

    async def _write(self, stream: Stream, context: Context) -> End:
        while stream.end is None:
            message = stream.next_message()
            if message is None:
                await stream.wait()
            else:
                kind, encoded = message
                stream.sending_since = asyncio.get_running_loop().time()
                await context.write(encoded)
                stream.sending_since = None
                self.sent[kind] += 1
        return stream.end

    async def _admit(self, context: Context) -> Claims:
        """Who asks. Before the cluster was read nobody's rights are known, and a denial would be taken for final."""
        claims = await self._authenticate(context)
        if not self._hub.synced:
            raise Refused(grpc.StatusCode.UNAVAILABLE, "the server has not read the cluster yet")
        return claims

    async def _authenticate(self, context: Context) -> Claims:
        values = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        scheme, _, token = str(values[0]).partition(" ") if len(values) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, "the metadata `authorization: Bearer <token>` is missing")
        try:
            return await self._verifier.verify(token.strip())
        except TokenRefused as refused:
            raise Refused(grpc.StatusCode.UNAUTHENTICATED, str(refused)) from None
        except KeysUnavailable as error:
            raise Refused(grpc.StatusCode.UNAVAILABLE, str(error)) from None

    async def _get_snapshot(self, requests: AsyncIterator[pb.GetSnapshotRequest], context: Context) -> bytes:
        try:
            claims = await self._admit(context)
            self._hold_answer(claims, context)
            request = await only(requests, context)
            if claims.expires_at <= self._wall_clock():
                raise Refused(grpc.StatusCode.UNAUTHENTICATED, "the token has expired")
            scope = codec.read_scope(request.scope)
            if reason := denial(claims, scope, self._rights):
                raise Refused(grpc.StatusCode.PERMISSION_DENIED, reason)
        except codec.Malformed as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Refused as refused:
            await context.abort(*refused.end)
        return snapshot_response(self._hub, scope, codec.read_version(request.known))

    def _hold_answer(self, claims: Claims, context: Context) -> None:
        """Count the answer until the client has taken it, or is gone.

        However long that takes: to cancel the call here would free the place, and not the memory.
        """
        if refusal := self._answers.lend(peer_of(context.peer(), claims), context):
            raise Refused(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)


async def _read(stream: Stream, requests: AsyncIterator[pb.WatchRequest]) -> None:
    """Take requests until the client has no more; it may go on listening then."""
    try:
        async for request in requests:
            if stream.end:
                return
            stream.take(request)
    except DecodeError:
        stream.finish(grpc.StatusCode.INVALID_ARGUMENT, "the request is no WatchRequest")
    except Exception:
        logger.exception("a stream's requests cannot be read")
        stream.finish(grpc.StatusCode.INTERNAL, "the request could not be read")
