"""The one way to the API server: plain JSON in and out, and one table from its errors to ours.

Raw JSON instead of the client's models: they cost more than the request, and drop
what they do not know.
"""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
from kubernetes.aio import client, config

from tenantconfig.errors import AlreadyExists, Conflict, Missing, Reason, Stalled, TenantConfigError, Transient

FIELD_MANAGER = "tenantconfig"
TIMEOUT_SECONDS = 10.0

Body = dict[str, Any]


async def connect(connections: int = 100) -> "KubeApi":
    """Find the cluster as kubectl does: KUBECONFIG, then the pod's service account."""
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = connections
    try:
        await config.load_kube_config(client_configuration=configuration)
    except config.ConfigException:
        config.load_incluster_config(client_configuration=configuration)
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
        return await self._request("PATCH", query, body, "application/merge-patch+json")

    async def delete(self, path: str, uid: str) -> Body:
        """Delete the object if it still is the one with `uid`."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": uid}}
        return await self._request("DELETE", path, body)

    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109  the transport's own
    ) -> Body:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": FIELD_MANAGER}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = self._api.configuration.host + path
        try:
            response = await self._api.rest_client.request(method, url, headers, body, _request_timeout=timeout)
            payload = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(
                Reason.KUBERNETES_FAILED, f"the API server did not answer ({type(error).__name__})"
            ) from error
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        answer: Body = json.loads(payload) if is_json else {}
        if response.status >= 400:
            raise _error(method, path, response.status, answer)
        return answer


def _error(method: str, path: str, status: int, answer: Body) -> TenantConfigError:
    what = f"{method} {path.partition('?')[0]}"
    message = str(answer.get("message", "no message"))
    if status == 404:
        return Missing(f"{what}: not found")
    if status == 409 and answer.get("reason") == "AlreadyExists":
        return AlreadyExists(f"{what}: exists already")
    if status == 409:
        return Conflict(f"{what}: changed between read and write")
    if status == 403:
        return Transient(Reason.ACCESS_DENIED, f"{what} is forbidden: {message}")
    if status in {400, 413, 422}:
        return Stalled(Reason.KUBERNETES_FAILED, f"{what} is refused: {message}")
    return Transient(Reason.KUBERNETES_FAILED, f"{what} failed with status {status}")
