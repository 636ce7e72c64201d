"""Which of the controllers acts: a Lease, renewed against the monotonic clock.

Every request times out at the retry period; any failure is a failed renewal; when
none succeeded until the renew deadline, the process ends at once, before the lease
does. A graceful stop would outlive it.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any, NoReturn

from tenantconfig.clock import rfc3339
from tenantconfig.errors import Missing, Reason, Transient
from tenantconfig.kubeapi import Body, KubeApi

logger = logging.getLogger(__name__)

# The defaults of Kubernetes' own components (client-go's leader election).
LEASE_SECONDS = 15
RENEW_DEADLINE_SECONDS = 10.0
RETRY_SECONDS = 2.0

NAME = "tenantconfig-controller"


def die() -> NoReturn:
    """End the process without running anything else."""
    os._exit(1)


class Leader:
    """One candidate for the Lease `NAME` in `namespace`."""

    def __init__(self, kube: KubeApi, namespace: str, identity: str, lost: Callable[[], Any] = die) -> None:
        self._kube = kube
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._identity = identity
        self._lost = lost
        self._stopping = False
        self._renewed = 0.0  # monotonic, like the event loop's clock
        self._observed: tuple[str, float] = ("", 0.0)  # another's renewTime, and when we first saw it

    async def acquire(self) -> None:
        """Return as soon as the Lease is ours."""
        announced = False
        while not await self._attempt(self._take):
            if not announced:
                logger.info("Another controller leads; waiting for the Lease %s/%s", self._namespace, NAME)
                announced = True
            await asyncio.sleep(RETRY_SECONDS)
        logger.info("Leading as %s", self._identity)

    async def hold(self) -> None:
        """Renew for ever; when that fails until the deadline, the process ends."""
        loop = asyncio.get_running_loop()
        ending = loop.call_at(self._renewed + RENEW_DEADLINE_SECONDS, self._end)
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            if await self._attempt(self._take):
                ending.cancel()
                ending = loop.call_at(self._renewed + RENEW_DEADLINE_SECONDS, self._end)

    def _end(self) -> None:
        logger.critical("The Lease was not renewed for %.0f s: ending", RENEW_DEADLINE_SECONDS)
        self._lost()

    def stop(self) -> None:
        """Have nothing written any more, though the Lease is still ours."""
        self._stopping = True

    def may_write(self) -> None:
        """Raise Transient unless the Lease is ours beyond doubt. For any thread, before each write to a store."""
        if self._stopping or time.monotonic() > self._renewed + RENEW_DEADLINE_SECONDS:
            raise Transient(Reason.NOT_LEADING, "this controller does not lead any more: it writes nothing")

    async def release(self) -> None:
        """Let the next controller lead without waiting for the Lease to run out."""
        await self._attempt(self._give_up)

    async def _attempt(self, step: Callable[[], Any]) -> bool:
        started = time.monotonic()  # before the request: the server may count from any moment of it
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                done = bool(await step())
        except Exception as error:
            logger.warning("The Lease could not be written: %s", error)
            return False
        if done:
            self._renewed = started
        return done

    async def _take(self) -> bool:
        try:
            lease = await self._kube.get(f"{self._collection}/{NAME}")
        except Missing:
            metadata = {"name": NAME, "namespace": self._namespace}
            await self._kube.post(self._collection, self._lease(metadata, {}, taken=True))
            return True
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity") or ""
        if holder not in ("", self._identity) and not self._expired(spec):
            return False
        await self._kube.put(
            f"{self._collection}/{NAME}", self._lease(lease["metadata"], spec, taken=holder != self._identity)
        )
        return True

    async def _give_up(self) -> None:
        lease = await self._kube.get(f"{self._collection}/{NAME}")
        if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
            lease["spec"]["holderIdentity"] = ""
            await self._kube.put(f"{self._collection}/{NAME}", lease)

    def _expired(self, spec: Body) -> bool:
        """Whether another's lease ran out, by our own clock: those of two machines are not compared."""
        stamp = f"{spec.get('holderIdentity')} {spec.get('renewTime')}"
        if stamp != self._observed[0]:
            self._observed = (stamp, time.monotonic())
        return time.monotonic() - self._observed[1] > float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)

    def _lease(self, metadata: Body, former: Body, *, taken: bool) -> Body:
        now = rfc3339(time.time())
        spec = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now,
            "acquireTime": now if taken else former.get("acquireTime", now),
            "leaseTransitions": int(former.get("leaseTransitions") or 0) + (1 if taken and former else 0),
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
