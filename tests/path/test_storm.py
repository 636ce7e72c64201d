"""2,000 streams, a connection each, whose server is killed: all come back, and nobody is refused for long."""

import time
from collections import Counter
from contextlib import ExitStack

import pytest

from harness.aws import free_port
from harness.processes import Process
from harness.swarm import Swarm, Witness
from harness.wait import wait_for
from path.test_watch_server import HOST, Home, Site, admitted, home, site
from tenantconfig.client import Connection
from tenantconfig.model import Version

__all__ = ["admitted", "home", "site"]

STREAMS = 2_000
SECONDS = 120.0


@pytest.mark.timeout(600)
def test_a_storm_of_reconnections_leaves_nobody_out(site: Site, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    connection = Connection(f"{HOST}:{port}", site.token_file(home.token), site.authority.ca_file)
    latest = home.publish(1, {"key": "one"})

    def all_hold(swarm: Swarm, version: Version) -> bool:
        return all(client.config.version == version for client in swarm.clients)

    with ExitStack() as stack:
        first = stack.enter_context(site.start(port, "before-the-storm"))
        alone = first.resident_bytes()
        swarm = stack.enter_context(
            Swarm(lambda: [Witness(connection, home.scope, f"pod-{number}") for number in range(STREAMS)])
        )
        began = time.monotonic()
        wait_for(lambda: all_hold(swarm, latest), "all streams", SECONDS)
        report = [opened("at first", first, alone, time.monotonic() - began)]
        killed = time.monotonic()
        first.kill()
        wait_for(lambda: all(client.ended for client in swarm.clients), "all have noticed")
        latest = home.write(2, {"key": "two"})
        second = stack.enter_context(site.start(port, "after-the-storm"))
        began = time.monotonic()
        wait_for(lambda: all_hold(swarm, latest), "all streams again", SECONDS)
        report.append(opened("again", second, alone, time.monotonic() - began))
        ended = [(at, why) for client in swarm.clients for at, why in client.ended if at > killed]
        refusals = Counter(why for _, why in ended if "failed to connect" not in why and "Socket closed" not in why)
        late = sum(at > began for at, _ in ended)
        report.append(f"tries that failed: {len(ended)}, of them {late} when the server served; refusals: {refusals}")
    with capsys.disabled():
        print("\n" + "\n".join(report))


def opened(when: str, server: Process, alone: int, seconds: float) -> str:
    memory = (server.resident_bytes() - alone) / STREAMS / 1024
    cpu = 1000 * server.cpu_seconds() / STREAMS
    return f"{STREAMS} streams {when}: {seconds:.1f} s until the last, {memory:.0f} KiB and {cpu:.1f} ms of CPU each"
