"""The watch server as its own process: real API server, real TLS, real tokens.

The tests write ConfigMaps in the controller's place, with its service account,
past the admission policies of the manifests.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import grpc
import grpc.aio
import jwt
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from harness.api import Api, Object
from harness.aws import free_port
from harness.certificates import Certificate, CertificateAuthority, TokenIssuer
from harness.cluster import namespace
from harness.controlplane import ControlPlane
from harness.install import BASE, install
from harness.processes import Process
from harness.system import COMMAND, versions
from harness.wait import wait_for
from tenantconfig.client import Changed, Connection, Disconnected, Event, Fresh, Gone, Unchanged, View, watch
from tenantconfig.model import Scope, Snapshot, Version, digest
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb
from tenantconfig.watch.v1.watch_pb2_grpc import WatchServiceStub

NAMESPACE = "tenantconfig-system"
AUDIENCE = "tenantconfig"
SERVICE = "tenantconfig.watch.v1.WatchService"
HOST = "127.0.0.1"
TIMEOUT = 60.0
ACME: dict[str, Any] = {"custom:tenantId": "acme"}  # a claim

_numbers = itertools.count(1)


@dataclass
class Site:
    """A control plane with the operator's rights and policies, and one watch server."""

    directory: Path
    plane: ControlPlane
    admin: Api
    controller: Api
    authority: CertificateAuthority
    certificate: Certificate
    login: TokenIssuer
    port: int
    metrics_port: int
    server: Process | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @classmethod
    def of(cls, directory: Path, plane: ControlPlane) -> "Site":
        install(plane)
        admin = Api.of_administrator(plane)
        authority = CertificateAuthority(directory / "tls")
        controller = admin.as_service_account(NAMESPACE, "controller")
        certificate, login = authority.issue("server"), TokenIssuer("https://login.example")
        return cls(directory, plane, admin, controller, authority, certificate, login, free_port(), free_port())

    def issuers(self) -> Path:
        """The cluster's own issuer as the manifests have it, and a login service."""
        jwks = self.login.write_jwks(self.directory / "jwks.json")
        login = {
            "name": "login",
            "issuer": self.login.issuer,
            "audiences": [AUDIENCE],
            "jwksFile": str(jwks),
            "tenants": ["acme", "globex"],
            "tenantClaim": ["custom:tenantId"],
        }
        file = self.directory / "issuers.yaml"
        file.write_text(yaml.safe_dump([*yaml.safe_load((BASE / "issuers.yaml").read_text()), login]))
        return file

    def start(
        self, port: int, name: str = "watch-server", *flags: str, environment: dict[str, str] | None = None
    ) -> Process:
        """A server process that serves."""
        files = [f"--tls-cert={self.certificate.certificate_file}", f"--tls-key={self.certificate.key_file}"]
        arguments = ["watch-server", f"--listen={HOST}:{port}", *files, f"--issuers={self.issuers()}", *flags]
        variables = {"KUBECONFIG": str(self.plane.kubeconfig_for(NAMESPACE, "watch-server")), **(environment or {})}
        process = Process.start([COMMAND, *arguments], log=self.directory / f"{name}.log", environment=variables)
        process.wait_until(lambda: "serving" in process.output(), "serving")
        return process

    def channel(self) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self.authority.ca_file.read_bytes())
        return grpc.aio.secure_channel(self.address, credentials)

    def ask(self, token: str, scope: Scope) -> pb.GetSnapshotResponse:
        """What the server says of a scope now."""
        with site_channel(self, self.port) as channel:
            request = pb.GetSnapshotRequest(scope=message(scope))
            return WatchServiceStub(channel).GetSnapshot(request, metadata=bearer(token), timeout=TIMEOUT)

    def token_file(self, token: str) -> Path:
        file = self.directory / f"token-{next(_numbers)}"
        file.write_text(token)
        return file


@dataclass
class Home:
    """A namespace with a tenant of its own, and the pod's token there."""

    site: Site
    name: str
    token: str

    @property
    def scope(self) -> Scope:
        return Scope(self.name, "prod")

    def body(self, revision: int, data: dict[str, str], *, said: str = "", withdrawn: bool = False) -> Object:
        annotations = {
            "tenantconfig.dev/revision": str(revision),
            "tenantconfig.dev/digest": said or digest(data),
            **({"tenantconfig.dev/withdrawn": "true"} if withdrawn else {}),
        }
        metadata = {"name": "config", "namespace": self.name, "labels": self.scope.labels(), "annotations": annotations}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    def write(self, revision: int, data: dict[str, str], **changes: Any) -> Version:
        """The ConfigMap of the scope as the controller would write it."""
        self.site.controller.apply(self.body(revision, data, **changes))
        return Version(revision, digest(data))

    def publish(self, revision: int, data: dict[str, str]) -> Version:
        """Write, and wait until it is what a subscriber gets first."""
        version = self.write(revision, data)
        assert self.site.server
        self.site.server.wait_until(
            lambda: self.site.ask(self.token, self.scope).snapshot.version.revision == revision, "published"
        )
        return version

    def delete(self) -> None:
        self.site.controller.delete(self.body(0, {}))

    def annotate(self, **annotations: str | None) -> None:
        """Change what the namespace's administrator permits."""
        named = {f"tenantconfig.dev/{name.replace('_', '-')}": text for name, text in annotations.items()}
        self.site.admin.patch(namespace(self.name), {"metadata": {"annotations": named}})


TICK = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "tenantconfig-tick", "namespace": NAMESPACE, "labels": {"tenantconfig.dev/tenant": ""}},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, control_plane: ControlPlane) -> Iterator[Site]:
    site = Site.of(tmp_path_factory.mktemp("watch"), control_plane)
    if site.admin.exists(TICK):  # of other tests, from a time to come
        site.controller.delete(TICK)
    site.server = site.start(site.port, "watch-server", f"--metrics-port={site.metrics_port}")
    yield site
    site.server.stop()


