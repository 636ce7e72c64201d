"""The Lease on a real API server: who leads, who waits, and who ends when the server cannot be reached."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes.aio import client, config

from harness.controlplane import ControlPlane
from tenantconfig import leadership
from tenantconfig.kubeapi import KubeApi
from tenantconfig.leadership import NAME, Leader

# A fifth or so of the real times, in the same order: retry < deadline < lease.
RETRY, DEADLINE, LEASE = 0.5, 2.0, 3


_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "RETRY_SECONDS", RETRY)
    monkeypatch.setattr(leadership, "RENEW_DEADLINE_SECONDS", DEADLINE)
    monkeypatch.setattr(leadership, "LEASE_SECONDS", LEASE)


class Relay:
    """A way to the API server that can be broken: TCP passed on, swallowed, or refused."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def swallow(self) -> None:
        """Connections stay open, and new ones are taken; nothing goes through."""
        self._flowing.clear()

    def flow(self) -> None:
        self._flowing.set()

    async def refuse(self) -> None:
        """Nobody listens any more."""
        assert self._server
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def stop(self) -> None:
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
        self._writers |= {writer, upstream_writer}
        for source, sink in ((reader, upstream_writer), (upstream_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
        sink.close()


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[KubeApi]:
    configuration = client.Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    kube = KubeApi(client.ApiClient(configuration))
    yield kube
    await kube.close()


@pytest.fixture
async def kube(control_plane: ControlPlane) -> AsyncIterator[KubeApi]:
    async with connected(control_plane.kubeconfig) as kube:
        yield kube


@pytest.fixture
async def relay(control_plane: ControlPlane) -> AsyncIterator[Relay]:
    address = urlsplit(control_plane.server)
    assert address.hostname
    assert address.port
    relay = Relay(address.hostname, address.port)
    yield relay
    await relay.stop()


@pytest.fixture
async def relayed(control_plane: ControlPlane, relay: Relay, tmp_path: Path) -> AsyncIterator[KubeApi]:
    """The API server by way of the relay."""
    settings = yaml.safe_load(control_plane.kubeconfig.read_text())
    settings["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{await relay.start()}"
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(settings))
    async with connected(file) as kube:
        yield kube


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    name = f"lease-{next(_numbers)}"
    control_plane.kubectl("create", "namespace", name)
    return name


class Lost:
    """What a leader does in the end, dated; a process would be gone."""

    def __init__(self) -> None:
        self.happened = asyncio.Event()
        self.at = 0.0

    def __call__(self) -> None:
        if not self.happened.is_set():
            self.at = time.monotonic()
            self.happened.set()


@asynccontextmanager
async def running(*work: Awaitable[Any]) -> AsyncIterator[list["asyncio.Task[Any]"]]:
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def lease(kube: KubeApi, namespace: str) -> dict[str, Any]:
    found = await kube.get(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{NAME}")
    spec: dict[str, Any] = found["spec"]
    return spec


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # each a request: the loop runs on
            pass


async def test_the_first_takes_the_lease_and_says_who_it_is(kube: KubeApi, namespace: str) -> None:
    await Leader(kube, namespace, "one").acquire()
    spec = await lease(kube, namespace)
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("one", LEASE, 0)


async def test_holding_renews_and_changes_nothing_else(kube: KubeApi, namespace: str) -> None:
    lost = Lost()
    leader = Leader(kube, namespace, "one", lost)
    await leader.acquire()
    before = await lease(kube, namespace)

    async def renewed() -> bool:
        return bool((await lease(kube, namespace))["renewTime"] > before["renewTime"])

    async with running(leader.hold()):
        await until(renewed)
    after = await lease(kube, namespace)
    assert {**after, "renewTime": ""} == {**before, "renewTime": ""}
    assert not lost.happened.is_set()


async def test_the_second_waits_as_long_as_the_first_renews(kube: KubeApi, namespace: str) -> None:
    lost = Lost()
    first, second = Leader(kube, namespace, "one", lost), Leader(kube, namespace, "two", lost)
    await first.acquire()
    async with running(first.hold(), second.acquire()) as (_, acquiring):
        done, _pending = await asyncio.wait([acquiring], timeout=LEASE * 1.5)
        assert not done
        assert (await lease(kube, namespace))["holderIdentity"] == "one"
    assert not lost.happened.is_set()


async def test_a_release_hands_over_without_waiting_for_the_lease(
    kube: KubeApi, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leadership, "LEASE_SECONDS", 3600)
    first, second = Leader(kube, namespace, "one"), Leader(kube, namespace, "two")
    await first.acquire()
    async with running(second.acquire()) as (acquiring,):
        await first.release()
        await asyncio.wait_for(acquiring, 10)
    spec = await lease(kube, namespace)
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("two", 1)


async def test_a_release_by_who_does_not_lead_changes_nothing(kube: KubeApi, namespace: str) -> None:
    await Leader(kube, namespace, "one").acquire()
    before = await lease(kube, namespace)
    await Leader(kube, namespace, "two").release()
    assert await lease(kube, namespace) == before


async def test_of_several_that_start_at_once_one_leads(kube: KubeApi, namespace: str) -> None:
    candidates = [Leader(kube, namespace, str(number)) for number in range(5)]
    async with running(*(each.acquire() for each in candidates)) as tasks:
        done, _ = await asyncio.wait(tasks, timeout=LEASE / 2)
        assert len(done) == 1


async def test_who_starts_again_under_its_own_name_leads_at_once(kube: KubeApi, namespace: str) -> None:
    await Leader(kube, namespace, "one").acquire()
    async with asyncio.timeout(RETRY * 3):
        await Leader(kube, namespace, "one").acquire()
    assert (await lease(kube, namespace))["leaseTransitions"] == 0


async def test_a_lease_that_is_not_renewed_is_taken_only_after_its_duration(kube: KubeApi, namespace: str) -> None:
    await Leader(kube, namespace, "one").acquire()
    began = time.monotonic()
    async with asyncio.timeout(30):
        await Leader(kube, namespace, "two").acquire()
    assert time.monotonic() - began >= LEASE
    assert (await lease(kube, namespace))["leaseTransitions"] == 1


async def test_a_lease_without_a_holder_or_a_spec_is_free(kube: KubeApi, namespace: str) -> None:
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NAME}}
    await kube.post(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases", body)
    async with asyncio.timeout(10):
        await Leader(kube, namespace, "one").acquire()
    assert (await lease(kube, namespace))["holderIdentity"] == "one"


@pytest.mark.parametrize("how", ["a black hole", "a refused connection"])
async def test_a_leader_that_is_cut_off_ends_before_another_may_lead(
    kube: KubeApi, relayed: KubeApi, relay: Relay, namespace: str, how: str
) -> None:
    lost = Lost()
    first, second = Leader(relayed, namespace, "one", lost), Leader(kube, namespace, "two")
    await first.acquire()
    async with running(first.hold(), second.acquire()) as (_, acquiring):
        began = time.monotonic()
        if how == "a black hole":
            relay.swallow()
        else:
            await relay.refuse()
        async with asyncio.timeout(30):
            await lost.happened.wait()
            assert not acquiring.done()
            await acquiring
        taken = time.monotonic()
    assert lost.at - began <= DEADLINE + RETRY
    assert lost.at < taken


async def test_a_short_interruption_is_survived(kube: KubeApi, relayed: KubeApi, relay: Relay, namespace: str) -> None:
    lost = Lost()
    leader = Leader(relayed, namespace, "one", lost)
    await leader.acquire()
    before = await lease(kube, namespace)

    async def renewed() -> bool:
        return bool((await lease(kube, namespace))["renewTime"] > before["renewTime"])

    async with running(leader.hold()) as (holding,):
        relay.swallow()
        await asyncio.wait([holding], timeout=RETRY * 1.5)
        relay.flow()
        await until(renewed)
        assert not lost.happened.is_set()


async def test_a_candidate_waits_out_a_server_that_does_not_answer(
    kube: KubeApi, relayed: KubeApi, relay: Relay, namespace: str
) -> None:
    relay.swallow()
    async with running(Leader(relayed, namespace, "one").acquire()) as (acquiring,):
        done, _ = await asyncio.wait([acquiring], timeout=RETRY * 3)
        assert not done
        relay.flow()
        await asyncio.wait_for(acquiring, 10)
    assert (await lease(kube, namespace))["holderIdentity"] == "one"


def test_the_times_leave_room_between_the_end_of_one_and_the_beginning_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    assert leadership.RETRY_SECONDS < leadership.RENEW_DEADLINE_SECONDS
    assert leadership.RENEW_DEADLINE_SECONDS + leadership.RETRY_SECONDS < leadership.LEASE_SECONDS
