"""The protocol as other languages see it: examples/node/watch.mjs knows watch.proto and nothing else of ours."""

import json
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import pytest

from harness import cluster
from harness.api import Object
from harness.aws import free_port
from harness.processes import Process
from harness.system import HOST, System, is_ready, versions
from harness.wait import TIMEOUT, wait_for
from prepare import node
from tenantconfig.model import digest
from tenantconfig.watch.v1 import watch_pb2 as pb
from tenantconfig.watch.v1.watch_pb2_grpc import (
    WatchServiceServicer,
    WatchServiceStub,
    add_WatchServiceServicer_to_server,
)

MAX = "tenant_config_max"
FRESH = "watch: at the latest version"
SNAPSHOT, DELTA, CURRENT = "snapshot", "delta", "current"


@pytest.fixture(scope="module")
def program() -> str:
    found = node.program()
    if found is None:
        pytest.skip(f"no Node {node.OLDEST[0]}.{node.OLDEST[1]} or newer with npm on this machine")
    assert node.installed(), "the Node example's packages are missing: run `make setup`"
    return found


@pytest.fixture
def client(program: str, system: System, tenant: str, tmp_path: Path) -> Iterator[Process]:
    """The example with the token of the tenant's namespace, for a scope of the tenant."""
    token = system.token_file(tenant)
    wait_for(lambda: admits(system, tenant, token), "namespace known")
    with start(program, system, tmp_path, tenant, token) as process:
        yield process


def admits(system: System, tenant: str, token: Path) -> bool:
    """Whether the server knows the tenant's namespace; before that, its pods are rightly refused."""
    credentials = grpc.ssl_channel_credentials(system.authority.ca_file.read_bytes())
    request = pb.GetSnapshotRequest(scope=pb.Scope(tenant=tenant, environment="prod"))
    metadata = (("authorization", f"Bearer {token.read_text()}"),)
    with grpc.secure_channel(system.server, credentials) as channel:
        try:
            WatchServiceStub(channel).GetSnapshot(request, metadata=metadata, timeout=TIMEOUT)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                return False
            raise
    return True


def start(program: str, system: System, directory: Path, tenant: str, token: Path, port: int = 0) -> Process:
    flags = {
        "server": f"localhost:{port or system.port}",  # by name: Node has no TLS for addresses without a warning
        "ca": system.authority.ca_file,
        "token-file": token,
        "tenant": tenant,
        "environment": "prod",
        "subscriber": "a pod of Node",
    }
    arguments = [f"--{name}={value}" for name, value in flags.items()]
    return Process.start([program, node.EXAMPLE / "watch.mjs", *arguments], log=directory / f"node-{tenant}.log")


def tenant_config(tenant: str, entries: dict[str, str]) -> Object:
    listed = [{"key": key, "value": value} for key, value in entries.items()]
    return cluster.tenant_config(tenant, tenantId=tenant, environment="prod", entries=listed)


def apply(system: System, tenant: str, entries: dict[str, str]) -> Object:
    body = tenant_config(tenant, entries)
    system.admin.apply(body)
    return body


def received(client: Process, count: int) -> dict[str, Any]:
    """The line of that number; there is none after it."""
    lines = client.wait_until(lambda: len(versions(client)) >= count and versions(client), f"{count} lines")
    assert len(lines) == count, lines
    return lines[-1]


def sent(system: System) -> dict[str, int]:
    """What this watch server has sent since it was started, by kind."""
    lines = (line for line in system.metrics("watch-server").splitlines() if "watch_messages_total{" in line)
    return {line.split('"')[1]: int(float(line.split()[-1])) for line in lines}


def test_a_snapshot_then_deltas_each_verified_and_acknowledged(system: System, tenant: str, client: Process) -> None:
    body = apply(system, tenant, {MAX: "1", "param_config_url": "https://one.example"})

    def delivered(line: dict[str, Any]) -> bool:
        with urlopen(
            f"http://{HOST}:{system.metrics_ports['watch-server']}/delivery?tenant={tenant}", timeout=TIMEOUT
        ) as answer:
            ((subscriber,),) = [each["subscribers"] for each in json.loads(answer.read())]
        version = {"revision": line["revision"], "digest": line["digest"]}
        return bool(
            subscriber == {"subscriber": "a pod of Node", "told": version, "acknowledged": version, "error": ""}
        )

    first = client.wait_until(lambda: [each for each in versions(client) if "entries" in each], "values")[0]
    assert first["scope"] == {"tenant": tenant, "environment": "prod", "service": ""}
    assert first["entries"] == {MAX: "1", "param_config_url": "https://one.example"}
    assert first["digest"] == digest(first["entries"])
    wait_for(lambda: is_ready(system.admin.get(body)), "Ready")
    status = system.admin.get(body)["status"]
    assert (first["revision"], first["digest"]) == (status["revision"], status["digest"])
    wait_for(lambda: delivered(first), "the acknowledgement, seen by operators")

    before, lines = sent(system), len(versions(client))
    apply(system, tenant, {MAX: "2", "tenant_config_new": ""})
    second = received(client, lines + 1)
    assert second["entries"] == {MAX: "2", "tenant_config_new": ""}
    assert (second["revision"], second["digest"]) == (first["revision"] + 1, digest(second["entries"]))
    wait_for(lambda: delivered(second), "the acknowledgement of the Delta")
    after = sent(system)
    assert (after[DELTA] - before.get(DELTA, 0), after[SNAPSHOT]) == (1, before[SNAPSHOT])