@pytest.fixture
def home(site: Site) -> Home:
    name = f"watched-{uuid.uuid4().hex[:8]}"  # other modules that use this fixture count for themselves
    site.admin.create(namespace(name, {"tenantconfig.dev/tenants": name}))
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app", "namespace": name}}
    site.admin.create(account)
    return Home(site, name, site.plane.token_for(name, "app", AUDIENCE))


@pytest.fixture(autouse=True)
def admitted(site: Site, home: Home) -> None:
    """The server knows the namespace once its pods are let in; before that, they are rightly refused."""

    def check() -> bool:
        try:
            site.ask(home.token, home.scope)
            return True
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                return False
            raise

    assert site.server
    site.server.wait_until(check, "namespace known")


def message(scope: Scope) -> pb.Scope:
    return pb.Scope(tenant=scope.tenant, environment=scope.environment, service=scope.service)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


class Stream:
    """A Watch call, spoken by hand."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self.received: list[pb.WatchResponse] = []
        self.told: dict[Scope, Snapshot] = {}

    async def subscribe(self, scope: Scope | pb.Scope, known: Version | None = None) -> None:
        version = pb.Version(revision=known.revision, digest=known.digest) if known else None
        spoken = message(scope) if isinstance(scope, Scope) else scope
        await self.say(subscribe=pb.Subscribe(scope=spoken, known=version))

    async def say(self, **request: Any) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # refused already: reading tells how
            await self.call.initial_metadata()
            await self.call.write(pb.WatchRequest(**request))

    async def read(self) -> pb.WatchResponse:
        response = await asyncio.wait_for(self.call.read(), TIMEOUT)
        assert response is not grpc.aio.EOF, f"ended: {await self.call.code()} {await self.call.details()}"
        assert isinstance(response, pb.WatchResponse)
        self.received.append(response)
        return response

    async def next(self) -> pb.WatchResponse:
        """The next message that is not a heartbeat."""
        return await self.until(lambda response: not response.HasField("heartbeat"))

    async def until(self, condition: Callable[[pb.WatchResponse], bool]) -> pb.WatchResponse:
        async with asyncio.timeout(TIMEOUT):
            while not condition(response := await self.read()):
                pass
        return response

    async def heartbeat(self, condition: Callable[[pb.Heartbeat], bool] = lambda _: True) -> pb.Heartbeat:
        response = await self.until(lambda each: each.HasField("heartbeat") and condition(each.heartbeat))
        return response.heartbeat

    async def stale(self, reason: str) -> pb.Heartbeat:
        return await self.heartbeat(lambda each: [stale.reason for stale in each.stale] == [reason])

    async def version(self) -> tuple[int, dict[str, str]]:
        """Revision and entries after the next message, told whole or as the difference to what was told before."""
        response = await self.next()
        if response.HasField("delta"):
            scope = codec.scope_of(response.delta.scope)
            assert codec.read_version(response.delta.base) == self.told[scope].version
            told = codec.apply_delta(response.delta, self.told[scope])
        else:
            assert response.HasField("snapshot"), response
            told = codec.read_snapshot(response.snapshot)
        assert told.version.digest == digest(told.entries)
        self.told[told.scope] = told
        return told.version.revision, dict(told.entries)

    async def absent(self) -> str:
        response = await self.next()
        assert response.HasField("absent"), response
        return pb.AbsentReason.Name(response.absent.reason).removeprefix("ABSENT_REASON_")

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        """How the server ends the stream."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                try:
                    if await self.call.read() is grpc.aio.EOF:
                        break
                except grpc.aio.AioRpcError:
                    break
            return await self.call.code(), await self.call.details()


def revisions(stream: Stream) -> list[int]:
    """Of all versions that were told, whole or as differences, in order."""
    told = (response.snapshot if response.HasField("snapshot") else response.delta for response in stream.received)
    return [each.version.revision for each in told if each.HasField("version")]


@pytest.fixture
async def streams(site: Site) -> AsyncIterator[Callable[[str], Stream]]:
    """Opens streams with a token; all are cancelled at the end."""
    calls = []
    async with site.channel() as channel:

        def opened(token: str) -> Stream:
            stub = WatchServiceStub(channel)
            calls.append(stub.Watch(metadata=bearer(token)))
            return Stream(calls[-1])

        yield opened
        for call in calls:
            call.cancel()


@pytest.fixture
async def stream(streams: Callable[[str], Stream], home: Home) -> Stream:
    """A stream of the home's pod."""
    return streams(home.token)


# Who is let in


def forge(token: str, header: dict[str, str], secret: bytes | None) -> str:
    payload = jwt.decode(token, options={"verify_signature": False})
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, payload)]
    signed = ".".join(parts)
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest() if secret else b""
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def unwanted_tokens(home: Home) -> dict[str, str]:
    login, name = home.site.login, home.name
    good = login.token(AUDIENCE, **ACME)
    key = jwt.PyJWK(login.jwks()["keys"][0]).key
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {
        "none": "",
        "not a token": "x.y.z",
        "for the API server": home.site.plane.token_for(name, "app"),
        "for another audience": home.site.plane.token_for(name, "app", "other"),
        "expired": login.token(AUDIENCE, lifetime=-1, **ACME),
        "unsigned": forge(good, {"alg": "none", "kid": login.kid}, None),
        "signed with the public key": forge(good, {"alg": "HS256", "kid": login.kid}, pem),
        "of an impostor": login.with_other_key().token(AUDIENCE, **ACME),
        "of a stranger": TokenIssuer("https://stranger.example").token(AUDIENCE),
    }


