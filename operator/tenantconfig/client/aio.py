"""The client for asyncio: the current values of some scopes, kept current for as long as it is open.

async with connect("watch-server:8443", Scope("acme", "prod"), token_file=…, ca_file=…) as client:
    await client.wait_ready(10)
    limit = client.config.get_int("tenant_config_max_orders")
    async for change in client.changes():
        …
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tenantconfig.client.cache import LastKnownGood
from tenantconfig.client.config import GRACE_SECONDS, Config, State
from tenantconfig.client.stream import Connection, watch
from tenantconfig.client.view import Changed, Event, Gone, Validator, View
from tenantconfig.model import Scope, Version

STATE_SECONDS = 0.5  # between looks at what time alone makes stale

logger = logging.getLogger(__name__)


class NotReady(Exception):
    """There are no values, and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """A scope has other values than before. Several changes may come as one."""

    scope: Scope
    version: Version | None  # None: the values were withdrawn
    keys: frozenset[str]  # those that were added, removed, or have another value


OnChange = Callable[[Change], None]
OnState = Callable[[Config, State], None]


def connect(
    server: str,
    scopes: Scope | Iterable[Scope],
    *,
    token_file: str | Path,
    ca_file: str | Path | None = None,
    insecure: bool = False,
    cache: str | Path | None = None,
    validator: Validator | None = None,
    subscriber: str = "",
    grace: float = GRACE_SECONDS,
) -> "Client":
    """A client, to be opened with `async with`.

    `server` is HOST:PORT, or several with commas between them, tried in turn. The token file
    is read for each connection. `cache` is a directory for the last known values. `validator`
    gets a scope's new entries and returns why they cannot be used, or an empty text: what is
    refused is reported to the server, and the former version stays. `subscriber` is how the
    server shows this client (default: the host's name). `grace` is in seconds: see `config`.
    """
    connection = Connection(server, Path(token_file), Path(ca_file) if ca_file else None, insecure)
    wanted = (scopes,) if isinstance(scopes, Scope) else tuple(scopes)
    last = LastKnownGood(Path(cache)) if cache else None
    return Client(connection, wanted, last, validator, subscriber or socket.gethostname(), grace)


class Client:
    """See `connect`. For one event loop; its configs may be read from any thread."""

    def __init__(
        self,
        connection: Connection,
        scopes: tuple[Scope, ...],
        cache: LastKnownGood | None,
        validator: Validator | None,
        subscriber: str,
        grace: float,
    ) -> None:
        saved = {scope: found for scope in scopes if cache and (found := cache.load(scope))}
        self.configs: Mapping[Scope, Config] = {scope: Config(scope, saved.get(scope), grace=grace) for scope in scopes}
        self._connection = connection
        self._view = View(scopes, subscriber, saved, validator)
        self._cache = cache
        self._on_change: list[OnChange] = []
        self._on_state: list[OnState] = []
        self._states = {scope: config.state for scope, config in self.configs.items()}
        self._news = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def config(self) -> Config:
        """The scope's, if it is the only one."""
        (config,) = self.configs.values()
        return config

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._look())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the stream; the configs keep their values, and go stale."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call back after each change, in the event loop; returns how to stop that."""
        self._on_change.append(callback)
        return lambda: self._on_change.remove(callback)

    def on_state(self, callback: OnState) -> Callable[[], None]:
        """Call back when a config's state has changed, in the event loop; returns how to stop that."""
        self._on_state.append(callback)
        return lambda: self._on_state.remove(callback)

    async def wait_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  callers want no block for it
        """Until there are values for every scope. Raises NotReady when there are none in time, or cannot be."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(lambda: not self._missing() or self._refused())
        if missing := self._missing():
            reasons = "; ".join(f"{config.scope}: {config.reason}" for config in missing)
            raise NotReady(f"no values for {reasons}")

    async def changes(self) -> AsyncGenerator[Change, None]:
        """Changes from now on; those that come while the caller is busy are told as one for each scope."""
        waiting: dict[Scope, Change] = {}
        arrived = asyncio.Event()

        def note(change: Change) -> None:
            former = waiting.get(change.scope)
            keys = change.keys | (former.keys if former else frozenset())
            waiting[change.scope] = Change(change.scope, change.version, keys)
            arrived.set()

        stop = self.on_change(note)
        try:
            while True:
                await arrived.wait()
                arrived.clear()
                while waiting:
                    yield waiting.pop(next(iter(waiting)))
        finally:
            stop()

    def _missing(self) -> list[Config]:
        return [config for config in self.configs.values() if config.snapshot is None]

    def _refused(self) -> bool:
        return any(config.state is State.ERROR for config in self._missing())

    async def _follow(self) -> None:
        async with aclosing(watch(self._connection, self._view)) as events:
            async for event in events:
                self._take(event)
                async with self._news:
                    self._news.notify_all()

    def _take(self, event: Event) -> None:
        before = {scope: dict(config) for scope, config in self.configs.items() if concerns(event, scope)}
        for config in self.configs.values():
            config.take(event)
        self._save(event)
        for scope, entries in before.items():
            config = self.configs[scope]
            if keys := frozenset(key for key, _ in entries.items() ^ config.items()):
                call_back(self._on_change, Change(scope, config.version, keys))
        self._tell_states()

    def _save(self, event: Event) -> None:
        try:
            if self._cache and isinstance(event, Changed):
                self._cache.save(event.snapshot)
            elif self._cache and isinstance(event, Gone) and event.withdrawn:
                self._cache.drop(event.scope)
        except OSError as error:
            logger.warning("the last known values cannot be kept: %s", error.strerror)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(STATE_SECONDS)
            self._tell_states()

    def _tell_states(self) -> None:
        for scope, config in self.configs.items():
            state = config.state
            if state != self._states[scope]:
                self._states[scope] = state
                call_back(self._on_state, config, state)


def concerns(event: Event, scope: Scope) -> bool:
    """Whether an event may change the values of a scope."""
    return (isinstance(event, Changed) and event.snapshot.scope == scope) or (
        isinstance(event, Gone) and event.scope == scope
    )


def call_back(callbacks: Iterable[Callable[..., None]], *arguments: object) -> None:
    """Tell everyone; what one of them fails at is theirs."""
    for callback in tuple(callbacks):
        try:
            callback(*arguments)
        except Exception:
            logger.exception("a callback failed")
