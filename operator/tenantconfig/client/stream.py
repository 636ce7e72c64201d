"""Streams to a watch server, for as long as the caller listens.

A stream that ends is opened again after a jittered back-off, with the token and the
CA read afresh, from what is held. The caller hears of it and decides when to give up.
Calls are cancelled in so many words: an abandoned one would stay open.
"""

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tenantconfig.backoff import delay
from tenantconfig.client.view import (
    NO_CREDENTIALS,
    NO_TRUST,
    Changed,
    Denied,
    Disconnected,
    Event,
    Gone,
    StaleScope,
    Unchanged,
    View,
    read_stale,
)
from tenantconfig.model import Scope, digest
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb

FIRST_BACK_OFF_SECONDS = 0.2
LONGEST_BACK_OFF_SECONDS = 10.0
SILENCE_SECONDS = 20.0  # heartbeats come every few: beyond this the connection is taken for dead
CALL_SECONDS = 10.0
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
LASTING = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    # The channel's own back-off, below ours: a server that is back is found at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 3_000),  # also what a connection and its handshake may take
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # Channels of one process would share a connection, and a token's end would not be theirs alone.
    ("grpc.use_local_subchannel_pool", 1),
)
PEM = b"-----BEGIN CERTIFICATE-----"
TOKEN = re.compile(rb"[!-~]+")  # what gRPC takes as metadata, without spaces
WATCH = "/tenantconfig.watch.v1.WatchService/Watch"
GET_SNAPSHOT = "/tenantconfig.watch.v1.WatchService/GetSnapshot"

Call = grpc.aio.StreamStreamCall[Any, pb.WatchResponse]


