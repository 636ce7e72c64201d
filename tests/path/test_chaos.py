"""What the watch service promises, while all that it is made of is killed and configurations change all the while.

The parts are real, each its own process: the controller, two watch servers, and
an API server of theirs that is restarted under them. 500 clients are connected
to the two servers, by the library that pods use, with service accounts' tokens.
"""

import os
import random
import signal
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import partial
from pathlib import Path

import pytest

from harness.api import Api, Object
from harness.aws import free_port
from harness.certificates import CertificateAuthority
from harness.cluster import config_store, namespace, tenant_config
from harness.controlplane import ApiServer, ControlPlane
from harness.install import BASE, install
from harness.processes import Process
from harness.projections import KEY, Projections
from harness.swarm import Sighting, Swarm, Witness, longest
from harness.system import AUDIENCE, COMMAND, HOST, NAMESPACE
from harness.wait import wait_for
from tenantconfig.client import Connection, State
from tenantconfig.model import Scope

SEED = 20261125
CLIENTS = 500
TENANTS = 4  # each with a namespace
SERVICES = 5  # scopes of each tenant
CHANGE_SECONDS = 0.1  # between changes
SETTLED_SECONDS = 120.0
SERVER_SECONDS = 15.0  # for an orderly end; a drain takes up to 7
API_SERVER_SECONDS = 2.0  # it would wait for its watches to end, and those of the operator do not

SERVERS = ("server-a", "server-b")
API_SERVER, CONTROLLER = "api-server", "controller"


class How(Enum):
    """How a process is done away with."""

    KILLED = signal.SIGKILL
    TERMINATED = signal.SIGTERM
    FROZEN = signal.SIGSTOP


A, B = SERVERS
# In this order, so that the controller has time to get its Lease again before it loses it once more.
TROUBLES: Sequence[tuple[How, Sequence[str]]] = [
    (How.KILLED, [API_SERVER]),
    (How.TERMINATED, [A]),
    (How.TERMINATED, [CONTROLLER]),
    (How.KILLED, [B]),
    (How.TERMINATED, [API_SERVER, A]),
    (How.KILLED, [A, B]),
    (How.KILLED, [API_SERVER, B]),
    (How.KILLED, [A]),
    (How.KILLED, [CONTROLLER]),
    (How.TERMINATED, [B]),
    (How.FROZEN, [A, B]),
    (How.TERMINATED, [A, B]),
    (How.TERMINATED, [API_SERVER]),
]


@dataclass
class Parts:
    """Processes by name, ended and started again, always with the same arguments."""

    directory: Path
    api_server: ApiServer
    commands: Mapping[str, Sequence[str | Path]]
    kubeconfigs: Mapping[str, Path]
    running: dict[str, Process] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)

    def start(self, name: str) -> None:
        self.starts[name] += 1
        if name == API_SERVER:
            self.api_server.start_again()
            self.running[name] = self.api_server.process
        else:
            log = self.directory / f"{name}-{self.starts[name]}.log"
            environment = {"KUBECONFIG": str(self.kubeconfigs[name])}
            self.running[name] = Process.start(self.commands[name], log=log, environment=environment)

    def wait_until_working(self) -> None:
        """Until all do their work; one that has ended by itself is started again, as kubelet would."""
        for name in (API_SERVER, *self.commands):
            wait_for(partial(self._works, name), f"{name} works")

    def _works(self, name: str) -> bool:
        if not self.running[name].running:
            self.start(name)
        if name == API_SERVER:
            return self.api_server.ready()
        return (": Leading as" if name == CONTROLLER else ": serving\n") in self.running[name].output()

    def end(self, names: Iterable[str], how: How) -> None:
        for name in names:
            os.kill(self.running[name].pid, how.value)
        if how is not How.FROZEN:
            for name in names:
                self.running[name].stop(API_SERVER_SECONDS if name == API_SERVER else SERVER_SECONDS)

    def bring_back(self, names: Iterable[str], how: How) -> None:
        for name in names:
            if how is How.FROZEN:
                os.kill(self.running[name].pid, signal.SIGCONT)
            else:
                self.start(name)

    def stop(self) -> None:
        for process in self.running.values():
            process.kill()