async def test_without_a_good_token_nobody_is_let_in(home: Home, streams: Callable[[str], Stream]) -> None:
    home.publish(1, {"key": "value"})
    for what, token in unwanted_tokens(home).items():
        stream = streams(token)
        await stream.subscribe(home.scope)
        code, details = await stream.ended()
        assert code is grpc.StatusCode.UNAUTHENTICATED, (what, details)
        assert not [part for part in token.split(".") if len(part) > 8 and part in details], what
        assert stream.received == [], what


async def test_get_snapshot_lets_nobody_else_in_either(site: Site, home: Home) -> None:
    home.publish(1, {"key": "value"})
    async with site.channel() as channel:
        stub = WatchServiceStub(channel)
        for what, token in unwanted_tokens(home).items():
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.GetSnapshot(pb.GetSnapshotRequest(scope=message(home.scope)), metadata=bearer(token))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, what


TOKEN_REVIEW = BASE.parent / "components" / "token-review"


@pytest.fixture
def may_review(site: Site) -> Iterator[None]:
    """Watch servers may have tokens reviewed."""
    site.plane.kubectl("apply", "-f", TOKEN_REVIEW / "rbac.yaml")
    yield
    site.plane.kubectl("delete", "-f", TOKEN_REVIEW / "rbac.yaml")


def ask_reviewing(site: Site, scope: Scope, *tokens: str) -> list[grpc.StatusCode]:
    """How a new server that has tokens reviewed answers each."""
    port, codes = free_port(), []
    with (
        site.start(port, f"reviewing-{port}", f"--issuers={TOKEN_REVIEW / 'issuers.yaml'}"),
        site_channel(site, port) as channel,
    ):
        for token in tokens:
            try:
                request = pb.GetSnapshotRequest(scope=message(scope))
                WatchServiceStub(channel).GetSnapshot(request, metadata=bearer(token), timeout=TIMEOUT)
                codes.append(grpc.StatusCode.OK)
            except grpc.RpcError as error:
                codes.append(error.code())
    return codes


@pytest.mark.usefixtures("may_review")
def test_with_token_review_a_token_dies_with_its_service_account(site: Site, home: Home) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "leaving", "namespace": home.name}}
    site.admin.create(account)
    token = site.plane.token_for(home.name, "leaving", AUDIENCE)
    assert ask_reviewing(site, home.scope, token, home.token) == [grpc.StatusCode.OK] * 2
    site.admin.delete(account)
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [AUDIENCE]},
    }
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    wait_for(  # the API server itself goes on for ten seconds with what it knew
        lambda: not site.admin.request("POST", reviews, review)["status"].get("authenticated"), "the token to die"
    )
    site.ask(token, home.scope)  # by its signature alone it is good
    expected = [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK]
    assert ask_reviewing(site, home.scope, token, home.token) == expected


def test_without_the_right_to_review_tokens_nobody_is_let_in(site: Site, home: Home) -> None:
    assert ask_reviewing(site, home.scope, home.token) == [grpc.StatusCode.UNAVAILABLE]


async def test_a_first_foreign_scope_ends_the_stream(home: Home, stream: Stream) -> None:
    await stream.subscribe(Scope("globex"))
    code, details = await stream.ended()
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert "globex/_/_" in details


async def test_a_later_foreign_scope_is_denied_and_the_stream_goes_on(home: Home, stream: Stream) -> None:
    home.publish(1, {"key": "one"})
    await stream.subscribe(home.scope)
    assert await stream.version() == (1, {"key": "one"})
    await stream.subscribe(Scope("globex"))
    denied = (await stream.next()).denied
    assert (denied.scope.tenant, "globex" in denied.reason) == ("globex", True)
    home.write(2, {"key": "two"})
    assert await stream.version() == (2, {"key": "two"})


async def test_a_denial_does_not_tell_whether_the_scope_exists(
    site: Site, home: Home, streams: Callable[[str], Stream]
) -> None:
    home.publish(1, {"key": "value"})
    answers = []
    for tenant in (home.name, "no-such"):
        stream = streams(site.login.token(AUDIENCE, **ACME))
        await stream.subscribe(Scope(tenant, "prod"))
        code, details = await stream.ended()
        answers.append((code, details.replace(tenant, "TENANT")))
    assert answers[0] == answers[1]


async def test_a_login_token_reads_its_tenant_until_it_expires(site: Site, streams: Callable[[str], Stream]) -> None:
    stream = streams(site.login.token(AUDIENCE, lifetime=3, **ACME))
    await stream.subscribe(Scope("acme", "never-made"))
    assert await stream.absent() == "NOT_FOUND"
    assert await stream.ended() == (grpc.StatusCode.UNAUTHENTICATED, "the token has expired")


async def test_a_permission_that_is_taken_away_denies_within_the_stream(home: Home, stream: Stream) -> None:
    home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    await stream.version()
    home.annotate(readable_tenants="")
    assert (await stream.next()).denied.scope.tenant == home.name
    home.annotate(readable_tenants=None)
    home.write(2, {"key": "value 2"})
    await stream.until(lambda response: response.HasField("heartbeat"))
    assert 2 not in revisions(stream)


@pytest.mark.parametrize(
    ("scope", "field"),
    [(pb.Scope(tenant="Not A Label"), "subscribe.scope.tenant"), (pb.Scope(tenant="a", service="_"), "service")],
)
async def test_a_malformed_scope_names_its_field(stream: Stream, scope: pb.Scope, field: str) -> None:
    await stream.subscribe(scope)
    code, details = await stream.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert field in details


async def test_plaintext_is_not_spoken_to_a_server_with_tls(site: Site, home: Home) -> None:
    async with grpc.aio.insecure_channel(site.address) as channel:
        stub = WatchServiceStub(channel)
        request = pb.GetSnapshotRequest(scope=message(home.scope))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.GetSnapshot(request, metadata=bearer(home.token), timeout=TIMEOUT)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


# What is told


