"""The API server as the informers need it: requests as everywhere else, and answers that go on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import aiohttp

from tenantconfig.errors import Reason, Transient
from tenantconfig.kubeapi import FIELD_MANAGER, TIMEOUT_SECONDS, KubeApi
from tenantconfig.watch.informer import Expired


class WatchedCluster(KubeApi):
    """KubeApi with watches."""

    @classmethod
    def of(cls, kube: KubeApi) -> Self:
        """Over the same connections."""
        return cls(kube._api)

    async def read(self, path: str) -> bytes:
        """An answer of any content type, whole."""
        async with self.stream(path, TIMEOUT_SECONDS) as chunks:
            return b"".join([chunk async for chunk in chunks])

    @asynccontextmanager
    async def stream(self, path: str, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of an answer as it comes; it ends when nothing comes for `silence` seconds."""
        headers = {"Accept": "application/json, */*;q=0.1", "User-Agent": FIELD_MANAGER}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS, sock_read=silence)
        url = self._api.configuration.host + path
        try:
            answer = await self._api.rest_client.request("GET", url, headers, _request_timeout=timeout)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            message = f"the API server did not answer ({type(error).__name__})"
            raise Transient(Reason.KUBERNETES_FAILED, message) from error
        response: aiohttp.ClientResponse = answer.response
        try:
            _refuse(path, response.status)
            yield _chunks(response)
        finally:
            response.close()


def _refuse(path: str, status: int) -> None:
    if status == 410:
        raise Expired
    if status in {401, 403}:
        message = f"the API server refuses GET {path.partition('?')[0]} (status {status}): see manifests/base"
        raise Transient(Reason.ACCESS_DENIED, message)
    if status >= 400:
        raise Transient(Reason.KUBERNETES_FAILED, f"GET {path.partition('?')[0]} failed with status {status}")


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except TimeoutError:
        return
    except (aiohttp.ClientError, OSError) as error:
        message = f"the API server broke off a watch ({type(error).__name__})"
        raise Transient(Reason.KUBERNETES_FAILED, message) from error
