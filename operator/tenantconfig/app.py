"""The composition root: builds each process from its parts and runs it.

Parts are imported where they are put together, so that the client commands need
nothing of the operator's.
"""

import asyncio
import json
import logging
import signal
import ssl
import sys
import time
import urllib.request
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tenantconfig.settings import ClientSettings, ControllerSettings, WatchServerSettings

if TYPE_CHECKING:
    from tenantconfig.client import Connection, Disconnected, Event
    from tenantconfig.client.printing import Printer
    from tenantconfig.identity import FetchKeys, Issuer, Keys
    from tenantconfig.watch.cluster import WatchedCluster
    from tenantconfig.watch.feed import Feed
    from tenantconfig.watch.service.calls import WatchService
    from tenantconfig.watch.service.server import Server

CONFIGMAPS_SILENCE_SECONDS = 20.0  # the tick comes every 2 s: beyond this the connection is taken for dead
NAMESPACES_SILENCE_SECONDS = 90.0  # bookmarks come about once a minute
EXPIRY_SECONDS = 5.0  # between looks at what time alone changes
JWKS_TIMEOUT_SECONDS = 5.0
JWKS_MAX_BYTES = 1024 * 1024

logger = logging.getLogger(__name__)


class Failure(Exception):
    """Something that a person can mend; the message is all they need."""


# The controller


def run_controller(settings: ControllerSettings) -> None:
    """Reconcile until SIGTERM."""
    from tenantconfig import controller

    _log()
    asyncio.run(controller.run(settings))


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("botocore").setLevel(logging.WARNING)


# The watch server


def run_watch_server(settings: WatchServerSettings) -> None:
    """Serve until SIGTERM."""
    _log()
    asyncio.run(_serve(settings))


async def _serve(settings: WatchServerSettings) -> None:
    from tenantconfig.identity import Keys, Verifier
    from tenantconfig.watch.feed import Feed
    from tenantconfig.watch.hub import Hub
    from tenantconfig.watch.service.calls import WatchService
    from tenantconfig.watch.service.server import Server

    issuers = _issuers(settings.issuers)
    cluster = await _connect()
    try:
        hub = Hub()
        feed = Feed(hub, time.monotonic, settings.operator_namespace)
        keys = [Keys(issuer, _fetch(issuer, cluster), time.monotonic) for issuer in issuers]
        service = WatchService(hub, Verifier(keys, time.time), feed.rights)
        feed.on_rights = service.reauthorize
        if settings.metrics_port is not None:
            _expose_metrics(settings.metrics_port, service)
        server = Server(service)
        await _listen(server, settings)
        await _until_stopped(server, _make_ready(server, feed, keys, cluster), service.pulse(), _expire(feed))
    finally:
        await cluster.close()