async def test_from_snapshot_to_withdrawn_and_made_again(
    home: Home, stream: Stream, streams: Callable[[str], Stream]
) -> None:
    first = home.publish(1000, {"key": "one"})
    await stream.subscribe(home.scope)
    assert await stream.version() == (1000, {"key": "one"})
    second = home.write(1001, {"key": "two", "more": "text"})
    assert await stream.version() == (1001, {"key": "two", "more": "text"})

    resumed = streams(home.token)
    await resumed.subscribe(home.scope, second)
    current = (await resumed.next()).current
    assert Version(current.version.revision, current.version.digest) == second
    outdated = streams(home.token)
    await outdated.subscribe(home.scope, first)
    delta = (await outdated.next()).delta
    assert (codec.read_version(delta.base), codec.read_version(delta.version)) == (first, second)
    assert (dict(delta.changed), list(delta.removed)) == ({"key": "two", "more": "text"}, [])

    home.write(1001, {"key": "two", "more": "text"}, withdrawn=True)
    assert await stream.absent() == "WITHDRAWN"
    home.delete()
    home.write(2000, {"key": "again"})
    for each in (stream, resumed, outdated):
        await each.until(lambda response: response.snapshot.version.revision == 2000)
    # Deletion after the mark said nothing, and the former ConfigMap's end did not end the new one.
    kinds = [each.WhichOneof("response") for each in stream.received if not each.HasField("heartbeat")]
    assert kinds == ["snapshot", "delta", "absent", "snapshot"]


async def test_a_scope_that_is_not_there_yet(home: Home, stream: Stream) -> None:
    await stream.subscribe(home.scope)
    assert await stream.absent() == "NOT_FOUND"
    home.write(1, {"key": "value"})
    assert await stream.version() == (1, {"key": "value"})


async def test_every_subscribe_is_answered(home: Home, stream: Stream) -> None:
    version = home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    assert (await stream.version())[0] == 1
    await stream.subscribe(home.scope)
    assert (await stream.version())[0] == 1
    await stream.subscribe(home.scope, version)
    assert (await stream.next()).HasField("current")
    await stream.say(unsubscribe=pb.Unsubscribe(scope=message(home.scope)))
    home.write(2, {"key": "two"})
    other = Scope(home.name, "elsewhere")
    await stream.subscribe(other)
    assert (await stream.next()).absent.scope.environment == "elsewhere"


async def test_a_client_that_says_no_more_still_hears(home: Home, stream: Stream) -> None:
    home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    await stream.call.done_writing()
    assert (await stream.version())[0] == 1
    home.write(2, {"key": "two"})
    assert (await stream.version())[0] == 2


async def test_a_refusal_is_taken_and_the_next_version_comes_whole(home: Home, stream: Stream) -> None:
    version = home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    await stream.version()
    refused = pb.Version(revision=version.revision, digest=version.digest)
    await stream.say(acknowledge=pb.Acknowledge(scope=message(home.scope), version=refused, error="not valid"))
    home.write(2, {"key": "two"})
    assert await stream.version() == (2, {"key": "two"})


async def test_data_that_was_tampered_with_is_not_published(home: Home, stream: Stream) -> None:
    home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    await stream.version()
    home.write(2, {"key": "tampered"}, said=digest({"key": "other"}))
    await stream.stale("DIGEST_MISMATCH")
    home.write(3, {"key": "three"})
    assert await stream.version() == (3, {"key": "three"})
    await stream.heartbeat(lambda each: not each.stale)


async def test_a_revision_that_goes_back_is_not_published(home: Home, stream: Stream) -> None:
    home.publish(5, {"key": "five"})
    await stream.subscribe(home.scope)
    await stream.version()
    home.write(4, {"key": "four"})
    await stream.stale("REVISION_WENT_BACK")
    home.write(6, {"key": "six"})
    assert await stream.version() == (6, {"key": "six"})


async def test_a_server_behind_what_is_known_is_silent_until_it_has_caught_up(home: Home, stream: Stream) -> None:
    home.publish(5, {"key": "five"})
    known = Version(7, digest({"key": "seven"}))
    await stream.subscribe(home.scope, known)
    await stream.stale("BEHIND")
    home.write(6, {"key": "six"})
    home.write(7, {"key": "seven"})
    assert (await stream.next()).HasField("current")


async def test_a_configmap_that_disappears_is_served_on_stale(
    home: Home, stream: Stream, streams: Callable[[str], Stream]
) -> None:
    home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    await stream.version()
    home.delete()
    await stream.stale("DISAPPEARED")
    newcomer = streams(home.token)
    await newcomer.subscribe(home.scope)
    assert await newcomer.version() == (1, {"key": "value"})
    home.write(1, {"key": "value"})
    await stream.heartbeat(lambda each: not each.stale)
    assert len(revisions(stream)) == 1


@pytest.mark.parametrize("elsewhere", [False, True], ids=["another name", "another namespace"])
@pytest.mark.parametrize("marked", [False, True], ids=["unmarked", "marked"])
async def test_a_scope_that_moves_to_another_configmap_is_no_more_than_a_change(
    site: Site, home: Home, stream: Stream, elsewhere: bool, marked: bool
) -> None:
    home.publish(1, {"key": "one"})
    await stream.subscribe(home.scope)
    await stream.version()
    moved = home.body(2, {"key": "two"})
    moved["metadata"]["name"] = "moved"
    if elsewhere:
        moved["metadata"]["namespace"] = f"{home.name}-2"
        site.admin.create(namespace(f"{home.name}-2", {"tenantconfig.dev/tenants": home.name}))
    site.controller.apply(moved)
    assert await stream.version() == (2, {"key": "two"})
    if marked:
        home.write(1, {"key": "one"}, withdrawn=True)
    home.delete()
    moved["data"] = {"key": "three"}
    moved["metadata"]["annotations"] |= {
        "tenantconfig.dev/revision": "3",
        "tenantconfig.dev/digest": digest(moved["data"]),
    }
    site.controller.apply(moved)
    assert await stream.version() == (3, {"key": "three"})
    assert revisions(stream) == [1, 2, 3]
    assert not any(each.HasField("absent") or each.heartbeat.stale for each in stream.received)


