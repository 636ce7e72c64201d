"""The watch server process, put together: feed, hub and gRPC edge, until a signal."""

import asyncio
import logging
import signal
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from prometheus_client.core import REGISTRY, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tenantconfig import kubeapi
from tenantconfig.app import Failure, log_to_stderr, probes
from tenantconfig.app.issuers import fetcher, name_issuers, read_issuers
from tenantconfig.identity import Keys, Verifier
from tenantconfig.kubeapi import KubeApi
from tenantconfig.settings import WatchServerSettings
from tenantconfig.watch.feed import CONFIGMAPS_PATH, CONFIGMAPS_SELECTOR, NAMESPACES_PATH, Feed
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.informer import Informer
from tenantconfig.watch.service.calls import WatchService
from tenantconfig.watch.service.server import CertificateFiles, CertificateInvalid, Server

CONFIGMAPS_SILENCE_SECONDS = 20.0  # the tick comes every 2 s: beyond this the connection is taken for dead
NAMESPACES_SILENCE_SECONDS = 90.0  # bookmarks come about once a minute
EXPIRY_SECONDS = 5.0  # between looks at what time alone changes

logger = logging.getLogger(__name__)


def run(settings: WatchServerSettings) -> None:
    """Serve until SIGTERM."""
    log_to_stderr()
    asyncio.run(_serve(settings))


async def _serve(settings: WatchServerSettings) -> None:
    issuers = read_issuers(settings.issuers)
    cluster = await kubeapi.connect()
    try:
        hub = Hub()
        feed = Feed(hub, time.monotonic, settings.operator_namespace)
        keys = [Keys(issuer, fetcher(issuer, cluster), time.monotonic) for issuer in issuers]
        service = WatchService(hub, Verifier(keys, time.time), feed.rights)
        feed.on_rights = service.reauthorize
        server = Server(service)
        if settings.metrics_port is not None:
            _expose(settings.metrics_port, service, server)
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
        await server.serving()
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


def _expose(port: int, service: WatchService, server: Server) -> None:
    """Metrics and readiness."""

    class Streams(Collector):
        def collect(self) -> list[Metric]:
            sent = CounterMetricFamily("tenantconfig_watch_messages", "Messages sent on streams.", labels=["kind"])
            for kind, count in list(service.sent.items()):
                sent.add_metric([kind], count)
            ended = CounterMetricFamily("tenantconfig_watch_streams_ended", "Streams cut off.", labels=["reason"])
            for reason, count in list(service.ended.items()):
                ended.add_metric([reason], count)
            return [
                GaugeMetricFamily("tenantconfig_watch_streams", "Open streams.", len(service.streams)),
                GaugeMetricFamily("tenantconfig_watch_subscriptions", "Subscriptions.", service.subscriptions),
                sent,
                ended,
            ]

    REGISTRY.register(Streams())
    try:
        probes.serve(port, lambda: server.ready)
    except OSError as error:
        raise Failure(f"cannot serve metrics on port {port}: {error.strerror}") from None