class Changes:
    """Someone who changes one TenantConfig after another, chosen by chance, as long as the block lasts."""

    def __init__(self, admin: Api, scopes: Sequence[Scope]) -> None:
        self._admin = admin
        self._scopes = scopes
        self._chance = random.Random(SEED)  # noqa: S311  no secret
        self._stopped = threading.Event()
        self.count = 0
        self.made: dict[Scope, list[tuple[float, int]]] = {scope: [] for scope in scopes}  # Unix time, count

    def make(self, scope: Scope) -> None:
        self.count += 1
        self._admin.apply(wanted(scope, self.count))
        self.made[scope].append((time.time(), self.count))

    def made_before(self, moment: datetime, scope: Scope) -> int:
        """The count of the scope's last change that was made, beyond doubt, before a moment."""
        made = self.made[scope]
        index = bisect_left(made, (moment.timestamp(), 0))
        return made[index - 1][1] if index else 0

    def more(self, count: int) -> None:
        """Wait for so many more changes."""
        goal = self.count + count
        wait_for(lambda: self.count >= goal, f"{count} more changes")

    @contextmanager
    def going_on(self) -> Iterator[None]:
        thread = threading.Thread(target=self._go_on)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _go_on(self) -> None:
        while not self._stopped.wait(CHANGE_SECONDS):
            self.make(self._chance.choice(self._scopes))


def wanted(scope: Scope, count: int) -> Object:
    """A TenantConfig whose keys come and go and whose values change, with the count that tells its versions apart."""
    values = {KEY: str(count), f"extra_{count % 3}": "x" * 200, "extra_always": "the same"}
    return tenant_config(
        scope.tenant,
        scope.service,
        tenantId=scope.tenant,
        environment=scope.environment,
        service=scope.service,
        entries=[{"key": key, "value": value} for key, value in values.items()],
    )


class Place:
    """Where it happens: everything is there and works, except for clients; ended by the stack."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        plane = ControlPlane.start(directory / "control-plane")
        stack.callback(plane.stop)
        install(plane)
        self.admin = Api.of_administrator(plane)
        self.api_server = ApiServer.over(plane, directory / "api-server")
        self.projections = Projections.watched(plane, directory / "projections.log")
        self.authority = CertificateAuthority(directory / "tls")
        self.addresses = [f"{HOST}:{free_port()}" for _ in SERVERS]
        self.scopes = [Scope(f"tenant-{n}", "prod", f"service-{m}") for n in range(TENANTS) for m in range(SERVICES)]
        self.tokens = {tenant: self._namespace(plane, directory, tenant) for tenant in {s.tenant for s in self.scopes}}
        for name in ("dynamodb", "ssm"):
            self.admin.delete(config_store(name))
        self.admin.create(config_store("extra", prefixes=["extra_"], plugin={"name": "memory"}))
        self.parts = self._parts(directory)
        stack.callback(self.parts.stop)
        for name in (CONTROLLER, *SERVERS):
            self.parts.start(name)
        self.parts.wait_until_working()
        self.changes = Changes(self.admin, self.scopes)

    def _namespace(self, plane: ControlPlane, directory: Path, tenant: str) -> Path:
        """A namespace that may declare the tenant; returns its pods' token."""
        self.admin.create(namespace(tenant, {"tenantconfig.dev/tenants": tenant}))
        wait_for(lambda: plane.get("serviceaccount", "default", tenant), "the pods' service account")
        file = directory / f"{tenant}.token"
        file.write_text(plane.token_for(tenant, "default", AUDIENCE))
        return file

    def _parts(self, directory: Path) -> Parts:
        certificate = self.authority.issue("server")
        files = [f"--tls-cert={certificate.certificate_file}", f"--tls-key={certificate.key_file}"]
        serve = ["watch-server", f"--issuers={BASE / 'issuers.yaml'}", *files]
        commands: dict[str, Sequence[str | Path]] = {CONTROLLER: [COMMAND, "controller"]}
        for name, address in zip(SERVERS, self.addresses, strict=True):
            commands[name] = [COMMAND, *serve, f"--listen={address}"]
        roles = {CONTROLLER: "controller"} | dict.fromkeys(SERVERS, "watch-server")
        kubeconfigs = {name: self.api_server.kubeconfig_for(NAMESPACE, role) for name, role in roles.items()}
        return Parts(directory, self.api_server, commands, kubeconfigs, {API_SERVER: self.api_server.process})

    def clients(self) -> list[Witness]:
        """Spread over the scopes, and over the servers by which of them they try first."""
        return [self._client(number) for number in range(CLIENTS)]

    def _client(self, number: int) -> Witness:
        scope, first = self.scopes[number % len(self.scopes)], number // len(self.scopes) % 2
        server = ",".join([*self.addresses[first:], *self.addresses[:first]])
        return Witness(Connection(server, self.tokens[scope.tenant], self.authority.ca_file), scope, f"pod-{number}")

    def projected(self) -> bool:
        """Whether the last change of every scope is."""
        self.projections.read()
        latest = ((scope, self.projections.latest(scope)) for scope in self.scopes)
        return all(
            version and self.projections.counts[scope, version] == self.changes.made[scope][-1][1]
            for scope, version in latest
        )

    def settled(self, swarm: Swarm) -> bool:
        """Whether every client holds the latest, and knows it."""
        self.parts.wait_until_working()
        configs = [client.config for client in swarm.clients]
        return self.projected() and all(
            (each.state, each.version) == (State.READY, self.projections.latest(each.scope)) for each in configs
        )


