"""Attacks on the watch server and the controller while something that usually stops them earlier is not there."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from harness import cluster
from harness.aws import free_port
from harness.certificates import TokenIssuer
from harness.cluster import namespace
from harness.install import BASE, refusing_policies
from harness.system import System, condition
from harness.wait import wait_for
from path.test_watch_server import (
    AUDIENCE,
    HOST,
    TIMEOUT,
    Home,
    Site,
    Stream,
    admitted,
    bearer,
    home,
    message,
    revisions,
    site,
    site_channel,
    stream,
    streams,
)
from tenantconfig.identity import COOL_DOWN_SECONDS
from tenantconfig.model import Scope, digest
from tenantconfig.watch.v1 import watch_pb2 as pb
from tenantconfig.watch.v1.watch_pb2_grpc import WatchServiceStub

__all__ = ["admitted", "home", "site", "stream", "streams"]

POLICY = "tenantconfigs.tenantconfig.dev"


# Without the admission policies


@contextmanager
def unbound(system: System, policy: str) -> Iterator[None]:
    """An admission policy is not in force."""
    system.plane.kubectl("delete", "validatingadmissionpolicybinding", policy)
    try:
        wait_for(lambda: policy not in refusing_policies(system.plane), "the policy out of force")
        yield
    finally:
        system.plane.kubectl("apply", "-f", BASE / "admission.yaml")
        wait_for(lambda: policy in refusing_policies(system.plane), "the policy in force")


def test_the_controller_refuses_another_tenants_scope_by_itself(system: System, tenant: str) -> None:
    thief = f"{tenant}-thief"
    system.admin.create(namespace(thief, {"tenantconfig.dev/tenants": thief}))
    entries = [{"key": "tenant_config_a", "value": "stolen"}]
    body = cluster.tenant_config(thief, tenantId=tenant, entries=entries)
    with unbound(system, POLICY):
        system.admin.create(body)
    wait_for(lambda: condition(system.admin.get(body), "Stalled").get("reason") == "TenantNotAllowed", "refused")
    assert system.items(tenant) == {}
    assert not system.admin.exists(cluster.projection(thief))
    # Nor does it keep the scope from whom it belongs to.
    own = cluster.tenant_config(tenant, tenantId=tenant, entries=[{"key": "tenant_config_a", "value": "own"}])
    system.admin.create(own)
    wait_for(lambda: condition(system.admin.get(own), "Ready").get("status") == "True", "Ready")
    assert system.items(tenant)["tenant_config_a"]["value"] == {"S": "own"}
    for each in (own, body):
        system.admin.delete(each)


async def test_a_forged_configmap_of_any_revision_reaches_nobody(site: Site, home: Home, stream: Stream) -> None:
    """Somebody got past the policy: here, with the controller's own account."""
    home.publish(1, {"key": "true"})
    await stream.subscribe(home.scope)
    await stream.version()
    thief = f"{home.name}-thief"
    site.admin.create(namespace(thief, {"tenantconfig.dev/tenants": thief}))
    for name, labels in (("forged", home.scope.labels()), ("config", home.scope.labels())):
        forged = home.body(2**62, {"key": "forged"})
        forged["metadata"] |= {"namespace": thief, "name": name, "labels": labels}
        site.controller.apply(forged)
    home.write(2, {"key": "still true"})
    assert await stream.version() == (2, {"key": "still true"})
    await stream.heartbeat()
    assert revisions(stream) == [1, 2]


# Permissions and tokens while streams are open


async def test_a_stream_that_loses_one_tenant_keeps_the_other(
    site: Site, home: Home, stream: Stream, streams: Callable[[str], Stream]
) -> None:
    other = f"{home.name}-other"
    site.admin.create(namespace(other, {"tenantconfig.dev/tenants": other}))
    body = home.body(1, {"key": "other"})
    body["metadata"] |= {"namespace": other, "labels": Scope(other, "prod").labels()}
    site.controller.apply(body)
    home.write(1, {"key": "own"})
    home.annotate(readable_tenants=f"{home.name},{other}")
    await stream.subscribe(home.scope)
    assert await stream.version() == (1, {"key": "own"})
    while True:  # the server has heard of the second permission when it lets in a stream of it alone
        asking = streams(home.token)
        await asking.subscribe(Scope(other, "prod"))
        try:
            assert await asking.version() == (1, {"key": "other"})
            break
        except AssertionError:
            assert await asking.call.code() is grpc.StatusCode.PERMISSION_DENIED
    await stream.subscribe(Scope(other, "prod"))
    assert await stream.version() == (1, {"key": "other"})

    home.annotate(readable_tenants=home.name)
    assert (await stream.next()).denied.scope.tenant == other
    body["data"] = {"key": "secret"}
    body["metadata"]["annotations"] |= {
        "tenantconfig.dev/revision": "2",
        "tenantconfig.dev/digest": digest(body["data"]),
    }
    site.controller.apply(body)
    home.write(2, {"key": "own again"})
    assert await stream.version() == (2, {"key": "own again"})


