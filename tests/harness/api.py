"""The Kubernetes API as plain requests: a few milliseconds each, where a kubectl process takes a hundred.

For tests that ask the API server many small questions, as whoever they please.
"""

import json
import ssl
from typing import Any, Self
from urllib.parse import urlencode

import urllib3

from harness.controlplane import ControlPlane

Object = dict[str, Any]

PLURALS = {
    "Namespace": "namespaces",
    "ConfigMap": "configmaps",
    "Secret": "secrets",
    "Pod": "pods",
    "ServiceAccount": "serviceaccounts",
    "Deployment": "deployments",
    "TenantConfig": "tenantconfigs",
    "ConfigStore": "configstores",
    "RoleBinding": "rolebindings",
    "ClusterRoleBinding": "clusterrolebindings",
    "Lease": "leases",
    "SubjectAccessReview": "subjectaccessreviews",
}
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class Refused(Exception):
    """The API server said no; `code` is the HTTP status, the text its message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Api:
    """Requests of one user, told by a token."""

    def __init__(self, plane: ControlPlane, token: str) -> None:
        self._plane = plane
        self._pool = urllib3.PoolManager(ssl_context=ssl.create_default_context(cafile=str(plane.ca_file)), retries=3)
        self._headers = {"Authorization": f"Bearer {token}"}

    @classmethod
    def of_administrator(cls, plane: ControlPlane) -> Self:
        """With all rights."""
        config = json.loads(plane.kubectl("config", "view", "--raw", "-o", "json").stdout)
        return cls(plane, config["users"][0]["user"]["token"])

    def as_service_account(self, namespace: str, name: str) -> "Api":
        """With the rights of a service account, by a token that the API server has issued."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        return Api(self._plane, self.request("POST", path, body)["status"]["token"])

    def create(self, body: Object, dry_run: bool = False) -> Object:
        """Makes an object."""
        return self.request("POST", _path(body, with_name=False), body, dryRun="All" if dry_run else "")

    def get(self, body: Object) -> Object:
        """The present state of the object that has the kind, namespace and name of `body`."""
        return self.request("GET", _path(body))

    def exists(self, body: Object) -> bool:
        """Whether there is such an object."""
        try:
            self.get(body)
        except Refused as refusal:
            if refusal.code == 404:
                return False
            raise
        return True

    def replace(self, body: Object, subresource: str = "") -> Object:
        """Puts the whole object, or the whole of a subresource."""
        return self.request("PUT", _path(body, subresource), body)

    def patch(self, body: Object, changes: Object, subresource: str = "", dry_run: bool = False) -> Object:
        """Merges `changes` into the object that has the kind, namespace and name of `body`."""
        path = _path(body, subresource)
        return self.request("PATCH", path, changes, MERGE, dryRun="All" if dry_run else "")

    def apply(self, body: Object, dry_run: bool = False) -> Object:
        """Applies on the server's side, as the field manager `test`."""
        return self.request("PATCH", _path(body), body, APPLY, fieldManager="test", dryRun="All" if dry_run else "")

    def delete(self, body: Object, propagation: str = "Background") -> None:
        """Asks for deletion; see propagationPolicy."""
        self.request("DELETE", _path(body), propagationPolicy=propagation)

    def request(
        self, method: str, path: str, body: Object | None = None, content: str = "application/json", **query: str
    ) -> Object:
        """One request; raises Refused for any answer but success."""
        parameters = urlencode({name: value for name, value in query.items() if value})
        response = self._pool.request(
            method,
            f"{self._plane.server}{path}?{parameters}",
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._headers, "Content-Type": content},
        )
        answer: Object = json.loads(response.data)
        if response.status >= 300:
            raise Refused(response.status, answer.get("message", ""))
        return answer


def _path(body: Object, subresource: str = "", with_name: bool = True) -> str:
    version, metadata = body["apiVersion"], body.get("metadata", {})
    parts = ["/apis" if "/" in version else "/api", version]
    if "namespace" in metadata:
        parts += ["namespaces", metadata["namespace"]]
    parts.append(PLURALS[body["kind"]])
    if with_name:
        parts += [metadata["name"]]
    return "/".join(parts + ([subresource] if subresource else []))
