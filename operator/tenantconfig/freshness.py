"""The tick: up to which time every change seen is projected, and which scopes nobody can vouch for.

When the API server was away, the tick can be written again before the watches are
back. So nothing is vouched for then until everything that it lists was heard of.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from tenantconfig import configmaps
from tenantconfig.clock import rfc3339
from tenantconfig.errors import TenantConfigError
from tenantconfig.known import Known
from tenantconfig.kubeapi import KubeApi
from tenantconfig.model import GROUP, VERSION
from tenantconfig.reconcile import Unverified

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 2.0
MOST_STALE = 3000  # scopes in one tick: with the longest names, what a ConfigMap holds


async def tick(
    kube: KubeApi,
    namespace: str,
    oldest: Callable[[], float | None],
    unverified: Callable[[], Iterable[Unverified]],
    caught_up: Callable[[], Awaitable[bool]],
) -> None:
    """Write the tick every two seconds, for ever. A failure is logged: readers see the time stand still."""
    away = False
    while True:
        eldest = sorted(unverified(), key=lambda each: each.since)
        times = [time.time(), *(date for date in (oldest(),) if date is not None)]
        times += [each.since for each in eldest[MOST_STALE:]]  # of these the tick has no room to say more
        try:
            away = away and not await caught_up()
            if not away:
                async with asyncio.timeout(PERIOD_SECONDS):
                    await configmaps.tick(kube, namespace, rfc3339(min(times)), stale_json(eldest[:MOST_STALE]))
        except (TenantConfigError, TimeoutError) as error:
            away = True
            logger.warning("The tick could not be written: %s", error)
        await asyncio.sleep(PERIOD_SECONDS)


async def heard_of_all(kube: KubeApi, known: Known) -> bool:
    """Whether the watches have brought everything that the API server has. Raises Transient, Stalled."""
    for plural in ("configstores", "tenantconfigs"):
        async for metadata in kube.metadata(f"/apis/{GROUP}/{VERSION}/{plural}"):
            if not known.heard_of(plural, metadata):
                logger.info("%s %s is not known as it is now: nothing is vouched for yet", plural, metadata["name"])
                return False
    return True


def stale_json(unverified: Iterable[Unverified]) -> str:
    """The tick's list of stale scopes."""
    return json.dumps([_stale(each) for each in unverified], separators=(",", ":"))


def _stale(each: Unverified) -> dict[str, str]:
    scope = each.scope
    return {
        "tenant": scope.tenant,
        "environment": scope.environment,
        "service": scope.service,
        "verifiedAsOf": rfc3339(each.since),
        "reason": each.reason,
    }