async def test_a_token_of_a_megabyte_costs_its_bearer_the_call_and_nobody_else_anything(
    site: Site, home: Home, stream: Stream, streams: Callable[[str], Stream]
) -> None:
    home.publish(1, {"key": "one"})
    await stream.subscribe(home.scope)
    await stream.version()
    for size in (20_000, 200_000, 1_000_000):
        huge = streams("x" * size)
        await huge.subscribe(home.scope)
        code, _ = await huge.ended()
        assert code in {
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.INTERNAL,  # the transport's own answer to a header that it does not take
            grpc.StatusCode.UNAVAILABLE,
        }
    home.write(2, {"key": "two"})
    assert await stream.version() == (2, {"key": "two"})


# An issuer over HTTPS


class Jwks:
    """An HTTPS server of an issuer's keys, that is there or not."""

    def __init__(self, site: Site) -> None:
        self.port = free_port()
        self.issuer = TokenIssuer("https://login.example")
        self.asked = 0
        self._certificate = site.authority.issue("jwks")
        self._server: HTTPServer | None = None

    def entry(self, tenant: str) -> dict[str, Any]:
        """Its entry of an issuers file, which lets it speak for one tenant."""
        return {
            "name": "login",
            "issuer": self.issuer.issuer,
            "audiences": [AUDIENCE],
            "jwksUri": f"https://{HOST}:{self.port}/keys",
            "tenants": [tenant],
            "tenantClaim": ["tenant"],
        }

    def start(self) -> None:
        jwks = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                jwks.asked += 1
                content = json.dumps(jwks.issuer.jwks()).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer((HOST, self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate.certificate_file, self._certificate.key_file)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def jwks(site: Site) -> Iterator[Jwks]:
    made = Jwks(site)
    yield made
    made.stop()


def test_an_issuer_that_is_down_at_start_rotates_its_key_and_goes_down_again(
    site: Site, home: Home, jwks: Jwks, tmp_path: Path
) -> None:
    issuers, port = tmp_path / "issuers.yaml", free_port()
    issuers.write_text(yaml.safe_dump([*yaml.safe_load((BASE / "issuers.yaml").read_text()), jwks.entry(home.name)]))
    trusted = {"SSL_CERT_FILE": str(site.authority.ca_file)}
    with (
        site.start(port, f"https-{port}", f"--issuers={issuers}", environment=trusted),
        site_channel(site, port) as channel,
    ):

        def code(token: str) -> grpc.StatusCode:
            request = pb.GetSnapshotRequest(scope=message(home.scope))
            try:
                WatchServiceStub(channel).GetSnapshot(request, metadata=bearer(token), timeout=TIMEOUT)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        first = jwks.issuer.token(AUDIENCE, tenant=home.name)
        assert code(first) is grpc.StatusCode.UNAVAILABLE, "it cannot be said who asks: not a refusal"
        wait_for(lambda: code(home.token) is grpc.StatusCode.OK, "the cluster's own tokens at any time")
        jwks.start()
        wait_for(lambda: code(first) is grpc.StatusCode.OK, "the keys")
        jwks.issuer = TokenIssuer(jwks.issuer.issuer, "key-2")
        second = jwks.issuer.token(AUDIENCE, tenant=home.name)
        asked, since = jwks.asked, time.monotonic()
        wait_for(lambda: code(second) is grpc.StatusCode.OK, "the new key")
        assert jwks.asked - asked <= 1 + (time.monotonic() - since) / COOL_DOWN_SECONDS, "asked no more than that"
        assert code(first) is grpc.StatusCode.UNAUTHENTICATED, "its key was taken back"
        jwks.stop()
        assert code(second) is grpc.StatusCode.OK


def test_no_server_is_taken_for_the_issuer_without_a_certificate_that_is_trusted(
    site: Site, home: Home, jwks: Jwks, tmp_path: Path
) -> None:
    issuers, port = tmp_path / "issuers.yaml", free_port()
    issuers.write_text(yaml.safe_dump([jwks.entry(home.name)]))
    jwks.start()
    with site.start(port, f"https-{port}", f"--issuers={issuers}"), site_channel(site, port) as channel:
        request = pb.GetSnapshotRequest(scope=message(home.scope))
        token = jwks.issuer.token(AUDIENCE, tenant=home.name)
        with pytest.raises(grpc.RpcError) as refused:
            WatchServiceStub(channel).GetSnapshot(request, metadata=bearer(token), timeout=TIMEOUT)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert jwks.asked == 0