async def test_a_namespace_that_goes_takes_its_scopes_along(home: Home, stream: Stream) -> None:
    home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    await stream.version()
    home.site.admin.delete(namespace(home.name))
    response = await stream.until(lambda each: each.HasField("absent") or each.HasField("denied"))
    assert response.absent.reason == pb.ABSENT_REASON_WITHDRAWN


async def test_a_tenant_that_the_namespace_may_no_longer_declare(site: Site, home: Home, stream: Stream) -> None:
    home.publish(1, {"key": "one"})
    await stream.subscribe(home.scope)
    await stream.version()
    home.annotate(tenants="another", readable_tenants=home.name)
    await stream.stale("NOT_PERMITTED")
    home.write(2, {"key": "two"})
    other = Scope(home.name, "marker")
    await stream.subscribe(other)
    await stream.until(lambda each: each.HasField("absent"))
    assert revisions(stream) == [1]

    late_port = free_port()
    with site.start(late_port, "late") as _, site_channel(site, late_port) as channel:
        request = pb.GetSnapshotRequest(scope=message(home.scope))
        late = WatchServiceStub(channel).GetSnapshot(request, metadata=bearer(home.token), timeout=TIMEOUT)
    assert late.WhichOneof("response") is None
    assert late.stale.reason == "NOT_PERMITTED"

    home.annotate(tenants=home.name)
    assert await stream.version() == (2, {"key": "two"})


def site_channel(site: Site, port: int) -> grpc.Channel:
    credentials = grpc.ssl_channel_credentials(site.authority.ca_file.read_bytes())
    return grpc.secure_channel(f"{HOST}:{port}", credentials)


# How fresh it is


def write_tick(site: Site, time: str, stale: list[dict[str, str]] | None = None) -> None:
    site.controller.apply({**TICK, "data": {"freshAsOf": time, "stale": json.dumps(stale or [])}})


async def test_heartbeats_carry_the_ticks_time_and_stand_still_with_it(site: Site, home: Home, stream: Stream) -> None:
    home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    await stream.version()
    write_tick(site, "2035-01-01T00:00:00.250000Z")
    await stream.heartbeat(lambda each: each.fresh_as_of.ToJsonString() == "2035-01-01T00:00:00.250Z")
    assert (await stream.heartbeat()).fresh_as_of.ToJsonString() == "2035-01-01T00:00:00.250Z"
    write_tick(site, "2034-01-01T00:00:00Z")
    assert (await stream.heartbeat()).fresh_as_of.ToJsonString() == "2035-01-01T00:00:00.250Z"
    scope = {"tenant": home.name, "environment": "prod", "service": ""}
    listed = {**scope, "verifiedAsOf": "2035-01-01T00:00:00Z", "reason": "Throttled"}
    write_tick(site, "2035-01-01T00:00:02Z", [listed, {**listed, "tenant": "another"}])
    heartbeat = await stream.heartbeat(lambda each: each.fresh_as_of.ToJsonString() == "2035-01-01T00:00:02Z")
    (stale,) = heartbeat.stale
    assert (stale.scope.tenant, stale.reason) == (home.name, "Throttled")
    assert stale.verified_as_of.ToJsonString() == "2035-01-01T00:00:00Z"


async def test_operators_see_who_has_which_version(site: Site, home: Home, stream: Stream) -> None:
    version = home.publish(1, {"key": "hush"})
    await stream.say(subscribe=pb.Subscribe(scope=message(home.scope), subscriber="pod-1"))
    await stream.version()
    refusal = pb.Acknowledge(scope=message(home.scope), version=codec.write_version(version), error="not a number")
    await stream.say(acknowledge=refusal)
    said = {"revision": 1, "digest": version.digest}
    refused = {"subscriber": "pod-1", "told": said, "acknowledged": None, "error": "not a number"}

    def seen(path: str) -> str:
        with urlopen(f"http://{HOST}:{site.metrics_port}{path}", timeout=TIMEOUT) as answer:
            return str(answer.read().decode())

    def delivered() -> list[Any]:
        return [each["subscribers"] for each in json.loads(seen(f"/delivery?tenant={home.name}"))]

    await asyncio.to_thread(wait_for, lambda: delivered() == [[refused]], "the refusal")
    assert 'acknowledgements_total{outcome="refused"}' in seen("/metrics")
    await stream.say(acknowledge=pb.Acknowledge(scope=message(home.scope), version=codec.write_version(version)))
    applied = refused | {"acknowledged": said, "error": ""}
    await asyncio.to_thread(wait_for, lambda: delivered() == [[applied]], "the acknowledgement")
    assert "hush" not in seen("/delivery") + seen("/metrics")


async def test_a_client_that_takes_nothing_is_sent_away_and_holds_up_nobody(
    site: Site, home: Home, stream: Stream, streams: Callable[[str], Stream]
) -> None:
    stuck = streams(home.token)
    home.publish(1, {"key": "x" * 900_000})
    for each in (stuck, stream):
        await each.subscribe(home.scope)
        await each.version()
    for revision in range(2, 22):  # more than the buffers between the two hold
        home.write(revision, {"key": str(revision) * 400_000})
        assert (await stream.version())[0] == revision
    server = site.server
    assert server
    await stream.heartbeat(lambda _: "has taken nothing" in server.output())
    code, details = await stuck.ended()
    assert (code, "taken nothing" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)