def test_it_resumes_from_what_it_holds_when_the_server_was_killed(system: System, tenant: str, client: Process) -> None:
    apply(system, tenant, {MAX: "1"})
    assert system.watch_server
    client.wait_until(lambda: versions(client) and "entries" in versions(client)[-1], "values")
    lines = len(versions(client))
    client.wait_until(lambda: client.output().count(FRESH) == 1, "vouched for")

    system.watch_server.kill()
    client.wait_until(lambda: "no stream" in client.output(), "the loss noticed")
    system.start_watch_server()
    client.wait_until(lambda: client.output().count(FRESH) == 2, "vouched for again")
    assert len(versions(client)) == lines
    assert (sent(system).get(SNAPSHOT, 0), sent(system)[CURRENT]) == (0, 1)

    system.watch_server.kill()
    body = apply(system, tenant, {MAX: "2"})
    wait_for(lambda: is_ready(system.admin.get(body)), "Ready")
    system.start_watch_server()
    assert received(client, lines + 1)["entries"] == {MAX: "2"}


@pytest.fixture
def odd_keys(system: System, tenant: str) -> Iterator[None]:
    """A store for keys that are no names in most languages; the tenant's values leave it before it goes."""
    store = cluster.config_store("odd-keys", prefixes=["1", "9", "_", "-", "C", "c"], plugin={"name": "memory"})
    system.admin.create(store)
    wait_for(lambda: is_ready(system.admin.get(store)), "ConfigStore Ready")
    yield
    for body in (tenant_config(tenant, {}), store):
        system.admin.delete(body)
        wait_for(lambda body=body: not system.admin.exists(body), "gone")  # type: ignore[misc]


@pytest.mark.usefixtures("odd_keys")
def test_keys_and_values_that_javascript_has_its_own_mind_about(system: System, tenant: str, client: Process) -> None:
    entries = {
        "9": "nine",
        "10": "ten",
        "__proto__": "é 𝄞 😀",
        "constructor": "\ufeffbyte order mark",
        "C": "\u2028\u2029",
        "-": '"\\/\b\f\n\r\t\x01\x7f\x85',
        "_": "",
    }
    body = tenant_config(tenant, entries)
    system.admin.create(body)
    first = client.wait_until(lambda: [each for each in versions(client) if "entries" in each], "values")[0]
    assert first["entries"] == entries
    assert first["digest"] == digest(entries)

    lines = len(versions(client))
    changed = {"__proto__": "e\u0301", "100": "", **{key: entries[key] for key in ("9", "constructor", "C", "-")}}
    system.admin.patch(body, {"spec": tenant_config(tenant, changed)["spec"]})
    second = received(client, lines + 1)
    assert second["entries"] == changed
    assert second["digest"] == digest(changed)


def test_a_withdrawal_is_told_and_what_comes_after_it(system: System, tenant: str, client: Process) -> None:
    body = apply(system, tenant, {MAX: "1"})
    first = client.wait_until(lambda: [each for each in versions(client) if "entries" in each], "values")[0]
    lines = len(versions(client))
    system.admin.delete(body)
    assert received(client, lines + 1)["absent"] == "WITHDRAWN"
    wait_for(lambda: not system.admin.exists(body), "gone")
    apply(system, tenant, {MAX: "1"})
    again = received(client, lines + 2)
    assert again["entries"] == {MAX: "1"}
    assert again["revision"] > first["revision"]


def test_a_scope_that_may_not_be_read_ends_it_with_one_line(
    program: str, system: System, tenant: str, client: Process, tmp_path: Path
) -> None:
    token = system.token_file(tenant)
    with start(program, system, tmp_path, f"{tenant}-other", token) as foreign:
        assert foreign.wait() == 1
        (line,) = foreign.output().splitlines()
        assert f"{tenant}-other" in line
        assert token.read_text() not in line

    client.wait_until(lambda: FRESH in client.output() or versions(client), "let in")
    readable = {"tenantconfig.dev/readable-tenants": f"{tenant}-other"}
    system.admin.patch(cluster.namespace(tenant), {"metadata": {"annotations": readable}})
    assert client.wait() == 1
    assert tenant in client.output().splitlines()[-1]


