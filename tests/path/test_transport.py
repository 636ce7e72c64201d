"""What the transport does by itself: a connection that has grown old, as a client sees it. Real TLS, one process."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from harness.certificates import CertificateAuthority, TokenIssuer
from tenantconfig.client import Changed, Connection, Disconnected, View, watch
from tenantconfig.identity import Keys, Verifier
from tenantconfig.issuers import Issuer
from tenantconfig.model import Scope, Snapshot, Version, digest
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.service import server as transport
from tenantconfig.watch.service.calls import WatchService
from tenantconfig.watch.service.server import CertificateFiles, Server
from tenantconfig.watch.standing import Standing

SCOPE = Scope("acme")
AUDIENCE = "tenantconfig"
TIMEOUT = 60
AGE = {"grpc.max_connection_age_ms": 1000, "grpc.max_connection_age_grace_ms": 500}


def publish(hub: Hub, revision: int) -> None:
    entries = {"key": str(revision)}
    version = Version(revision, digest(entries))
    hub.settle(SCOPE, Standing(Snapshot(SCOPE, version, entries), version=version))


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.sync()
    return hub


@pytest.fixture
async def connection(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connection]:
    """To a server whose connections grow no older than a second and a half."""
    monkeypatch.setattr(transport, "OPTIONS", tuple((dict(transport.OPTIONS) | AGE).items()))
    login = TokenIssuer("https://login.example")
    issuer = Issuer("login", login.issuer, frozenset({AUDIENCE}), tenants=frozenset({"acme"}), tenant_claim=("tenant",))

    async def fetch() -> dict[str, object]:
        return login.jwks()

    async def no_review(token: str, audiences: frozenset[str]) -> None:
        raise AssertionError("its issuer wants none")

    verifier = Verifier([Keys(issuer, fetch, time.monotonic)], time.time, no_review)
    authority = CertificateAuthority(tmp_path)
    certificate = authority.issue("server")
    server = Server(WatchService(hub, verifier, lambda namespace: None))
    port = await server.start("127.0.0.1:0", CertificateFiles(certificate.certificate_file, certificate.key_file))
    token = tmp_path / "token"
    token.write_text(login.token(AUDIENCE, tenant="acme"))
    yield Connection(f"127.0.0.1:{port}", token, authority.ca_file)
    await server.stop()


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