@pytest.fixture
async def small(site: Site, home: Home) -> AsyncIterator[Callable[[str], Stream]]:
    """Opens streams at a server that takes four, two of them of one peer, and twenty subscriptions of one."""
    port, calls = free_port(), []
    with site.start(port, f"small-{port}", "--max-streams=4", "--max-streams-per-peer=2"):
        credentials = grpc.ssl_channel_credentials(site.authority.ca_file.read_bytes())
        async with grpc.aio.secure_channel(f"{HOST}:{port}", credentials) as channel:

            def opened(token: str) -> Stream:
                calls.append(WatchServiceStub(channel).Watch(metadata=bearer(token)))
                return Stream(calls[-1])

            yield opened
            for call in calls:
                call.cancel()


async def test_no_peer_has_more_streams_than_its_share_and_all_together_no_more_than_there_are(
    site: Site, home: Home, small: Callable[[str], Stream]
) -> None:
    home.publish(1, {"key": "one"})
    tokens = [site.login.token(AUDIENCE, sub=name, **ACME) for name in ("one", "two", "three")]
    globex = site.login.token(AUDIENCE, sub="four", **(ACME | {"custom:tenantId": "globex"}))
    taken = [small(home.token), small(home.token), small(tokens[0]), small(tokens[1])]
    for each in taken[:2]:
        await each.subscribe(home.scope)
        await each.version()
    refused = small(home.token)
    await refused.subscribe(home.scope)
    assert await refused.ended() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "a client has at most 2 streams here")

    for each in taken[2:]:
        await each.subscribe(Scope("acme"))
        assert await each.absent() == "NOT_FOUND"
    for token, scope, reason in (
        (tokens[2], "acme", "clients with the same rights have at most 2 streams here"),
        (globex, "globex", "the server has 4 streams, and no more"),
    ):
        refused = small(token)
        await refused.subscribe(Scope(scope))
        assert await refused.ended() == (grpc.StatusCode.RESOURCE_EXHAUSTED, reason)

    home.write(2, {"key": "two"})
    for each in taken[:2]:
        assert await each.version() == (2, {"key": "two"})
    taken[2].call.cancel()
    async with asyncio.timeout(TIMEOUT):
        while True:  # the place is free once the server has noticed
            late = small(tokens[2])
            await late.subscribe(Scope("acme"))
            with suppress(AssertionError):
                assert await late.absent() == "NOT_FOUND"
                break


async def test_no_peer_has_more_subscriptions_than_its_share_however_many_its_streams(
    site: Site, home: Home, small: Callable[[str], Stream]
) -> None:
    first, second = small(home.token), small(home.token)
    for number in range(10):
        for each in (first, second):
            await each.subscribe(Scope(home.name, f"e{number}"))
            assert await each.absent() == "NOT_FOUND"
    await first.say(unsubscribe=pb.Unsubscribe(scope=message(Scope(home.name, "e0"))))
    await first.subscribe(Scope(home.name, "e10"))
    assert await first.absent() == "NOT_FOUND"
    await first.subscribe(Scope(home.name, "e10"))  # once more: no more than before
    assert await first.absent() == "NOT_FOUND"
    await second.subscribe(Scope(home.name, "e10"))
    assert await second.ended() == (grpc.StatusCode.RESOURCE_EXHAUSTED, "a client has at most 20 subscriptions here")
    third = small(home.token)  # what the second had is free again
    for number in range(10):
        await third.subscribe(Scope(home.name, f"e{number}"))
        assert await third.absent() == "NOT_FOUND"


async def test_a_heartbeat_never_overtakes_the_change_it_vouches_for(site: Site, home: Home, stream: Stream) -> None:
    await stream.subscribe(home.scope)
    await stream.absent()
    for revision in range(1, 21):
        home.write(revision, {"key": str(revision)})
        write_tick(site, f"2036-01-01T00:00:{revision:02}Z")
    seen = 0
    async with asyncio.timeout(TIMEOUT):
        while seen < 20:
            response = await stream.read()
            if not response.HasField("heartbeat"):
                seen = revisions(stream)[-1]
            elif response.heartbeat.fresh_as_of.ToJsonString().startswith("2036"):
                assert response.heartbeat.fresh_as_of.ToDatetime().second <= seen


# The server as a neighbour


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    return int((await check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT)).status)


async def test_health_and_reflection(site: Site) -> None:
    async with site.channel() as channel:
        for service in ("", SERVICE):
            assert await health(channel, service) == health_pb2.HealthCheckResponse.SERVING
        reflect = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            reflection_pb2.ServerReflectionRequest.SerializeToString,
            reflection_pb2.ServerReflectionResponse.FromString,
        )
        question = reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE)
        (answer,) = [each async for each in reflect(iter([question]))]
        assert b"WatchRequest" in answer.file_descriptor_response.file_descriptor_proto[0]


