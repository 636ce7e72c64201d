"""What one change costs a watch server: CPU per delivery and memory per stream, for many streams of one scope.

    python bench/fanout.py [--streams 1000] [--connections 50] [--changes 30] [--bytes 500]

The server is a process of its own, with the real service over real sockets in
plaintext; only its feed is replaced by a line on stdin for each change. CPU is
the server process's own, as the kernel counts it, from the first change to the
last delivery. Streams are opened by this process, which takes more CPU than the
server, so that nothing is said about times.
"""

import argparse
import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tenantconfig.app.watch_server import run_frugally
from tenantconfig.model import Claims, NamespaceRights, Scope, Snapshot, Version, digest
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.service.calls import WatchService
from tenantconfig.watch.service.server import Server
from tenantconfig.watch.standing import Standing
from tenantconfig.watch.v1 import watch_pb2 as pb
from tenantconfig.watch.v1.watch_pb2_grpc import WatchServiceStub

SCOPE = Scope("acme", "prod", "checkout")
KEYS = 10
TIMEOUT = 300.0


class Everyone:
    """A verifier that lets everyone read everything: tokens are not what is measured."""

    async def verify(self, token: str) -> Claims:
        return Claims("bench", "client", 2**40, frozenset("*"), tenants=frozenset({SCOPE.tenant}))


def snapshot(revision: int, size: int) -> Snapshot:
    """A version of `size` bytes, one of whose keys is new in each."""
    entries = {f"tenant_config_{number}": "x" * (size // KEYS) for number in range(KEYS)}
    entries["tenant_config_0"] = f"{revision:x>{size // KEYS}}"
    return Snapshot(SCOPE, Version(revision, digest(entries)), entries)


async def serve(size: int) -> None:
    """The server: a revision on stdin is published; a line on stdout has the CPU seconds and the memory so far."""
    hub = Hub()
    service = WatchService(hub, Everyone(), lambda namespace: NamespaceRights())  # type: ignore[arg-type]
    server = Server(service)
    hub.sync()
    port = await server.start("127.0.0.1:0", None)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    report(port=port)
    async for line in reader:
        if revision := int(line):
            published = snapshot(revision, size)
            hub.settle(SCOPE, Standing(published, version=published.version))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        report(cpu=usage.ru_utime + usage.ru_stime, streams=len(service.streams), memory=resident())


def report(**values: float) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Subject:
    """The server's process, as this one sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def answer(self) -> dict[str, Any]:
        assert self._process.stdout
        found: dict[str, Any] = json.loads(await asyncio.wait_for(self._process.stdout.readline(), TIMEOUT))
        return found

    async def ask(self, revision: int = 0) -> dict[str, Any]:
        """Publish a revision (0: none) and get the figures."""
        assert self._process.stdin
        self._process.stdin.write(f"{revision}\n".encode())
        return await self.answer()


@asynccontextmanager
async def subject(size: int) -> AsyncIterator[Subject]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        "--serve",
        f"--bytes={size}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Subject(process)
    finally:
        process.kill()
        await process.wait()


class Clients:
    """All streams, and how many of them have been told the latest revision."""

    def __init__(self) -> None:
        self.told = 0
        self.revision = 0
        self.all_told = asyncio.Event()

    async def stream(self, channel: grpc.aio.Channel, expected: int) -> None:
        call = WatchServiceStub(channel).Watch(metadata=(("authorization", "Bearer x"),))
        subscribe = pb.Subscribe(scope=pb.Scope(tenant="acme", environment="prod", service="checkout"))
        await call.write(pb.WatchRequest(subscribe=subscribe))
        async for response in call:
            which = response.WhichOneof("response")
            if which in ("snapshot", "delta") and getattr(response, which).version.revision == self.revision:
                self.told += 1
                if self.told == expected:
                    self.all_told.set()

    def expect(self, revision: int) -> None:
        self.revision, self.told = revision, 0
        self.all_told.clear()


async def measure(streams: int, connections: int, changes: int, size: int) -> None:
    async with subject(size) as server, AsyncExitStack() as stack:
        port = (await server.answer())["port"]
        await server.ask(1)
        empty = await server.ask()
        clients = Clients()
        clients.expect(1)
        channels = [
            await stack.enter_async_context(
                grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
            )
            for _ in range(connections)
        ]
        tasks = [asyncio.create_task(clients.stream(channel, streams)) for channel in spread(channels, streams)]
        await asyncio.wait_for(clients.all_told.wait(), TIMEOUT)
        before = await server.ask()
        for revision in range(2, changes + 2):
            clients.expect(revision)
            await server.ask(revision)
            await asyncio.wait_for(clients.all_told.wait(), TIMEOUT)
        after = await server.ask()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    cost = (after["cpu"] - before["cpu"]) / (streams * changes) * 1e6
    memory = (before["memory"] - empty["memory"]) / streams / 1024
    print(
        f"{streams} streams, {connections} connections, {size} bytes, {changes} changes: "
        f"{cost:.1f} µs of server CPU per delivery, {memory:.1f} KiB of server memory per stream"
    )


def spread(channels: list[grpc.aio.Channel], streams: int) -> Iterator[grpc.aio.Channel]:
    return (channels[number % len(channels)] for number in range(streams))


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("streams", 1000), ("connections", 50), ("changes", 30), ("bytes", 500)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        run_frugally(serve(given.bytes))
    else:
        asyncio.run(measure(given.streams, given.connections, given.changes, given.bytes))


if __name__ == "__main__":
    main()
