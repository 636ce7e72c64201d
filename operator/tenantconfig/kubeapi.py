"""The one way to the API server: plain JSON in and out, and one table from its errors to ours.

Raw JSON instead of the client's models: they cost more than the request, and drop
what they do not know.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from tenantconfig.errors import AlreadyExists, Conflict, Expired, Missing, Reason, Stalled, TenantConfigError, Transient

FIELD_MANAGER = "tenantconfig"
MERGE_PATCH = "application/merge-patch+json"
TIMEOUT_SECONDS = 10.0

Body = dict[str, Any]


async def connect(connections: int = 100) -> "KubeApi":
    """Find the cluster as kubectl does: KUBECONFIG, then the pod's service account."""
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = connections
    try:
        await config.load_kube_config(client_configuration=configuration)
    except config.ConfigException as outside:
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            message = f"no cluster found, set KUBECONFIG or run in a pod: {outside}"
            raise Stalled(Reason.KUBERNETES_FAILED, message) from None
    return KubeApi(client.ApiClient(configuration))


class KubeApi:
    """Requests to the API server.

    All raise Missing (404), AlreadyExists and Conflict (409), Stalled (the request is
    refused for what it says) or Transient (the server cannot or will not now).
    """

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    async def close(self) -> None:
        await self._api.close()

    async def get(self, path: str, timeout: float = TIMEOUT_SECONDS) -> Body:  # noqa: ASYNC109  the transport's own
        return await self._request("GET", path, timeout=timeout)

    async def post(self, path: str, body: Mapping[str, Any]) -> Body:
        return await self._request("POST", f"{path}?fieldManager={FIELD_MANAGER}", body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Body:
        return await self._request("PUT", f"{path}?fieldManager={FIELD_MANAGER}", body)

    async def apply(self, path: str, body: Mapping[str, Any]) -> Body:
        """Server-side apply; what others set in the same fields is overruled."""
        query = f"{path}?fieldManager={FIELD_MANAGER}&force=true"
        return await self._request("PATCH", query, body, "application/apply-patch+yaml")

    async def merge(self, path: str, body: Mapping[str, Any]) -> Body:
        """JSON merge patch."""
        query = f"{path}?fieldManager={FIELD_MANAGER}"
        return await self._request("PATCH", query, body, MERGE_PATCH)

    async def try_post(self, path: str, body: Mapping[str, Any]) -> Body:
        """Have a POST judged as if it were made; nothing is stored."""
        return await self._request("POST", f"{path}?dryRun=All", body)

    async def try_merge(self, path: str, body: Mapping[str, Any]) -> Body:
        """The same for a JSON merge patch."""
        return await self._request("PATCH", f"{path}?dryRun=All", body, MERGE_PATCH)

    async def delete(self, path: str, uid: str) -> Body:
        """Delete the object if it still is the one with `uid`."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        return await self._request("DELETE", path, body)

    async def read(self, path: str) -> bytes:
        """An answer of any content type, whole."""
        async with self.stream(path, TIMEOUT_SECONDS) as chunks:
            return b"".join([chunk async for chunk in chunks])

    @asynccontextmanager
    async def stream(self, path: str, silence: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of an answer as it comes; it ends when nothing comes for `silence` seconds.

        Raises Expired when a watch asks for history that is gone.
        """
        headers = {"Accept": "application/json, */*;q=0.1"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS, sock_read=silence)
        answer = await self._send("GET", path, headers, None, timeout)
        response: aiohttp.ClientResponse = answer.response
        try:
            if response.status >= 400:
                raise _error("GET", path, response.status, {})
            yield _chunks(response)
        finally:
            response.close()

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109  the transport's own
    ) -> Body:
        headers = {"Accept": "application/json", "Content-Type": content_type}
        response = await self._send(method, path, headers, body, timeout)
        with _answering():
            payload = await response.read()
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        answer: Body = json.loads(payload) if is_json else {}
        if response.status >= 400:
            raise _error(method, path, response.status, answer)
        return answer

    async def _send(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        body: Mapping[str, Any] | None,
        timeout: float | aiohttp.ClientTimeout,  # noqa: ASYNC109  the transport's own
    ) -> Any:
        headers["User-Agent"] = FIELD_MANAGER
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = self._api.configuration.host + path
        with _answering():
            return await self._api.rest_client.request(method, url, headers, body, _request_timeout=timeout)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        message = f"the API server did not answer ({type(error).__name__})"
        raise Transient(Reason.KUBERNETES_FAILED, message) from error


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    with _answering():
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except TimeoutError:
            return


def _error(method: str, path: str, status: int, answer: Body) -> TenantConfigError:
    what = f"{method} {path.partition('?')[0]}"
    message = str(answer.get("message", "no message"))
    if status == 404:
        return Missing(f"{what}: not found")
    if status == 409 and answer.get("reason") == "AlreadyExists":
        return AlreadyExists(f"{what}: exists already")
    if status == 409:
        return Conflict(f"{what}: changed between read and write")
    if status == 410:
        return Expired(f"{what}: the history is gone")
    if status in {401, 403}:
        return Transient(Reason.ACCESS_DENIED, f"{what} is forbidden: {message}")
    if status in {400, 413, 422}:
        return Stalled(Reason.KUBERNETES_FAILED, f"{what} is refused: {message}")
    return Transient(Reason.KUBERNETES_FAILED, f"{what} failed with status {status}")
