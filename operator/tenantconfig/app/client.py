"""The client's commands: versions to stdout, everything else to stderr."""

import asyncio
import select
import sys
from contextlib import aclosing

from tenantconfig.app import Failure
from tenantconfig.client import (
    NO_CREDENTIALS,
    NO_TRUST,
    Changed,
    Config,
    Connection,
    Denied,
    Disconnected,
    Event,
    Fresh,
    Gone,
    State,
    View,
    get,
    watch,
)
from tenantconfig.client.config import SILENCE_SECONDS
from tenantconfig.client.printing import Printer, stale_note
from tenantconfig.settings import ClientSettings

STDOUT = 1


def run_watch(settings: ClientSettings) -> None:
    """Print versions until interrupted, or until nothing but a person can help."""
    asyncio.run(_watch(settings))


def run_get(settings: ClientSettings) -> None:
    """Print one version."""
    asyncio.run(_get(settings))


def _connection(settings: ClientSettings) -> Connection:
    for flag, file in (("--token-file", settings.token_file), ("--ca", settings.ca)):
        try:
            if file:
                file.read_bytes()
        except OSError as error:
            raise Failure(f"{flag} {file} cannot be read: {error.strerror}") from None
    return Connection(settings.server, settings.token_file, settings.ca, settings.insecure)


async def _watch(settings: ClientSettings) -> None:
    console = _Console(settings, Printer(settings.output))
    async with aclosing(watch(_connection(settings), View([settings.scope]))) as events:
        async for event in events:
            console.show(event)


class _Console:
    """Versions go to stdout, all else to stderr, once each time it changes."""

    def __init__(self, settings: ClientSettings, printer: Printer) -> None:
        self._settings = settings
        self._printer = printer
        self._config = Config(settings.scope)
        self._noted = ""

    def show(self, event: Event) -> None:
        self._config.take(event)
        match event:
            case Changed():
                _print(self._printer.changed(event))
            case Gone():
                _print(self._printer.gone(event))
            case Fresh():
                _refuse_deaf()
                self._note("; ".join(stale_note(each) for each in event.stale) or self._silence())
            case Denied():
                raise Failure(event.reason)
            case Disconnected(lasting=True):
                raise Failure(explain(event, self._settings))
            case Disconnected():
                self._note(f"{explain(event, self._settings)}; trying again")

    def _silence(self) -> str:
        """What to say when the server is there, and the controller is not."""
        if self._config.state in {State.READY, State.NOT_READY}:
            return ""
        return f"nothing new from the controller for {SILENCE_SECONDS:g} s: the values may not be the latest"

    def _note(self, text: str) -> None:
        if text and text != self._noted:
            print(f"tenantconfig: {text}", file=sys.stderr, flush=True)
        self._noted = text


async def _get(settings: ClientSettings) -> None:
    event, stale = await get(_connection(settings), settings.scope)
    if isinstance(event, Changed):
        _print(Printer(settings.output).changed(event))
    elif isinstance(event, Gone):
        if settings.output != "table":
            _print(Printer(settings.output).gone(event))
        raise Failure(f"scope {settings.scope} {'was withdrawn' if event.withdrawn else 'is not found'}")
    elif isinstance(event, Disconnected):
        raise Failure(explain(event, settings))
    if stale:
        print(f"tenantconfig: {stale_note(stale)}", file=sys.stderr)


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failure(f"cannot write to stdout: {error.strerror}") from None


def _refuse_deaf() -> None:
    """Raise BrokenPipeError when nobody reads stdout any more: the next version may be far away."""
    reader = select.poll()
    reader.register(STDOUT, 0)
    if any(happened & select.POLLERR for _, happened in reader.poll(0)):
        raise BrokenPipeError


def explain(ended: Disconnected, settings: ClientSettings) -> str:
    """What went wrong with a stream, and what to do about it."""
    if ended.code == "UNAUTHENTICATED":
        return f"the server refuses the token in {settings.token_file}: {ended.detail}; renew the file"
    if ended.code in {NO_CREDENTIALS, NO_TRUST, "PERMISSION_DENIED", "INVALID_ARGUMENT"}:
        return ended.detail
    transport = "in plaintext" if settings.insecure else f"with TLS{f' (--ca {settings.ca})' if settings.ca else ''}"
    return f"no stream from {settings.server} {transport}: {ended.detail or ended.code}"
