"""A control plane with the operator installed, those who act on it, and the objects they make."""

import itertools
from dataclasses import dataclass, field

from harness.api import Api, Object
from harness.controlplane import ControlPlane
from harness.install import install

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Cluster:
    """`controller` and `watch_server` act with the service accounts of the manifests."""

    plane: ControlPlane
    admin: Api
    controller: Api
    watch_server: Api
    namespaces: list[str] = field(default_factory=list)  # those made here and not emptied yet

    @classmethod
    def of(cls, plane: ControlPlane) -> "Cluster":
        """Installs the operator, with access to Secrets."""
        install(plane)
        admin = Api.of_administrator(plane)
        system = "tenantconfig-system"
        return cls(
            plane,
            admin,
            admin.as_service_account(system, "controller"),
            admin.as_service_account(system, "watch-server"),
        )

    def namespace(self, tenants: str | None = "acme") -> str:
        """Makes a namespace that may declare `tenants` (None: without the annotation); returns its new name."""
        annotations = {} if tenants is None else {"tenantconfig.dev/tenants": tenants}
        name = f"cluster-{next(_numbers)}"
        self.admin.create(namespace(name, annotations))
        self.namespaces.append(name)
        return name

    def empty(self) -> None:
        """Removes what was made in its namespaces, so that a controller that starts later finds none of it."""
        while self.namespaces:
            home = self.namespaces.pop()
            configs = f"/apis/tenantconfig.dev/v1alpha1/namespaces/{home}/tenantconfigs"
            for body in self.admin.request("GET", configs)["items"]:
                if body["metadata"].get("finalizers"):
                    self.admin.patch(body, {"metadata": {"finalizers": None}})
            for collection in (configs, f"/api/v1/namespaces/{home}/configmaps", f"/api/v1/namespaces/{home}/secrets"):
                self.admin.request("DELETE", collection)

    def editor(self, of: str) -> Api:
        """Someone who may do anything in the namespace `of`."""
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "editor", "namespace": of}}
        self.admin.create(account)
        self.admin.create(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "editor", "namespace": of},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": "editor", "namespace": of}],
            }
        )
        return self.admin.as_service_account(of, "editor")


def namespace(name: str, annotations: dict[str, str] | None = None) -> Object:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations or {}}}


def tenant_config(namespace: str, name: str = "test", **spec: object) -> Object:
    """A TenantConfig of tenant acme; arguments are fields of its spec, None leaves one out."""
    fields = {"tenantId": "acme", **spec}
    return {
        "apiVersion": "tenantconfig.dev/v1alpha1",
        "kind": "TenantConfig",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {field: value for field, value in fields.items() if value is not None},
    }


def config_store(name: str, **spec: object) -> Object:
    """A ConfigStore; arguments are fields of its spec."""
    return {
        "apiVersion": "tenantconfig.dev/v1alpha1",
        "kind": "ConfigStore",
        "metadata": {"name": name},
        "spec": spec,
    }


def projection(namespace: str, name: str = "test", kind: str = "ConfigMap", **fields: object) -> Object:
    """A ConfigMap or Secret with the label that the watch servers look for."""
    labels = {"tenantconfig.dev/tenant": "acme", "app.kubernetes.io/managed-by": "tenantconfig"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}