async def test_a_server_that_has_not_read_the_cluster_is_not_serving(site: Site, home: Home) -> None:
    config = yaml.safe_load(site.plane.kubeconfig_for(NAMESPACE, "watch-server").read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://{HOST}:{free_port()}"
    kubeconfig = site.directory / "nowhere.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    port, metrics_port = free_port(), free_port()
    arguments = [f"--listen={HOST}:{port}", "--insecure", f"--issuers={site.issuers()}"]
    arguments.append(f"--metrics-port={metrics_port}")
    command: list[str | Path] = [COMMAND, "watch-server", *arguments]
    with Process.start(
        command, log=site.directory / "blind.log", environment={"KUBECONFIG": str(kubeconfig)}
    ) as server:
        server.wait_until(lambda: "listening" in server.output(), "listening")
        async with grpc.aio.insecure_channel(f"{HOST}:{port}") as channel:
            assert await health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await asyncio.to_thread(probe, metrics_port) == 503
            stub = WatchServiceStub(channel)
            unread = (grpc.StatusCode.UNAVAILABLE, "the server has not read the cluster yet")
            token = site.login.token(AUDIENCE, **ACME)
            for tenant in ("acme", "globex"):  # whether it may be read is not for this server to say
                stream = Stream(stub.Watch(metadata=bearer(token)))
                await stream.subscribe(Scope(tenant))
                assert await stream.ended() == unread
                assert stream.received == []
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await stub.GetSnapshot(pb.GetSnapshotRequest(scope=pb.Scope(tenant=tenant)), metadata=bearer(token))
                assert (refused.value.code(), refused.value.details()) == unread
            stranger = Stream(stub.Watch(metadata=bearer("x.y.z")))
            await stranger.subscribe(Scope("acme"))
            assert (await stranger.ended())[0] is grpc.StatusCode.UNAUTHENTICATED


def probe(port: int) -> int:
    """What kubelet is told of readiness."""
    try:
        with urlopen(f"http://{HOST}:{port}/ready", timeout=TIMEOUT) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_a_server_that_serves_is_ready(site: Site) -> None:
    port = free_port()
    with site.start(free_port(), "ready", f"--metrics-port={port}"):
        assert probe(port) == 200
        with urlopen(f"http://{HOST}:{port}/metrics", timeout=TIMEOUT) as answer:
            assert b"tenantconfig_watch_streams 0.0" in answer.read()


async def test_a_renewed_certificate_is_used_without_a_lost_stream(site: Site, home: Home, stream: Stream) -> None:
    home.publish(1, {"key": "value"})
    await stream.subscribe(home.scope)
    await stream.version()
    renewed = CertificateAuthority(site.directory / "renewed-tls")
    certificate = renewed.issue("server")
    before = [file.read_bytes() for file in (site.certificate.certificate_file, site.certificate.key_file)]
    try:
        site.certificate.key_file.write_bytes(certificate.key_file.read_bytes())
        site.certificate.certificate_file.write_bytes(certificate.certificate_file.read_bytes())
        credentials = grpc.ssl_channel_credentials(renewed.ca_file.read_bytes())
        async with grpc.aio.secure_channel(site.address, credentials) as channel:
            stub = WatchServiceStub(channel)
            request = pb.GetSnapshotRequest(scope=message(home.scope))
            answer = await stub.GetSnapshot(request, metadata=bearer(home.token), timeout=TIMEOUT)
            assert answer.snapshot.version.revision == 1
    finally:
        for file, content in zip((site.certificate.certificate_file, site.certificate.key_file), before, strict=True):
            file.write_bytes(content)
    home.write(2, {"key": "two"})
    assert (await stream.version())[0] == 2


async def test_a_server_that_is_told_to_stop_sends_its_streams_away(site: Site, home: Home) -> None:
    home.publish(1, {"key": "value"})
    port = free_port()
    with site.start(port, "stopping") as server:
        credentials = grpc.ssl_channel_credentials(site.authority.ca_file.read_bytes())
        async with grpc.aio.secure_channel(f"{HOST}:{port}", credentials) as channel:
            stub = WatchServiceStub(channel)
            stream = Stream(stub.Watch(metadata=bearer(home.token)))
            await stream.subscribe(home.scope)
            await stream.version()
            code = await asyncio.to_thread(server.stop)
            assert await stream.ended() == (grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        assert code == 0


# The client


@asynccontextmanager
async def watching(site: Site, port: int, home: Home) -> AsyncIterator[Callable[[type[Event]], Any]]:
    """Our client's events; gives a function that waits for the next of a kind."""
    connection = Connection(f"{HOST}:{port}", site.token_file(home.token), site.authority.ca_file)
    async with aclosing(watch(connection, View([home.scope]))) as events:

        async def following(kind: type[Event]) -> Event:
            async with asyncio.timeout(TIMEOUT):
                async for event in events:
                    if isinstance(event, kind):
                        return event
            raise AssertionError("the client ended")

        yield following


async def test_the_client_resumes_when_a_server_comes_back(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    port = free_port()
    async with AsyncExitStack() as stack:
        first = stack.enter_context(site.start(port, "first"))
        following = await stack.enter_async_context(watching(site, port, home))
        assert (await following(Changed)).snapshot.entries == {"key": "one"}
        await asyncio.to_thread(first.kill)
        assert not (await following(Disconnected)).lasting
        stack.enter_context(site.start(port, "second"))
        assert (await following(Unchanged)).version.revision == 1
        home.write(2, {"key": "two"})
        assert (await following(Changed)).snapshot.entries == {"key": "two"}
        home.write(2, {"key": "two"}, withdrawn=True)
        assert (await following(Gone)).withdrawn


async def test_the_client_reads_its_token_again(site: Site) -> None:
    def token(lifetime: float) -> str:
        return site.login.token(AUDIENCE, lifetime=lifetime, **ACME)

    file = site.token_file(token(3))
    connection = Connection(site.address, file, site.authority.ca_file)
    async with aclosing(watch(connection, View([Scope("acme", "no-such")]))) as events, asyncio.timeout(TIMEOUT):
        assert isinstance(await anext(events), Gone)
        file.write_text(token(600))
        ended = await anext(event async for event in events if isinstance(event, Disconnected))
        assert (ended.code, ended.lasting) == ("UNAUTHENTICATED", False)
        assert isinstance(await anext(event async for event in events if not isinstance(event, Fresh)), Gone)


def command(site: Site, home: Home, name: str, *arguments: str, token: str = "") -> Process:
    log = site.directory / f"{name}-{next(_numbers)}.log"
    return Process.start([COMMAND, name, *flags(site, token or home.token), *arguments], log=log)


def flags(site: Site, token: str) -> list[str]:
    return [f"--server={site.address}", f"--ca={site.authority.ca_file}", f"--token-file={site.token_file(token)}"]


def test_tenantconfig_watch_prints_a_line_a_version(site: Site, home: Home) -> None:
    first = home.publish(1, {"key": "one"})
    with command(site, home, "watch", f"--tenant={home.name}", "--environment=prod", "-o", "json") as client:
        client.wait_until(lambda: len(versions(client)) == 1, "first version")
        home.write(2, {"key": "two"})
        client.wait_until(lambda: len(versions(client)) == 2, "second version")
        home.write(2, {"key": "two"}, withdrawn=True)
        client.wait_until(lambda: len(versions(client)) == 3, "withdrawal")
        one, two, gone = versions(client)
    assert one["scope"] == {"tenant": home.name, "environment": "prod", "service": ""}
    assert (one["revision"], one["digest"], one["entries"]) == (1, first.digest, {"key": "one"})
    assert (two["revision"], two["entries"]) == (2, {"key": "two"})
    assert gone["absent"] == "WITHDRAWN"
    assert one["receivedAt"] < two["receivedAt"] < gone["receivedAt"]


def test_tenantconfig_watch_tells_when_nobody_vouches_for_the_values(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    write_tick(site, datetime.now(UTC).isoformat())
    with command(site, home, "watch", f"--tenant={home.name}", "--environment=prod", "-o", "json") as client:
        client.wait_until(lambda: len(versions(client)) == 1, "the version")
        client.wait_until(lambda: "nothing new from the controller for 10 s" in client.output(), "the doubt")
    assert client.output().count("nothing new") == 1


@pytest.mark.parametrize(
    ("arguments", "token", "said"),
    [
        (["--tenant=globex"], "", "not permitted to read scope globex/_/_"),
        (["--tenant=acme"], "x.y.z", "the server refuses the token"),
        (["--tenant=Not_A_Label"], "", "scope.tenant: is not a DNS label"),
    ],
)
@pytest.mark.parametrize("name", ["watch", "get"])
def test_what_the_server_refuses_is_one_line(
    site: Site, home: Home, name: str, arguments: list[str], token: str, said: str
) -> None:
    with command(site, home, name, *arguments, token=token) as client:
        assert client.wait() == 1
        (line,) = client.output().splitlines()
    assert said in line


def test_tenantconfig_get(site: Site, home: Home) -> None:
    scope = [f"--tenant={home.name}", "--environment=prod"]
    with command(site, home, "get", *scope, "-o", "yaml") as missing:
        assert missing.wait() == 1
    assert "absent: NOT_FOUND" in missing.output()
    home.write(1, {"key": "one"})

    def found() -> bool:
        with command(site, home, "get", *scope, "-o", "json") as client:
            return client.wait() == 0 and versions(client)[0]["entries"] == {"key": "one"}

    assert site.server
    site.server.wait_until(found, "the scope served")


@pytest.mark.parametrize("name", ["watch", "get"])
def test_what_the_client_cannot_verify_is_one_line(site: Site, home: Home, tmp_path: Path, name: str) -> None:
    (tmp_path / "ca.crt").write_text("none")
    another = CertificateAuthority(tmp_path / "another").ca_file
    for ca, said in ((tmp_path / "ca.crt", "does not hold a certificate"), (another, "andshake failed")):
        with command(site, home, name, f"--tenant={home.name}", f"--ca={ca}") as client:
            client.wait_until(lambda said=said, client=client: said in client.output(), "why")  # type: ignore[misc]
            (line,) = client.output().splitlines()
            assert str(ca) in line


def test_tenantconfig_get_asks_the_next_server_when_one_is_gone(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    servers = f"--server={HOST}:{free_port()},{site.address}"
    with command(site, home, "get", servers, f"--tenant={home.name}", "--environment=prod", "-o", "json") as client:
        assert client.wait() == 0
        assert versions(client)[0]["entries"] == {"key": "one"}


def test_tenantconfig_watch_ends_when_nobody_reads_it(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    arguments = [
        str(COMMAND),
        "watch",
        *flags(site, home.token),
        f"--tenant={home.name}",
        "--environment=prod",
        "-o",
        "json",
    ]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdout
        assert client.stderr
        assert json.loads(client.stdout.readline())["revision"] == 1
        client.stdout.close()
        assert client.wait(TIMEOUT) == 1, "though there is no other version"
        assert client.stderr.read() == b""


def test_an_output_that_is_full_is_one_line(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    arguments = [str(COMMAND), "get", *flags(site, home.token), f"--tenant={home.name}", "--environment=prod"]
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "tenantconfig: cannot write to stdout: No space left on device\n")


def test_a_token_file_that_vanishes_during_a_watch_is_one_line(site: Site, home: Home) -> None:
    file = site.token_file(site.login.token(AUDIENCE, lifetime=5, **ACME))
    flags = [f"--server={site.address}", f"--ca={site.authority.ca_file}", f"--token-file={file}", "--tenant=acme"]
    log = site.directory / f"vanished-{next(_numbers)}.log"
    with Process.start([COMMAND, "watch", *flags, "--environment=no-such", "-o", "json"], log=log) as client:
        client.wait_until(lambda: len(versions(client)) == 1, "an answer")
        file.unlink()
        assert client.wait() == 1
    said = [line for line in client.output().splitlines() if line.startswith("tenantconfig: ")]
    assert said[-1] == f"tenantconfig: token file {file} cannot be read: No such file or directory"
    assert "Traceback" not in client.output()


def test_no_secret_reaches_the_log(site: Site, home: Home) -> None:
    home.publish(1, {"key": "the-value-of-a-key"})
    with command(site, home, "watch", f"--tenant={home.name}", "--environment=prod") as client:
        client.wait_until(lambda: "the-value-of-a-key" in client.output(), "the value")
    assert site.server
    log = site.server.output()
    assert "the-value-of-a-key" not in log
    assert home.token not in log
    assert home.token.split(".")[2] not in log
