"""Who has which version: what was told to each subscriber, and what became of it there. Pure."""

from collections.abc import Iterator
from typing import Any

from tenantconfig.model import Version
from tenantconfig.watch.hub import Hub, Subscription


def deliveries(hub: Hub, tenant: str = "") -> Iterator[dict[str, Any]]:
    """Every watched scope (of one tenant, if it is given) with its latest version and its subscribers, as JSON."""
    for scope, standing, subscriptions in hub.watched():
        if tenant in ("", scope.tenant):
            yield {
                "scope": {"tenant": scope.tenant, "environment": scope.environment, "service": scope.service},
                "version": _version(standing.version),
                "absent": standing.absent,
                "subscribers": [_subscriber(each) for each in subscriptions],
            }


def behind(hub: Hub) -> int:
    """Subscriptions that have not acknowledged the latest version."""
    return sum(
        standing.snapshot is not None and each.acknowledged != standing.version
        for _, standing, subscriptions in hub.watched()
        for each in subscriptions
    )


def _subscriber(subscription: Subscription) -> dict[str, Any]:
    told = subscription.said if isinstance(subscription.said, Version) else None
    return {
        "subscriber": subscription.subscriber,
        "told": _version(told),
        "acknowledged": _version(subscription.acknowledged),
        "error": subscription.error,
    }


def _version(version: Version | None) -> dict[str, Any] | None:
    return {"revision": version.revision, "digest": version.digest} if version else None