@pytest.mark.timeout(600)
def test_no_client_is_stale_without_knowing_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is killed, what a client says of its values is true, and in the end all have the latest.

    A client claims: "all changes up to F are in my values", F being its `fresh_as_of`, the time of the last tick that
    the server vouched with. It is stale without knowing it from the moment when it claims F and holds a version older
    than the latest that was written before the tick with the time F, until either is mended. This is judged at each
    event that a client takes (answers, heartbeats, ends of streams) and at each change of its state, against the order
    in which the API server has the ConfigMaps and ticks: no two clocks are compared.

    A client that says STALE or ERROR, or whose F stands still, knows; for how long that was is printed, too.
    """
    with ExitStack() as stack:
        place = Place(tmp_path, stack)
        for scope in place.scopes:
            place.changes.make(scope)
        wait_for(place.projected, "all projected")
        swarm = stack.enter_context(Swarm(place.clients))
        wait_for(lambda: place.settled(swarm), "all clients READY", SETTLED_SECONDS)
        with place.changes.going_on():
            make_trouble(place, swarm)
        wait_for(lambda: place.settled(swarm), "all clients READY with the latest", SETTLED_SECONDS)
        summary = judge(place, swarm, time.monotonic())
    with capsys.disabled():
        print(f"\n{summary}")


def make_trouble(place: Place, swarm: Swarm) -> None:
    chance = random.Random(SEED)  # noqa: S311  no secret
    for how, names in TROUBLES:
        place.parts.end(names, how)
        place.changes.more(chance.randint(1, 10))
        if how is How.FROZEN:
            wait_for(lambda: not any(each.config.state is State.READY for each in swarm.clients), "all clients notice")
        place.parts.bring_back(names, how)
        place.parts.wait_until_working()


def judge(place: Place, swarm: Swarm, end: float) -> str:
    """Raises AssertionError unless every client saw what it was promised; otherwise, what they saw in a few lines."""
    place.projections.read()
    counts = place.projections.counts

    def overstated(client: Witness, seen: Sighting) -> bool:
        revision = seen.version.revision if seen.version else 0
        return seen.as_of is not None and revision < place.projections.due(client.config.scope, seen.as_of)

    def overlooked(client: Witness, seen: Sighting) -> bool:
        count = counts[client.config.scope, seen.version] if seen.version else 0
        made = place.changes.made_before(seen.as_of, client.config.scope) if seen.as_of else 0
        return seen.state is State.READY and count < made

    def most(wrong: Callable[[Witness, Sighting], bool]) -> float:
        return max(longest(each.since_ready(), partial(wrong, each), end) for each in swarm.clients)

    received = [(each.config.scope, seen.version) for each in swarm.clients for seen in each.sightings if seen.version]
    assert [wrong for each in swarm.clients for wrong in each.wrong] == []
    assert set(received) <= counts.keys(), "versions that were never projected"
    assert all(each.ended for each in swarm.clients), "a client that lost no stream proves nothing"
    ended = Counter(why.partition(":")[0] for each in swarm.clients for _, why in each.ended)
    unknowing, knowing = most(overstated), most(lambda _, seen: seen.state is not State.READY)
    summary = (
        f"{CLIENTS} clients of {len(place.scopes)} scopes: {place.changes.count} changes, {len(counts)} versions\n"
        f"starts: {dict(place.parts.starts)}; streams ended: {dict(ended)}\n"
        f"longest stale without knowing it: {unknowing:g} s; knowing it: {knowing:.1f} s; "
        f"READY and behind a change that the controller had not seen: {most(overlooked):.1f} s"
    )
    assert unknowing == 0, summary
    return summary
