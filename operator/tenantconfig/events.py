"""Events on TenantConfigs, for people: `kubectl describe` shows them."""

import logging
import time
import uuid

from tenantconfig.clock import rfc3339
from tenantconfig.errors import TenantConfigError
from tenantconfig.kubeapi import KubeApi
from tenantconfig.model import GROUP, VERSION, TenantConfig

COMPONENT = "tenantconfig-controller"

logger = logging.getLogger(__name__)


async def warn(kube: KubeApi, resource: TenantConfig, reason: str, message: str) -> None:
    """Post a Warning. What cannot be posted is logged: an event is not worth a failed pass."""
    now, ref = rfc3339(time.time(), "seconds"), resource.ref
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{ref.name[:200]}.{uuid.uuid4().hex[:16]}", "namespace": ref.namespace},
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "TenantConfig",
            "name": ref.name,
            "namespace": ref.namespace,
            "uid": resource.uid,
        },
        "type": "Warning",
        "reason": reason,
        "message": message[:1024],
        "source": {"component": COMPONENT},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        await kube.post(f"/api/v1/namespaces/{ref.namespace}/events", body)
    except TenantConfigError as error:
        logger.warning("An event on %s could not be posted: %s", ref, error)
