"""The client for threads: the asyncio client, on an event loop in a thread of its own.

with connect("watch-server:8443", Scope("acme", "prod"), token_file=…, ca_file=…) as client:
    client.wait_ready(10)
    limit = client.config.get_int("tenant_config_max_orders")
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Self, TypeVar

from tenantconfig.client import aio
from tenantconfig.client.aio import NotReady, OnChange, OnState
from tenantconfig.client.config import Config
from tenantconfig.model import Scope

THREAD = "tenantconfig"

T = TypeVar("T")


def connect(server: str, scopes: Scope | Iterable[Scope], **options: Any) -> "Client":
    """A client, to be opened with `with`; the arguments are those of `aio.connect`."""
    return Client(lambda: aio.connect(server, scopes, **options))


class Client:
    """See `connect`. Callbacks run in the client's own thread: one that takes long holds the client up."""

    def __init__(self, made: Callable[[], aio.Client]) -> None:
        self._client = made()
        self._closing = asyncio.Event()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None  # what it is given under the lock it does
        self._thread: threading.Thread | None = None

    @property
    def configs(self) -> Mapping[Scope, Config]:
        """The current values, by scope."""
        return self._client.configs

    @property
    def config(self) -> Config:
        """The scope's, if it is the only one."""
        return self._client.config

    @property
    def is_open(self) -> bool:
        """Whether it follows its scopes."""
        return self._loop is not None

    def __enter__(self) -> Self:
        if self.is_open:
            raise RuntimeError("the client is open already")
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(opened)), name=THREAD, daemon=True)
        self._thread.start()
        opened.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream and the thread; the configs keep their values, and go stale.

        In a callback it returns at once, and the end comes after the callback's.
        """
        with self._lock:
            if self._loop:
                self._loop.call_soon_threadsafe(self._closing.set)
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
            self._thread = None

    def wait_ready(self, timeout: float | None = None) -> None:
        """Until there are values for every scope. Raises NotReady when there are none in time, or cannot be."""
        self._call(self._client.wait_ready(timeout))

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Call back after each change; returns how to stop that."""
        return self._client.on_change(callback)

    def on_state(self, callback: OnState) -> Callable[[], None]:
        """Call back when a config's state has changed; returns how to stop that."""
        return self._client.on_state(callback)

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop and self._thread is threading.current_thread():
            coroutine.close()
            raise RuntimeError("a callback cannot wait for the client: both run in the same thread")
        with self._lock:
            if self._loop is None:
                coroutine.close()
                raise RuntimeError("the client is not open: use it in a `with` block")
            called = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return called.result()
        except CancelledError:
            raise NotReady("the client was closed") from None

    async def _serve(self, opened: "Future[None]") -> None:
        """What the thread does, until the client is closed."""
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._client:
                opened.set_result(None)
                await self._closing.wait()
        finally:
            with self._lock:
                self._loop = None
