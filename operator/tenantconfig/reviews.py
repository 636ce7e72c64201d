"""Whether the API server stands by a token: it knows of pods and service accounts that are gone before the token ends.

It is asked once for each token, and the answer is used for a minute. A server that
is asked by a storm of reconnections asks once for all that bear the same token.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable

from tenantconfig.errors import Reason, TenantConfigError
from tenantconfig.identity import KeysUnavailable, TokenRefused
from tenantconfig.kubeapi import KubeApi

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
KEPT_SECONDS = 60.0
KEPT = 10_000  # answers; beyond these the oldest is asked for again


class Reviews:
    """An implementation of `identity.Review`; `clock` is monotonic."""

    def __init__(self, cluster: KubeApi, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._answers: OrderedDict[bytes, tuple[float, asyncio.Task[bool]]] = OrderedDict()  # by hash of the token

    async def __call__(self, token: str, audiences: frozenset[str]) -> None:
        """Raises TokenRefused when the API server does, KeysUnavailable when it does not answer."""
        try:
            authenticated = await asyncio.shield(self._answer(token, audiences))
        except TenantConfigError as error:
            forbidden = error.reason is Reason.ACCESS_DENIED
            why = "does not let this server review tokens" if forbidden else "cannot review tokens at the moment"
            raise KeysUnavailable(f"the API server {why}") from None
        if not authenticated:
            raise TokenRefused("the API server does not stand by the token: its pod or account may be gone")

    def _answer(self, token: str, audiences: frozenset[str]) -> "asyncio.Task[bool]":
        key, now = hashlib.sha256(token.encode()).digest(), self._clock()
        asked_at, answer = self._answers.get(key, (now, None))
        failed = answer is not None and answer.done() and (answer.cancelled() or answer.exception() is not None)
        if answer is None or failed or now - asked_at >= KEPT_SECONDS:
            answer = asyncio.create_task(self._ask(token, audiences))
            self._answers[key] = now, answer
            self._answers.move_to_end(key)
            if len(self._answers) > KEPT:
                self._answers.popitem(last=False)
        return answer

    async def _ask(self, token: str, audiences: frozenset[str]) -> bool:
        spec = {"token": token, "audiences": sorted(audiences)}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        status = (await self._cluster.post(PATH, body)).get("status") or {}
        return status.get("authenticated") is True and not audiences.isdisjoint(status.get("audiences") or ())
