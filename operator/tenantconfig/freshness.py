"""The tick: up to which time every change seen is projected, and which scopes nobody can vouch for.

Nobody vouches for anything while a watch is closed, nor until the next tick after it
was opened again: what it missed has to come in first.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable

from tenantconfig import configmaps
from tenantconfig.clock import rfc3339
from tenantconfig.errors import TenantConfigError
from tenantconfig.kubeapi import KubeApi
from tenantconfig.verification import Unverified

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 2.0
QUIET = 5  # periods without a tick after which the log says why
MOST_STALE = 3000  # scopes in one tick: with the longest names, what a ConfigMap holds


async def tick(
    kube: KubeApi,
    namespace: str,
    oldest: Callable[[], float | None],
    unverified: Callable[[float], Iterable[Unverified]],
    unheard: Callable[[], str],
) -> None:
    """Write the tick every two seconds, for ever, unless a watch was not open since the last one.

    A failure is logged: readers see the time stand still.
    """
    quiet = 0
    while True:
        now = time.time()
        eldest = sorted(unverified(now), key=lambda each: each.since)
        times = [now, *(date for date in (oldest(),) if date is not None)]
        times += [each.since for each in eldest[MOST_STALE:]]  # of these the tick has no room to say more
        try:
            why = unheard()
            quiet = quiet + 1 if why else 0
            if quiet == QUIET:
                logger.warning("The tick is not written: %s", why)
            if not quiet:
                async with asyncio.timeout(PERIOD_SECONDS):
                    await configmaps.tick(kube, namespace, rfc3339(min(times)), stale_json(eldest[:MOST_STALE]))
        except (TenantConfigError, TimeoutError) as error:
            logger.warning("The tick could not be written: %s", error)
        await asyncio.sleep(PERIOD_SECONDS)


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
