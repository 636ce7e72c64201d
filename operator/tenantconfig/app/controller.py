"""The controller process, put together: wait for the Lease, then reconcile until a signal."""

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any

from prometheus_client import REGISTRY, start_http_server

from tenantconfig import freshness, kubeapi
from tenantconfig.acceptance import Acceptance
from tenantconfig.app import log_to_stderr
from tenantconfig.app.metrics import ControllerMetrics
from tenantconfig.errors import Reason, TenantConfigError
from tenantconfig.guard import Guard
from tenantconfig.handlers import Handlers
from tenantconfig.known import Known
from tenantconfig.kubeapi import KubeApi
from tenantconfig.leadership import Leader
from tenantconfig.model import LABEL_SOURCE
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.passes import Passes
from tenantconfig.rations import Rations
from tenantconfig.reconcile import Reconciler
from tenantconfig.refresh import Refresh
from tenantconfig.refresh_queue import Consumer, Queue
from tenantconfig.settings import ControllerSettings
from tenantconfig.storecalls import StoreCalls
from tenantconfig.storekeeper import StoreKeeper
from tenantconfig.stores.aws import default_region
from tenantconfig.stores.opening import open_store
from tenantconfig.sweep import Sweep
from tenantconfig.verification import Verification

logger = logging.getLogger(__name__)

EXPIRY_SECONDS = 10.0
STORE_THREADS = 32  # store calls at once: a pass makes one for each place


def run(settings: ControllerSettings) -> None:
    """Reconcile until SIGTERM."""
    log_to_stderr()
    asyncio.run(_run(settings))


async def _run(settings: ControllerSettings) -> None:
    """The Lease is given up at the end, so that the next controller need not wait until it runs out."""
    if settings.metrics_port is not None:
        start_http_server(settings.metrics_port)
    kube = await kubeapi.connect()
    leader = Leader(kube, settings.lease_namespace, f"{socket.gethostname()}_{uuid.uuid4()}")
    executor = ThreadPoolExecutor(STORE_THREADS, thread_name_prefix="store")
    try:
        await leader.acquire()
        holding = asyncio.create_task(leader.hold(), name="hold the Lease")
        try:
            await _lead(kube, leader, executor, settings)
        finally:
            leader.stop()
            await asyncio.to_thread(executor.shutdown)  # what is being written must not outlive the Lease
            holding.cancel()
            await leader.release()
    finally:
        await kube.close()


async def _lead(kube: KubeApi, leader: Leader, executor: Executor, settings: ControllerSettings) -> None:
    """Reconcile until a signal."""
    cluster = (await kube.get("/api/v1/namespaces/kube-system"))["metadata"]["uid"]
    secrets = await may_use_secrets(kube)
    if not secrets:
        logger.info("No access to Secrets: resources that take values from them are Stalled")
    known = Known(default_region())
    rations = Rations(wake=lambda ref: scopes.request(ref))
    calls = StoreCalls(known, executor, leader.may_write, rations)
    own = OwnWrites(time.monotonic)
    keeper = StoreKeeper(known, cluster, open_store, calls, own)
    guard = Guard(own)
    verification = Verification(known, settings.stale_seconds)
    reconciler = Reconciler(kube, known, keeper, guard, verification, secrets=secrets)
    scopes = Passes(reconciler, time.time)
    stores = Passes(Acceptance(kube, known, open_store, executor), time.time)
    handlers = Handlers(known, scopes, stores)

    async def tick() -> None:
        namespace = settings.lease_namespace
        await freshness.tick(kube, namespace, handlers.oldest, verification.unverified, handlers.unheard)

    refresh = Refresh(known, scopes, guard.announcements, own, open_store, rations, time.monotonic)
    sweep = Sweep(known, scopes.request, settings.sweep_seconds)
    consumer = Consumer(Queue(settings.refresh_queue_url), refresh) if settings.refresh_queue_url else None

    work: list[Callable[[], Coroutine[Any, Any, None]]] = [tick, partial(expire, guard)]
    if settings.sweep_seconds:
        work.append(sweep.run)
    if consumer:
        work.append(consumer.run)
    else:
        logger.info("No --refresh-queue-url: changes made in AWS are found by the sweep alone")
    REGISTRY.register(ControllerMetrics(known, guard, verification, refresh, sweep, consumer))
    # All are tasks before kopf is: it would wait for later ones when it ends.
    await until_one_ends(*(after(handlers.started, each) for each in work), handlers.serve(secrets=secrets))


async def after(event: asyncio.Event, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do the work from then on."""
    await event.wait()
    await work()


async def until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, by a signal or by a defect, which is raised; the process begins afresh then."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def expire(guard: Guard) -> None:
    """Let time do its part in what is known of others' changes."""
    while True:
        await asyncio.sleep(EXPIRY_SECONDS)
        guard.expire()


async def may_use_secrets(kube: KubeApi) -> bool:
    """Whether the operator's service account may list Secrets everywhere, as with manifests/overlays/secrets."""
    try:
        await kube.get(f"/api/v1/secrets?limit=1&labelSelector={LABEL_SOURCE}")
    except TenantConfigError as error:
        if error.reason is Reason.ACCESS_DENIED:
            return False
        raise
    return True
