"""What the transport does by itself, as a client sees it: old connections, unread answers. Real TLS, one process."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from harness.certificates import CertificateAuthority, TokenIssuer
from tenantconfig.client import Changed, Connection, Disconnected, View, watch
from tenantconfig.identity import Keys, Verifier
from tenantconfig.issuers import Issuer
from tenantconfig.model import Scope, Snapshot, Version, digest
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.service import calls, unary
from tenantconfig.watch.service import server as transport
from tenantconfig.watch.service.calls import WatchService
from tenantconfig.watch.service.quota import OPEN_TO_ALL_PER_ADDRESS, UNREAD_ANSWERS
from tenantconfig.watch.service.server import CertificateFiles, Server
from tenantconfig.watch.standing import Standing
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb

SCOPE = Scope("acme")
AUDIENCE = "tenantconfig"
TIMEOUT = 60
YOUNG = {"grpc.max_connection_age_ms": 1000, "grpc.max_connection_age_grace_ms": 500}
IMPATIENT = {
    "grpc.keepalive_time_ms": 500,
    "grpc.keepalive_timeout_ms": 500,
    "grpc.http2.ping_timeout_ms": 500,
}
UNREAD = (("grpc.http2.lookahead_bytes", 16384), ("grpc.http2.bdp_probe", 0))  # nothing is taken before it is read


def publish(hub: Hub, revision: int, size: int = 0) -> None:
    entries = {"key": str(revision) + size * "."}
    version = Version(revision, digest(entries))
    hub.settle(SCOPE, Standing(Snapshot(SCOPE, version, entries), version=version))


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.sync()
    return hub


@pytest.fixture
def young(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections grow no older than a second and a half."""
    monkeypatch.setattr(transport, "OPTIONS", tuple((dict(transport.OPTIONS) | YOUNG).items()))


