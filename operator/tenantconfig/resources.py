"""Read TenantConfigs and ConfigStores, and write their status."""

from typing import Any

from tenantconfig import spec
from tenantconfig.errors import Missing
from tenantconfig.kubeapi import KubeApi
from tenantconfig.model import GROUP, VERSION, Condition, ConfigStore, Location, ResourceRef, Status, TenantConfig

API = f"/apis/{GROUP}/{VERSION}"


async def read(kube: KubeApi, ref: ResourceRef) -> TenantConfig | None:
    """The TenantConfig as it is; None when there is none."""
    try:
        return spec.tenant_config(await kube.get(f"{API}/namespaces/{ref.namespace}/tenantconfigs/{ref.name}"))
    except Missing:
        return None


async def write_status(kube: KubeApi, resource: TenantConfig, status: Status) -> None:
    """Replace the status. Raises Conflict when the resource changed since it was read."""
    path = f"{API}/namespaces/{resource.ref.namespace}/tenantconfigs/{resource.ref.name}/status"
    await kube.merge(path, _patch(resource.resource_version, spec.status_body(status)))


async def read_store(kube: KubeApi, name: str, region: str) -> tuple[ConfigStore, str] | None:
    """The ConfigStore as it is and its resourceVersion; None when there is none. For `region` see `spec`."""
    try:
        body = await kube.get(f"{API}/configstores/{name}")
    except Missing:
        return None
    return spec.config_store(body, region), body["metadata"]["resourceVersion"]


async def write_store_status(
    kube: KubeApi,
    store: ConfigStore,
    version: str,
    conditions: tuple[Condition, ...],
    locations: tuple[Location, ...],
) -> None:
    """Replace a ConfigStore's status. Raises Conflict when it changed since it was read."""
    status = {
        "observedGeneration": store.generation,
        "conditions": spec.conditions_body(conditions),
        "locations": [spec.location_body(each) for each in locations],
    }
    await kube.merge(f"{API}/configstores/{store.name}/status", _patch(version, status))


def _patch(resource_version: str, status: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": resource_version}, "status": status}
