"""The watch server process, put together: feed, hub and gRPC edge, until a signal."""

import asyncio
import gc
import logging
import signal
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import uvloop
from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tenantconfig import kubeapi
from tenantconfig.app import Failure, log_to_stderr, probes
from tenantconfig.app.issuers import fetcher, name_issuers, read_issuers
from tenantconfig.identity import Keys, Verifier
from tenantconfig.kubeapi import KubeApi
from tenantconfig.reviews import Reviews
from tenantconfig.settings import WatchServerSettings
from tenantconfig.watch.delivery import behind, deliveries
from tenantconfig.watch.feed import CONFIGMAPS_PATH, CONFIGMAPS_SELECTOR, NAMESPACES_PATH, Feed
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.informer import Informer
from tenantconfig.watch.service.calls import WatchService
from tenantconfig.watch.service.quota import Limits
from tenantconfig.watch.service.server import CertificateFiles, CertificateInvalid, Server

CONFIGMAPS_SILENCE_SECONDS = 20.0  # the tick comes every 2 s: beyond this the connection is taken for dead
NAMESPACES_SILENCE_SECONDS = 90.0  # bookmarks come about once a minute
EXPIRY_SECONDS = 5.0  # between looks at what time alone changes

ANSWER_SECONDS = 10.0  # the longest that a scrape waits for the event loop

T = TypeVar("T")

logger = logging.getLogger(__name__)


def run(settings: WatchServerSettings) -> None:
    """Serve until SIGTERM."""
    log_to_stderr()
    run_frugally(_serve(settings))


def run_frugally(work: Coroutine[Any, Any, None]) -> None:
    """Run it with less CPU a delivery: an event loop in C, and few searches for cycles, since a delivery makes none."""
    gc.set_threshold(10_000)
    uvloop.run(work)


async def _serve(settings: WatchServerSettings) -> None:
    issuers = read_issuers(settings.issuers)
    cluster = await kubeapi.connect()
    try:
        hub = Hub()
        feed = Feed(hub, time.monotonic, settings.operator_namespace)
        keys = [Keys(issuer, fetcher(issuer, cluster), time.monotonic) for issuer in issuers]
        limits = Limits(settings.max_streams, settings.max_streams_per_peer)
        service = WatchService(hub, Verifier(keys, time.time, Reviews(cluster, time.monotonic)), feed.rights, limits)
        feed.on_rights = service.reauthorize
        server = Server(service)
        if settings.metrics_port is not None:
            _expose(settings.metrics_port, hub, service, server)
        await _listen(server, settings)
        await _until_stopped(server, _make_ready(server, feed, keys, cluster), service.pulse(), _expire(feed))
    finally:
        await cluster.close()


async def _until_stopped(server: Server, *work: Coroutine[Any, Any, None]) -> None:
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


async def _make_ready(server: Server, feed: Feed, keys: Sequence[Keys], cluster: KubeApi) -> None:
    """Learn who issues tokens and what the cluster holds, say so, and keep in step."""
    await name_issuers(keys, cluster)
    await _inform(server, feed, cluster)


async def _inform(server: Server, feed: Feed, cluster: KubeApi) -> None:
    """Keep the feed in step: the namespaces' rights first, or nothing could be admitted."""
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
        server.serving()
        logger.info("serving")


async def _expire(feed: Feed) -> None:
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        feed.expire()


async def _listen(server: Server, settings: WatchServerSettings) -> None:
    files = CertificateFiles(settings.tls_cert, settings.tls_key) if settings.tls_cert and settings.tls_key else None
    try:
        port = await server.start(settings.listen, files)
    except CertificateInvalid as error:
        raise Failure(str(error)) from None
    except RuntimeError:
        raise Failure(f"cannot listen on {settings.listen}: is it HOST:PORT, and is the port free?") from None
    logger.info("listening on port %d%s", port, "" if files else ", in plaintext")


def _expose(port: int, hub: Hub, service: WatchService, server: Server) -> None:
    """Metrics, readiness, and who has which version. Threads ask for them; the event loop, whose they are, answers."""
    loop = asyncio.get_running_loop()

    def asked(answer: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(answer, loop).result(ANSWER_SECONDS)

    async def delivered(tenant: str) -> list[dict[str, Any]]:
        return list(deliveries(hub, tenant))

    class Streams(Collector):
        def collect(self) -> list[Metric]:
            return asked(_metrics(hub, service))

        def describe(self) -> list[Metric]:
            return []  # or the registry would collect at once, in the event loop's own thread

    REGISTRY.register(Streams())
    try:
        views = {"/delivery": lambda query: asked(delivered(query.get("tenant", "")))}
        probes.serve(port, lambda: server.ready, views, private=True)
    except OSError as error:
        raise Failure(f"cannot serve metrics on port {port}: {error.strerror}") from None


async def _metrics(hub: Hub, service: WatchService) -> list[Metric]:
    counters = {
        "messages": ("Messages sent on streams.", "kind", service.sent),
        "acknowledgements": ("Versions that clients applied or refused.", "outcome", service.acknowledgements),
        "streams_ended": ("Streams cut off, or not taken.", "reason", service.ended),
    }
    gauges = {
        "streams": ("Open streams.", len(service.streams)),
        "subscriptions": ("Subscriptions.", service.subscriptions.taken),
        "subscriptions_behind": ("Subscriptions that have not acknowledged the latest version.", behind(hub)),
    }
    return [
        *(GaugeMetricFamily(f"tenantconfig_watch_{name}", about, value) for name, (about, value) in gauges.items()),
        *(_counter(f"tenantconfig_watch_{name}", *described) for name, described in counters.items()),
    ]


def _counter(name: str, about: str, label: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(name, about, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family