class FileUnusable(Exception):
    """The token file or the CA file cannot be used; the message says what is wrong with it, `code` which it is."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a watch server."""

    server: str  # HOST:PORT, or several with commas between them
    token_file: Path  # read again for each stream
    ca_file: Path | None = None  # read again for each stream; None: what the system trusts
    insecure: bool = False  # no TLS

    @property
    def servers(self) -> Sequence[str]:
        return [part.strip() for part in self.server.split(",") if part.strip()]

    def channel(self, server: str) -> grpc.aio.Channel:
        """Raises FileUnusable."""
        if self.insecure:
            return grpc.aio.insecure_channel(server, options=OPTIONS)
        roots = _certificates(self.ca_file) if self.ca_file else None
        return grpc.aio.secure_channel(server, grpc.ssl_channel_credentials(roots), options=OPTIONS)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Raises FileUnusable."""
        try:
            token = self.token_file.read_bytes().strip()
        except OSError as error:
            raise FileUnusable(
                NO_CREDENTIALS, f"token file {self.token_file} cannot be read: {error.strerror}"
            ) from None
        if not TOKEN.fullmatch(token):
            message = f"token file {self.token_file} does not hold a token: one word of ASCII is wanted"
            raise FileUnusable(NO_CREDENTIALS, message)
        return (("authorization", f"Bearer {token.decode()}"),)


def _certificates(file: Path) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise FileUnusable(NO_TRUST, f"CA file {file} cannot be read: {error.strerror}") from None
    if PEM not in content:
        raise FileUnusable(NO_TRUST, f"CA file {file} does not hold a certificate: PEM is wanted")
    return content


class _Silent(Exception):
    """Nothing came for too long."""


async def watch(connection: Connection, view: View) -> AsyncGenerator[Event, None]:
    """What happens to the scopes of a view, from what it holds on; never ends by itself. Close it after use."""
    failures = 0
    for server in cycle(connection.servers):
        denied: Denied | None = None
        try:
            last_token = connection.metadata()
            async with aclosing(_stream(connection, server, last_token, view)) as events:
                async for event in events:
                    failures = 0
                    yield event
            ended = Disconnected("OK", "the server ended the stream", lasting=False)
        except grpc.aio.AioRpcError as error:
            denied = _turned_away(error, view)
            ended = _disconnected(error, otherwise=denied is not None or _renewed(connection, last_token, error))
        except FileUnusable as error:
            ended = Disconnected(error.code, str(error), lasting=True)
        except _Silent:
            ended = Disconnected("DEADLINE_EXCEEDED", f"silent for {SILENCE_SECONDS:g} s", lasting=False)
        failures += 1
        if denied:
            failures = 1  # there are only so many scopes that the next one may do without
            yield denied
        yield ended
        await asyncio.sleep(back_off(failures))


async def _stream(
    connection: Connection, server: str, metadata: tuple[tuple[str, str], ...], view: View
) -> AsyncGenerator[Event, None]:
    """One stream, over a channel of its own: nothing of it is left when it has ended."""
    async with connection.channel(server) as channel, _opened(channel, metadata) as call:
        async for event in _events(call, view):
            yield event


def _turned_away(error: grpc.aio.AioRpcError, view: View) -> Denied | None:
    """The scope because of which the stream ended, if the next one may do without it."""
    refused = error.code() is grpc.StatusCode.PERMISSION_DENIED
    return view.turned_away(error.details() or "") if refused else None


def _renewed(connection: Connection, last_token: tuple[tuple[str, str], ...], error: grpc.aio.AioRpcError) -> bool:
    """Whether the token was refused, and there is another one by now."""
    if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
        return False
    try:
        return connection.metadata() != last_token
    except FileUnusable:
        return True  # trying again tells what is wrong with it


@asynccontextmanager
async def _opened(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> AsyncIterator[Call]:
    method = channel.stream_stream(WATCH, pb.WatchRequest.SerializeToString, pb.WatchResponse.FromString)
    call: Call = method(metadata=metadata)
    try:
        yield call
    finally:
        call.cancel()


async def _events(call: Call, view: View) -> AsyncIterator[Event]:
    # A write that meets the end of a refused call makes grpc.aio report an internal error in place of the refusal.
    async with _patience():
        await call.initial_metadata()
    # So the other scopes are asked for once there is an answer about the first: it may be that the call is refused.
    opening = view.opening()
    await _say(call, opening[:1])
    others = opening[1:]
    while True:
        async with _patience():
            response: Any = await call.read()
        if response is grpc.aio.EOF:
            await _raise_status(call)
            return
        await _say(call, others)
        others = []
        event, answers = view.take(response, datetime.now(UTC))
        if event:
            yield event
        await _say(call, answers)


@asynccontextmanager
async def _patience() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            yield
    except TimeoutError:
        raise _Silent from None


async def _say(call: Call, requests: Sequence[pb.WatchRequest]) -> None:
    with suppress(asyncio.InvalidStateError):  # the call has ended; reading tells how
        for request in requests:
            await call.write(request)


async def _raise_status(call: Call) -> None:
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        metadata = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(code, metadata, metadata, details=await call.details())


def _disconnected(error: grpc.aio.AioRpcError, *, otherwise: bool = False) -> Disconnected:
    """How a stream ended; `otherwise`: the next one will not ask for the same in the same way."""
    code = error.code()
    return Disconnected(code.name, error.details() or "", lasting=code in LASTING and not otherwise)


def back_off(failures: int, spread: Callable[[], float] = random.random) -> float:
    """Seconds to wait after that many failures in a row: doubling up to a limit, the upper half by chance."""
    return delay(failures, FIRST_BACK_OFF_SECONDS, LONGEST_BACK_OFF_SECONDS, spread)


Answer = tuple[Changed | Unchanged | Gone | Disconnected, StaleScope | None]


async def get(connection: Connection, scope: Scope) -> Answer:
    """A scope as it is now, and whether that may not be the latest: from the first server that has an answer."""
    for server in connection.servers:
        answer = await _get(connection, server, scope)
        if not isinstance(answer[0], Disconnected) or answer[0].lasting:
            break
    return answer


async def _get(connection: Connection, server: str, scope: Scope) -> Answer:
    try:
        async with connection.channel(server) as channel:
            method = channel.unary_unary(
                GET_SNAPSHOT, pb.GetSnapshotRequest.SerializeToString, pb.GetSnapshotResponse.FromString
            )
            request = pb.GetSnapshotRequest(scope=codec.write_scope(scope))
            response = await method(request, metadata=connection.metadata(), timeout=CALL_SECONDS)
    except grpc.aio.AioRpcError as error:
        return _disconnected(error), None
    except FileUnusable as error:
        return Disconnected(error.code, str(error), lasting=True), None
    return _read(scope, response)


def _read(scope: Scope, response: pb.GetSnapshotResponse) -> Answer:
    """What the answer means."""
    stale = read_stale(response.stale) if response.HasField("stale") else None
    now = datetime.now(UTC)
    if response.WhichOneof("response") == "snapshot":
        snapshot = codec.read_snapshot(response.snapshot)
        if digest(snapshot.entries) != snapshot.version.digest:
            return Disconnected("DATA_LOSS", "the digest does not match the entries", lasting=True), stale
        return Changed(snapshot, now), stale
    if response.WhichOneof("response") == "absent":
        return Gone(scope, response.absent.reason == pb.ABSENT_REASON_WITHDRAWN, now), stale
    reason = stale.reason if stale else "no answer"
    return Disconnected("UNAVAILABLE", f"the server has nothing to serve: {reason}", lasting=False), stale