class Liar(WatchServiceServicer):
    """A server that says what a test wants, and tells it what was heard and with which token."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self._heard: queue.Queue[pb.WatchRequest] = queue.Queue()
        self._to_say: queue.Queue[pb.WatchResponse | grpc.StatusCode] = queue.Queue()

    def Watch(self, requests: Any, context: Any) -> Iterator[pb.WatchResponse]:  # noqa: N802  the proto's name
        self.tokens.append(dict(context.invocation_metadata())["authorization"])
        threading.Thread(target=self._listen, args=(requests,), daemon=True).start()
        while context.is_active():
            with suppress(queue.Empty):
                message = self._to_say.get(timeout=0.1)
                if isinstance(message, grpc.StatusCode):
                    context.abort(message, "as the test wants it")
                else:
                    yield message

    def GetSnapshot(self, request: Any, context: Any) -> pb.GetSnapshotResponse:  # noqa: N802  likewise
        raise NotImplementedError

    def _listen(self, requests: Iterator[pb.WatchRequest]) -> None:
        with suppress(grpc.RpcError):  # how a stream ends that the client has left
            for request in requests:
                self._heard.put(request)

    def say(self, **response: Any) -> None:
        self._to_say.put(pb.WatchResponse(**response))

    def end(self, code: grpc.StatusCode) -> None:
        self._to_say.put(code)

    def subscribed(self) -> pb.Version | None:
        """What the next request, a Subscribe, says is known."""
        request = self._heard.get(timeout=TIMEOUT)
        assert request.HasField("subscribe"), request
        return request.subscribe.known if request.subscribe.HasField("known") else None

    def acknowledged(self, version: pb.Version) -> str:
        """The error in the next request, an Acknowledge of that version."""
        request = self._heard.get(timeout=TIMEOUT)
        assert request.acknowledge.version == version, request
        return request.acknowledge.error


@contextmanager
def lying(system: System, liar: Liar) -> Iterator[int]:
    """The port where the liar listens."""
    certificate = system.authority.issue("liar")
    pair = (certificate.key_file.read_bytes(), certificate.certificate_file.read_bytes())
    server, port = grpc.server(ThreadPoolExecutor(4)), free_port()
    add_WatchServiceServicer_to_server(liar, server)
    server.add_secure_port(f"{HOST}:{port}", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def test_what_a_server_gets_wrong_is_refused_and_asked_for_again(program: str, system: System, tmp_path: Path) -> None:
    scope, liar, token = pb.Scope(tenant="acme", environment="prod"), Liar(), tmp_path / "token"
    token.write_text("one")

    def version(number: int, entries: dict[str, str]) -> pb.Version:
        return pb.Version(revision=2**53 + number, digest=digest(entries))  # a number of JavaScript has 53 bits

    def snapshot(version: pb.Version, entries: dict[str, str]) -> str:
        liar.say(snapshot=pb.Snapshot(scope=scope, version=version, entries=entries))
        return liar.acknowledged(version)

    with lying(system, liar) as port, start(program, system, tmp_path, "acme", token, port) as client:
        assert liar.subscribed() is None
        first = version(1, {"a": "1"})
        assert snapshot(first, {"a": "1"}) == ""
        assert received(client, 1)["revision"] == 2**53 + 1

        wrong = version(2, {"a": "2"})
        liar.say(delta=pb.Delta(scope=scope, base=first, version=wrong, changed={"b": "2"}))
        assert "digest" in liar.acknowledged(wrong)
        assert liar.subscribed() is None, "whole, this time"
        assert "digest" in snapshot(wrong, {"a": "3"})
        assert "newer" in snapshot(version(0, {}), {})
        liar.say(delta=pb.Delta(scope=scope, base=wrong, version=version(3, {}), removed=["a"]))
        assert liar.subscribed() == first, "from what is held"
        liar.say(heartbeat=pb.Heartbeat(stale=[pb.StaleScope(scope=scope, reason="BEHIND")]))
        client.wait_until(lambda: "may not be at the latest version: BEHIND" in client.output(), "told as stale")

        token.write_text("two")
        liar.end(grpc.StatusCode.UNAUTHENTICATED)
        assert liar.subscribed() == first
        assert liar.tokens == ["Bearer one", "Bearer two"]
        assert len(versions(client)) == 1
        liar.say(absent=pb.Absent(scope=scope, reason=pb.ABSENT_REASON_NOT_FOUND))
        assert received(client, 2)["absent"] == "NOT_FOUND"
        liar.end(grpc.StatusCode.UNAVAILABLE)
        assert liar.subscribed() == first, "kept"
        liar.say(absent=pb.Absent(scope=scope, reason=pb.ABSENT_REASON_WITHDRAWN))
        assert received(client, 3)["absent"] == "WITHDRAWN"
        assert "withdrawn" in snapshot(first, {"a": "1"})
        assert snapshot(version(4, {}), {}) == ""
        assert received(client, 4)["entries"] == {}
        liar.end(grpc.StatusCode.UNAUTHENTICATED)
        assert client.wait() == 1, "the token in the file is the one that was refused"
