"""Many clients in one process, as many pods would have them, and what each of them saw."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from tenantconfig.client import Config, Connection, Disconnected, Event, State, aio
from tenantconfig.model import Scope, Version, digest


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a client held and said of it, from a moment (monotonic) until the next sighting."""

    at: float
    version: Version | None
    as_of: datetime | None  # all changes up to then are in it, says the client
    state: State


class Witness(aio.Client):
    """A client of one scope that writes down what it sees."""

    def __init__(self, connection: Connection, scope: Scope, subscriber: str) -> None:
        super().__init__(connection, (scope,), None, None, subscriber, grace=60.0)
        self.sightings: list[Sighting] = []
        self.ended: list[tuple[float, str]] = []  # of its streams: when (monotonic) and how
        self.wrong: list[str] = []
        self.on_state(lambda *_: self._write_down())

    def since_ready(self) -> Sequence[Sighting]:
        """What it saw from when it was READY first; raises StopIteration if it never was."""
        return self.sightings[next(index for index, seen in enumerate(self.sightings) if seen.state is State.READY) :]

    def _take(self, event: Event) -> None:
        super()._take(event)
        if isinstance(event, Disconnected):
            self.ended.append((time.monotonic(), f"{event.code}: {event.detail.partition('; ')[0]}"))
        self._write_down()

    def _write_down(self) -> None:
        config = self.config
        last = self.sightings[-1] if self.sightings else None
        seen = Sighting(time.monotonic(), config.version, config.fresh_as_of, config.state)
        if last is None or seen.version != last.version:
            self._check(config, last.version if last else None)
        if last is None or (seen.version, seen.as_of, seen.state) != (last.version, last.as_of, last.state):
            self.sightings.append(seen)

    def _check(self, config: Config, before: Version | None) -> None:
        snapshot = config.snapshot
        if snapshot is None:
            self.wrong += [f"{config.scope} lost its values"] if before else []
        elif before and snapshot.version.revision <= before.revision:
            self.wrong.append(f"{config.scope} went from revision {before.revision} to {snapshot.version.revision}")
        elif digest(snapshot.entries) != snapshot.version.digest:
            self.wrong.append(f"the digest of {config.scope} at {snapshot.version.revision} is not that of its entries")


def longest(sightings: Sequence[Sighting], wrong: Callable[[Sighting], bool], end: float) -> float:
    """The longest time, in seconds, for which sighting after sighting was `wrong`; the last one lasts until `end`."""
    most, since = 0.0, None
    for seen in sightings:
        if not wrong(seen):
            most, since = max(most, seen.at - since if since is not None else 0.0), None
        elif since is None:
            since = seen.at
    return max(most, end - since if since is not None else 0.0)


class Swarm:
    """Clients that are open inside a `with` block, on an event loop in a thread of their own."""

    def __init__(self, make: Callable[[], Iterable[Witness]]) -> None:
        self._make = make  # in the event loop whose the clients will be
        self.clients: Sequence[Witness] = ()
        self._closing = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(opened)), name="swarm", daemon=True)
        self._thread.start()
        opened.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._loop
        assert self._thread
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    async def _serve(self, opened: "Future[None]") -> None:
        self._loop = asyncio.get_running_loop()
        self.clients = list(self._make())
        async with AsyncExitStack() as stack:
            for client in self.clients:
                await stack.enter_async_context(client)
            opened.set_result(None)
            await self._closing.wait()