@pytest.fixture(scope="module")
def login() -> TokenIssuer:
    return TokenIssuer("https://login.example")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have a second to show that they are alive."""
    assert IMPATIENT.keys() <= dict(transport.OPTIONS).keys()
    monkeypatch.setattr(transport, "OPTIONS", tuple((dict(transport.OPTIONS) | IMPATIENT).items()))


@pytest.fixture
def service(hub: Hub, login: TokenIssuer) -> WatchService:
    issuer = Issuer("login", login.issuer, frozenset({AUDIENCE}), tenants=frozenset({"acme"}), tenant_claim=("tenant",))

    async def fetch() -> dict[str, object]:
        return login.jwks()

    async def no_review(token: str, audiences: frozenset[str]) -> None:
        raise AssertionError("its issuer wants none")

    verifier = Verifier([Keys(issuer, fetch, time.monotonic)], time.time, no_review)
    return WatchService(hub, verifier, lambda namespace: None)


@pytest.fixture
async def server(service: WatchService) -> Server:
    return Server(service)


@pytest.fixture
async def connection(tmp_path: Path, server: Server, login: TokenIssuer) -> AsyncIterator[Connection]:
    authority = CertificateAuthority(tmp_path)
    certificate = authority.issue("server")
    port = await server.start("127.0.0.1:0", CertificateFiles(certificate.certificate_file, certificate.key_file))
    token = tmp_path / "token"
    token.write_text(login.token(AUDIENCE, tenant="acme"))
    yield Connection(f"127.0.0.1:{port}", token, authority.ca_file)
    await server.stop()


@pytest.mark.usefixtures("young")
async def test_a_connection_that_has_grown_old_is_replaced_and_every_change_arrives(
    hub: Hub, connection: Connection
) -> None:
    revision, lost = 1, list[Disconnected]()
    publish(hub, revision)
    async with aclosing(watch(connection, View([SCOPE]))) as events, asyncio.timeout(TIMEOUT):
        async for event in events:
            if isinstance(event, Disconnected):
                lost.append(event)
                revision += 1
                publish(hub, revision)  # while nobody listens
            elif isinstance(event, Changed):
                assert event.snapshot.version.revision == revision
                if len(lost) == 3:
                    break
    assert not any(each.lasting for each in lost)


def channel_to(connection: Connection) -> grpc.aio.Channel:
    """One on which the server cannot send ahead of who reads."""
    assert connection.ca_file
    credentials = grpc.ssl_channel_credentials(connection.ca_file.read_bytes())
    return grpc.aio.secure_channel(connection.server, credentials, options=UNREAD)


async def first_to_end(several: list[Any]) -> Any:
    codes = {asyncio.ensure_future(call.code()): call for call in several}
    done, _ = await asyncio.wait(codes, timeout=TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
    return codes[done.pop()]


async def test_who_asks_and_does_not_read_makes_a_server_keep_so_many_answers_and_no_more(
    hub: Hub, connection: Connection, login: TokenIssuer
) -> None:
    publish(hub, 1, size=500_000)
    question = pb.GetSnapshotRequest(scope=codec.write_scope(SCOPE)).SerializeToString()
    most = UNREAD_ANSWERS // 8
    async with channel_to(connection) as channel, asyncio.timeout(TIMEOUT):
        ask: Any = channel.unary_stream("/tenantconfig.watch.v1.WatchService/GetSnapshot")
        asked = [ask(question, metadata=connection.metadata()) for _ in range(most + 1)]
        refused = await first_to_end(asked)
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await refused.details() == f"a client has at most {most} unread answers here"
        asked.remove(refused)

        another = ask(
            question, metadata=(("authorization", f"Bearer {login.token(AUDIENCE, sub='b', tenant='acme')}"),)
        )
        answers = [await call.read() for call in (another, *asked)]
        assert len(answers[0]) > 500_000
        assert set(answers) == {answers[0]}
        assert pb.GetSnapshotResponse.FromString(answers[0]).snapshot.version.revision == 1
        while await ask(question, metadata=connection.metadata()).read() is grpc.aio.EOF:
            pass  # what was read makes room once the server has noticed


async def test_a_stream_that_asks_for_nothing_is_ended(
    hub: Hub, connection: Connection, service: WatchService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "STUCK_SECONDS", 1.0)
    publish(hub, 1)
    beating = asyncio.create_task(service.pulse())
    async with channel_to(connection) as channel, asyncio.timeout(TIMEOUT):
        ask: Any = channel.stream_stream("/tenantconfig.watch.v1.WatchService/Watch")
        silent = ask(metadata=connection.metadata())
        assert await silent.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert await silent.details() == "nothing was subscribed to"
        garbled = ask(iter([b"\xff\xff"]), metadata=connection.metadata())
        assert await garbled.code() is grpc.StatusCode.INVALID_ARGUMENT
    beating.cancel()


GET_SNAPSHOT, WATCH_HEALTH, CHECK_HEALTH = (
    "/tenantconfig.watch.v1.WatchService/GetSnapshot",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/Check",
)


@pytest.mark.parametrize("method", [GET_SNAPSHOT, WATCH_HEALTH, CHECK_HEALTH])
async def test_a_call_whose_request_never_comes_or_makes_no_sense_is_ended(
    connection: Connection, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    async with channel_to(connection) as channel, asyncio.timeout(TIMEOUT):
        ask: Any = channel.stream_stream(method)
        garbled = ask(iter([b"\xff\xff"]), metadata=connection.metadata())
        assert await garbled.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await garbled.details() == "the request cannot be read"
        empty = ask(iter([]), metadata=connection.metadata())
        assert await empty.code() is grpc.StatusCode.INVALID_ARGUMENT
        monkeypatch.setattr(unary, "REQUEST_SECONDS", 0.5)
        silent = ask(metadata=connection.metadata())
        assert await silent.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await silent.details() == "no request came"


async def test_who_has_no_token_has_no_call_that_waits_for_its_request(connection: Connection) -> None:
    async with channel_to(connection) as channel, asyncio.timeout(TIMEOUT):
        ask: Any = channel.stream_stream(GET_SNAPSHOT)
        assert await ask().code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_token_that_expires_before_the_request_is_there_gets_nothing(
    hub: Hub, service: WatchService, connection: Connection
) -> None:
    publish(hub, 1)
    service._wall_clock = lambda: time.time() + 86_400  # the verifier's stands still meanwhile
    async with channel_to(connection) as channel, asyncio.timeout(TIMEOUT):
        ask: Any = channel.unary_unary(GET_SNAPSHOT)
        question = pb.GetSnapshotRequest(scope=codec.write_scope(SCOPE)).SerializeToString()
        assert await ask(question, metadata=connection.metadata()).code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("method", [WATCH_HEALTH, CHECK_HEALTH])
async def test_calls_that_wait_for_their_requests_are_counted(connection: Connection, method: str) -> None:
    async with channel_to(connection) as channel, asyncio.timeout(TIMEOUT):
        ask: Any = channel.stream_stream(method)
        several = [ask() for _ in range(OPEN_TO_ALL_PER_ADDRESS + 1)]
        refused = await first_to_end(several)
        assert await refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Of HTTP/2 (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def call_without_a_window(path: str) -> bytes:
    """A connection that asks something of a server that may not answer: no library of gRPC makes one."""
    headers = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": "server",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    literal = b"".join(
        b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in pair) for pair in headers.items()
    )
    no_window = frame(4, 0, 0, (4).to_bytes(2, "big") + (0).to_bytes(4, "big"))
    message = bytes(5)  # of no bytes, not compressed
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_window + frame(1, 4, 1, literal) + frame(0, 1, 1, message)


async def test_a_client_that_watches_the_health_and_reads_nothing_holds_up_nobody(
    connection: Connection, server: Server
) -> None:
    host, _, port = connection.server.rpartition(":")
    context = ssl.create_default_context(cafile=str(connection.ca_file))
    context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(TIMEOUT), channel_to(connection) as channel:
        reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
        writer.write(call_without_a_window("/grpc.health.v1.Health/Watch"))
        ask: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        watch = ask(b"")
        for serving in (False, True, False):
            if serving:
                server.serving()
            answer = health_pb2.HealthCheckResponse.FromString(await watch.read())
            assert (answer.status == health_pb2.HealthCheckResponse.SERVING) is serving
            if serving:
                assert await reader.read(1), "the server has heard of the other client"
                stopping = asyncio.create_task(server.stop())
        await stopping
        writer.close()


@pytest.mark.parametrize(
    ("method", "question"),
    [
        ("/grpc.health.v1.Health/Watch", health_pb2.HealthCheckRequest()),
        (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest(list_services=""),
        ),
    ],
)
async def test_an_address_has_so_many_calls_without_a_token_and_no_more(
    hub: Hub, connection: Connection, method: str, question: Any
) -> None:
    publish(hub, 1)
    async with channel_to(connection) as channel, asyncio.timeout(TIMEOUT):
        ask: Any = channel.stream_stream(method)

        async def questions() -> AsyncIterator[bytes]:
            yield question.SerializeToString()
            await asyncio.Event().wait()

        def asked() -> Any:
            return ask(questions())

        several = [asked() for _ in range(OPEN_TO_ALL_PER_ADDRESS)]
        for call in several:
            assert await call.read()
        assert await asked().code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(health_pb2.HealthCheckRequest().SerializeToString())
        async with aclosing(watch(connection, View([SCOPE]))) as events:
            while not isinstance(await anext(events), Changed):
                pass
        several[0].cancel()
        while await asked().read() is grpc.aio.EOF:  # until the server has noticed
            pass


class Wire:
    """Between a client and a server: both stay connected, and from `cut` on nothing arrives."""

    def __init__(self, server: str) -> None:
        self._host, _, self._port = server.rpartition(":")
        self._whole = asyncio.Event()
        self._whole.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._connected, self._host, 0)
        return f"{self._host}:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    def cut(self) -> None:
        self._whole.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back_reader, back_writer = await asyncio.open_connection(self._host, self._port)
        self._tasks += [
            asyncio.create_task(self._forward(*ends)) for ends in ((reader, back_writer), (back_reader, writer))
        ]

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._whole.wait()
            writer.write(data)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_is_gone_without_a_word_is_noticed(
    hub: Hub, service: WatchService, connection: Connection
) -> None:
    publish(hub, 1)
    wire = Wire(connection.server)
    beating = asyncio.create_task(service.pulse())  # pings are sent between data only
    async with wire as server, aclosing(watch(replace(connection, server=server), View([SCOPE]))) as events:
        async with asyncio.timeout(TIMEOUT):
            while not isinstance(await anext(events), Changed):
                pass
            (stream,) = service.streams
            for _ in range(3):  # longer than it has to show that it is alive
                await anext(events)
            assert service.streams == {stream}
            wire.cut()
            while service.streams:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(0.1)
    beating.cancel()
    assert service.ended == {}, "not for being slow"
