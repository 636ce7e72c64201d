"""The client for asyncio: the current values of some scopes, kept current for as long as it is open.

async with connect("watch-server:8443", Scope("acme", "prod"), token_file=…, ca_file=…) as client:
    await client.wait_ready(10)
    limit = client.config.get_int("tenant_config_max_orders")
    async for change in client.changes():
        …
"""

import asyncio
import inspect
import logging
import socket
import weakref
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tenantconfig.client.cache import LastKnownGood
from tenantconfig.client.config import GRACE_SECONDS, Config, State
from tenantconfig.client.stream import Connection, watch
from tenantconfig.client.view import FAILED, Changed, Disconnected, Event, Gone, Refused, Unchanged, Validator, View
from tenantconfig.model import Scope, Version
from tenantconfig.watch.v1 import codec

NOTHING_TOLD = object()
STATE_SECONDS = 0.5  # between looks at what time alone makes stale

logger = logging.getLogger(__name__)


class NotReady(Exception):
    """There are no values, and why."""


@dataclass(frozen=True, slots=True)
class Change:
    """A scope has another version than before. Several changes may come as one."""

    scope: Scope
    version: Version | None  # None: the values were withdrawn
    keys: frozenset[str]  # those that were added, removed, or have another value


OnChange = Callable[[Change], None]
OnState = Callable[[Config, State], None]
F = TypeVar("F")


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
    and the CA file are read for each connection. `cache` is a directory for the last known values. `validator`
    gets a scope's new entries and returns why they cannot be used, or an empty text: what is
    refused is reported to the server, and the former version stays. `subscriber` is how the
    server shows this client (default: the host's name). `grace` is in seconds: see `config`.
    Raises ValueError for scopes that there cannot be.
    """
    connection = Connection(server, Path(token_file), Path(ca_file) if ca_file else None, insecure)
    wanted = (scopes,) if isinstance(scopes, Scope) else tuple(scopes)
    if not connection.servers:
        raise ValueError("no server is named: HOST:PORT is wanted")
    refuse_scopes(wanted)
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
        self._on_change: dict[object, OnChange] = {}
        self._on_state: dict[object, OnState] = {}
        self._pending = weakref.WeakSet[_Pending]()  # of iterators that somebody still has
        self._told: dict[Scope, Version | None] = {scope: held.version for scope, held in saved.items()}
        self._ended: Event | None = None
        self._states = {scope: config.state for scope, config in self.configs.items()}
        self._news = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def config(self) -> Config:
        """The scope's, if it is the only one."""
        if len(self.configs) != 1:
            raise ValueError(f"the client has {len(self.configs)} scopes: `configs` has each by its scope")
        (config,) = self.configs.values()
        return config

    async def __aenter__(self) -> Self:
        if self._tasks:
            raise RuntimeError("the client is open already")
        self._news = asyncio.Condition()  # of this event loop: the client may have been open in another
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._look())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the stream, and who iterates or waits; the configs keep their values, and go stale."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for pending in self._pending:
            pending.end()
        async with self._news:
            self._news.notify_all()

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call back after each change, in the event loop; returns how to stop that."""
        return _registered(self._on_change, callback)

    def on_state(self, callback: OnState) -> Callable[[], None]:
        """Call back when a config's state has changed, in the event loop; returns how to stop that."""
        return _registered(self._on_state, callback)

    async def wait_ready(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  callers want no block for it
        """Until there are values for every scope. Raises NotReady when there are none in time, or cannot be."""
        if not self._tasks:
            raise RuntimeError("the client is not open: use it in an `async with` block")
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(lambda: not self._missing() or self._refused() or not self._tasks)
        if missing := self._missing():
            reasons = "; ".join(f"{config.scope}: {config.reason}" for config in missing)
            raise NotReady(f"no values for {reasons}")

    def changes(self) -> AsyncGenerator[Change, None]:
        """Changes from this call on, until the client is closed.

        Those that come while the caller is busy are told as one for each scope.
        """
        pending = _Pending()
        if not self._tasks:
            pending.end()
        self._pending.add(pending)
        return pending.told()

    def _missing(self) -> list[Config]:
        return [config for config in self.configs.values() if config.snapshot is None]

    def _refused(self) -> bool:
        return any(config.state is State.ERROR for config in self._missing())

    async def _follow(self) -> None:
        try:
            async with aclosing(watch(self._connection, self._view)) as events:
                async for event in events:
                    await self._tell(event)
        except Exception as error:
            logger.exception("the client cannot go on")
            await self._tell(Disconnected(FAILED, f"the client failed with {type(error).__name__}", lasting=True))

    async def _tell(self, event: Event) -> None:
        self._take(event)
        async with self._news:
            self._news.notify_all()

    def _take(self, event: Event) -> None:
        before = {scope: dict(config) for scope, config in self.configs.items() if concerns(event, scope)}
        for config in self.configs.values():
            config.take(event)
        self._save(event)
        self._log(event)
        for scope, entries in before.items():
            config = self.configs[scope]
            if self._told.get(scope, NOTHING_TOLD) != config.version:
                self._told[scope] = config.version
                keys = frozenset(key for key, _ in entries.items() ^ config.items())
                self._tell_change(Change(scope, config.version, keys))
        self._tell_states()

    def _tell_change(self, change: Change) -> None:
        for pending in self._pending:
            pending.note(change)
        call_back(self._on_change.values(), change)

    def _log(self, event: Event) -> None:
        if isinstance(event, Refused):
            logger.warning("revision %d of scope %s is refused: %s", event.version.revision, event.scope, event.error)
        elif isinstance(event, Disconnected):
            if event != self._ended:
                logger.info("the stream ended: %s; trying again", event.detail or event.code)
            self._ended = event
        elif isinstance(event, Changed | Unchanged | Gone):
            self._ended = None

    def _save(self, event: Event) -> None:
        try:
            if self._cache and isinstance(event, Changed):
                self._cache.save(event.snapshot)
            elif self._cache and isinstance(event, Gone) and event.withdrawn:
                self._cache.drop(event.scope)
        except OSError as error:
            directory = self._cache.directory if self._cache else ""
            logger.warning("the last known values cannot be kept in %s: %s", directory, error.strerror)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(STATE_SECONDS)
            self._tell_states()

    def _tell_states(self) -> None:
        for scope, config in self.configs.items():
            state = config.state
            if state != self._states[scope]:
                self._states[scope] = state
                call_back(self._on_state.values(), config, state)


class _Pending:
    """What one iterator has not told yet: one change for each scope."""

    def __init__(self) -> None:
        self._changes: dict[Scope, Change] = {}
        self._arrived = asyncio.Event()
        self._ended = False

    def note(self, change: Change) -> None:
        former = self._changes.get(change.scope)
        keys = change.keys | (former.keys if former else frozenset())
        self._changes[change.scope] = Change(change.scope, change.version, keys)
        self._arrived.set()

    def end(self) -> None:
        self._ended = True
        self._arrived.set()

    async def told(self) -> AsyncGenerator[Change, None]:
        """The changes, until the end."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._changes:
                yield self._changes.pop(next(iter(self._changes)))
            if self._ended:
                return


def _registered(callbacks: dict[object, F], callback: F) -> Callable[[], None]:
    """Add a callback; returns how to take it away. Raises TypeError for a coroutine function."""
    if inspect.iscoroutinefunction(callback):
        raise TypeError("a callback is a plain function: nobody would await it; iterate over `changes()` instead")
    key = object()
    callbacks[key] = callback

    def stop() -> None:
        callbacks.pop(key, None)

    return stop


def refuse_scopes(scopes: Iterable[Scope]) -> None:
    """Raise ValueError for what cannot be a scope, or when there is none."""
    wanted = tuple(scopes)
    if not wanted:
        raise ValueError("no scope is wanted: give one at least")
    for scope in wanted:
        if not isinstance(scope, Scope):
            raise ValueError(f"{scope!r} is not a Scope")
        try:
            codec.read_scope(codec.write_scope(scope))
        except (codec.Malformed, TypeError, UnicodeEncodeError) as error:
            raise ValueError(f"{scope!r} cannot be a scope: {error}") from None


def concerns(event: Event, scope: Scope) -> bool:
    """Whether an event says what the values of a scope are."""
    return (isinstance(event, Changed) and event.snapshot.scope == scope) or (
        isinstance(event, Gone) and event.withdrawn and event.scope == scope
    )


def call_back(callbacks: Iterable[Callable[..., None]], *arguments: object) -> None:
    """Tell everyone; what one of them fails at is theirs."""
    for callback in tuple(callbacks):
        try:
            callback(*arguments)
        except Exception:
            logger.exception("a callback failed")