async def _until_stopped(server: "Server", *work: Coroutine[Any, Any, None]) -> None:
    """Run the server's never-ending tasks until a signal, or until one of them ends by a defect."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    waiting = asyncio.create_task(stopped.wait())
    tasks = [asyncio.create_task(each) for each in work]
    done, _ = await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
    logger.info("stopping")
    await server.stop()
    for task in (waiting, *tasks):
        task.cancel()
    for task in done:
        task.result()


async def _make_ready(server: "Server", feed: "Feed", keys: "Sequence[Keys]", cluster: "WatchedCluster") -> None:
    """Learn who issues tokens and what the cluster holds, say so, and keep in step."""
    await _name_issuers(keys, cluster)
    await _inform(server, feed, cluster)


async def _inform(server: "Server", feed: "Feed", cluster: "WatchedCluster") -> None:
    """Keep the feed in step: the namespaces' rights first, or nothing could be admitted."""
    from tenantconfig.watch.feed import CONFIGMAPS_PATH, CONFIGMAPS_SELECTOR, NAMESPACES_PATH
    from tenantconfig.watch.informer import Informer

    namespaces = Informer(cluster, NAMESPACES_PATH, feed.namespaces, silence=NAMESPACES_SILENCE_SECONDS)
    configmaps = Informer(
        cluster,
        CONFIGMAPS_PATH,
        feed.configmaps,
        selector=CONFIGMAPS_SELECTOR,
        silence=CONFIGMAPS_SILENCE_SECONDS,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(namespaces.run())
        await namespaces.synced.wait()
        group.create_task(configmaps.run())
        await configmaps.synced.wait()
        feed.sync()
        await server.serving()
        logger.info("serving")


async def _expire(feed: "Feed") -> None:
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        feed.expire()


async def _listen(server: "Server", settings: WatchServerSettings) -> None:
    from tenantconfig.watch.service.server import CertificateFiles, CertificateInvalid

    files = CertificateFiles(settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
    try:
        port = await server.start(settings.listen, files)
    except CertificateInvalid as error:
        raise Failure(str(error)) from None
    except RuntimeError:
        raise Failure(f"cannot listen on {settings.listen}: is it HOST:PORT, and is the port free?") from None
    logger.info("listening on port %d%s", port, "" if files else ", in plaintext")


async def _connect() -> "WatchedCluster":
    from tenantconfig import kubeapi
    from tenantconfig.watch.cluster import WatchedCluster

    try:
        return WatchedCluster.of(await kubeapi.connect())
    except Exception as error:  # of many kinds, by the ways a kubeconfig can be wrong
        raise Failure(f"no cluster found, set KUBECONFIG or run in a pod: {error}") from error


def _issuers(file: Path) -> "tuple[Issuer, ...]":
    from tenantconfig.identity import IssuersInvalid, parse_issuers

    try:
        issuers = parse_issuers(yaml.safe_load(file.read_text()))
    except OSError as error:
        raise Failure(f"issuers file {file} cannot be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise Failure(f"issuers file {file} is not YAML: {error}") from None
    except IssuersInvalid as error:
        raise Failure(f"issuers file {file}: {error}") from None
    for issuer in issuers:
        if issuer.jwks_file and not Path(issuer.jwks_file).is_file():
            raise Failure(f"issuers file {file}: jwksFile {issuer.jwks_file} of {issuer.name} is not a file")
    return issuers


async def _name_issuers(keys: "Sequence[Keys]", cluster: "WatchedCluster") -> None:
    """Ask the API server what it calls itself, where the issuers file leaves it out."""
    import dataclasses

    from tenantconfig.errors import TenantConfigError
    from tenantconfig.watch.informer import back_off

    unnamed, failures = [each for each in keys if not each.issuer.issuer], 0
    while unnamed:
        try:
            document = await cluster.get("/.well-known/openid-configuration")
            name = str(document["issuer"])
        except (TenantConfigError, KeyError) as error:
            failures += 1
            logger.warning("the API server does not say what it calls itself (`issuer`): %s", error)
            await asyncio.sleep(back_off(failures))
        else:
            for each in unnamed:
                each.issuer = dataclasses.replace(each.issuer, issuer=name)
            return


def _fetch(issuer: "Issuer", cluster: "WatchedCluster") -> "FetchKeys":
    async def fetch() -> Mapping[str, Any]:
        if issuer.kubernetes:
            text = await cluster.read("/openid/v1/jwks")
        elif issuer.jwks_file:
            text = await asyncio.to_thread(Path(issuer.jwks_file).read_bytes)
        else:
            text = await asyncio.to_thread(_download, issuer.jwks_uri)
        document = json.loads(text)
        if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
            raise ValueError("not a JWKS")
        return document

    return fetch


def _download(uri: str) -> bytes:
    context = ssl.create_default_context()
    with urllib.request.urlopen(uri, timeout=JWKS_TIMEOUT_SECONDS, context=context) as answer:  # noqa: S310  https only
        content: bytes = answer.read(JWKS_MAX_BYTES + 1)
    if len(content) > JWKS_MAX_BYTES:
        raise ValueError(f"a JWKS of more than {JWKS_MAX_BYTES} bytes")
    return content


def _expose_metrics(port: int, service: "WatchService") -> None:
    from prometheus_client import start_http_server
    from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector

    class Streams(Collector):
        def collect(self) -> list[Metric]:
            sent = CounterMetricFamily("tenantconfig_watch_messages", "Messages sent on streams.", labels=["kind"])
            for kind, count in list(service.sent.items()):
                sent.add_metric([kind], count)
            return [
                GaugeMetricFamily("tenantconfig_watch_streams", "Open streams.", len(service.streams)),
                GaugeMetricFamily("tenantconfig_watch_subscriptions", "Subscriptions.", service.subscriptions),
                sent,
            ]

    REGISTRY.register(Streams())
    try:
        start_http_server(port)
    except OSError as error:
        raise Failure(f"cannot serve metrics on port {port}: {error.strerror}") from None


# The client commands


def run_watch(settings: ClientSettings) -> None:
    """Print versions until interrupted, or until nothing but a person can help."""
    asyncio.run(_watch(settings))


def run_get(settings: ClientSettings) -> None:
    """Print one version."""
    asyncio.run(_get(settings))


def _connection(settings: ClientSettings) -> "Connection":
    from tenantconfig.client import Connection

    for flag, file in (("--token-file", settings.token_file), ("--ca", settings.ca)):
        try:
            if file:
                file.read_bytes()
        except OSError as error:
            raise Failure(f"{flag} {file} cannot be read: {error.strerror}") from None
    return Connection(settings.server, settings.token_file, settings.ca, settings.insecure)


async def _watch(settings: ClientSettings) -> None:
    from tenantconfig.client import watch
    from tenantconfig.client.printing import Printer

    console = _Console(settings, Printer(settings.output))
    async with aclosing(watch(_connection(settings), [settings.scope])) as events:
        async for event in events:
            console.show(event)


class _Console:
    """Versions go to stdout, all else to stderr, once each time it changes."""

    def __init__(self, settings: ClientSettings, printer: "Printer") -> None:
        self._settings = settings
        self._printer = printer
        self._noted = ""

    def show(self, event: "Event") -> None:
        from tenantconfig.client import Changed, Denied, Disconnected, Fresh, Gone
        from tenantconfig.client.printing import stale_note

        match event:
            case Changed():
                print(self._printer.changed(event), flush=True)
            case Gone():
                print(self._printer.gone(event), flush=True)
            case Fresh():
                self._note("; ".join(stale_note(each) for each in event.stale))
            case Denied():
                raise Failure(event.reason)
            case Disconnected(lasting=True):
                raise Failure(explain(event, self._settings))
            case Disconnected():
                self._note(f"{explain(event, self._settings)}; trying again")

    def _note(self, text: str) -> None:
        if text and text != self._noted:
            print(f"tenantconfig: {text}", file=sys.stderr, flush=True)
        self._noted = text


async def _get(settings: ClientSettings) -> None:
    from tenantconfig.client import Changed, Disconnected, Gone, get
    from tenantconfig.client.printing import Printer, stale_note

    event, stale = await get(_connection(settings), settings.scope)
    if isinstance(event, Changed):
        print(Printer(settings.output).changed(event), flush=True)
    elif isinstance(event, Gone):
        if settings.output != "table":
            print(Printer(settings.output).gone(event), flush=True)
        raise Failure(f"scope {settings.scope} {'was withdrawn' if event.withdrawn else 'is not found'}")
    elif isinstance(event, Disconnected):
        raise Failure(explain(event, settings))
    if stale:
        print(f"tenantconfig: {stale_note(stale)}", file=sys.stderr)


def explain(ended: "Disconnected", settings: ClientSettings) -> str:
    """What went wrong with a stream, and what to do about it."""
    if ended.code == "UNAUTHENTICATED":
        return f"the server refuses the token in {settings.token_file}: {ended.detail}; renew the file"
    if ended.code in {"PERMISSION_DENIED", "INVALID_ARGUMENT"}:
        return ended.detail
    transport = "in plaintext" if settings.insecure else f"with TLS{f' (--ca {settings.ca})' if settings.ca else ''}"
    return f"no stream from {settings.server} {transport}: {ended.detail or ended.code}"
