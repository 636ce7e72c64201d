"""From a recorded location to the store behind it. Third parties join by entry point."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from threading import Lock
from typing import Any

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import Location, Options
from tenantconfig.stores.aws import client
from tenantconfig.stores.base import Store
from tenantconfig.stores.dynamodb import DynamoDBStore
from tenantconfig.stores.memory import MemoryStore
from tenantconfig.stores.roles import AssumedStore, Sessions, assume_role
from tenantconfig.stores.ssm import SSMStore

ENTRY_POINTS = "tenantconfig.stores"

_opening = Lock()


def open_store(location: Location, options: Options) -> Store:
    """The store at `location`, the same one for the same place and options. No requests yet.

    Raises Stalled when the location names a plugin that is not installed.
    """
    with _opening:  # passes run in threads, and two of them must not get two stores
        return _opened(location.kind, location.place, options)


@cache
def _opened(kind: str, place: tuple[tuple[str, str], ...], options: Options) -> Store:
    return _OPENERS[kind](dict(place), dict(options))


def _dynamodb(place: Mapping[str, str], options: Mapping[str, str]) -> Store:
    return _under_role("dynamodb", place, lambda client: DynamoDBStore(client, place["tableName"]))


def _ssm(place: Mapping[str, str], options: Mapping[str, str]) -> Store:
    tier, key = options.get("tier", "Standard"), options.get("kmsKeyId", "")
    return _under_role("ssm", place, lambda client: SSMStore(client, place["pathPrefix"], tier, key))


def _under_role(service: str, place: Mapping[str, str], store: Callable[[Any], Store]) -> Store:
    """The `store` of a client that acts as the place says."""
    region, role = place.get("region"), place.get("assumeRoleArn")
    if not role:
        return store(client(service, region))
    tag_key = place.get("sessionTagKey", "")
    assume = assume_role(client("sts", region), role, tag_key)
    sessions = Sessions(assume, account_id=role.split(":")[4], by_tenant=bool(tag_key))
    return AssumedStore(store(client(service, region, sessions)), sessions, role)


def _plugin(place: Mapping[str, str], options: Mapping[str, str]) -> Store:
    name = place["plugin"]
    found = entry_points(group=ENTRY_POINTS, name=name)
    if not found:
        known = ", ".join(sorted(each.name for each in entry_points(group=ENTRY_POINTS))) or "none"
        message = f"there is no store plugin {name!r} in this image (installed: {known})"
        raise Stalled(Reason.STORE_FAILED, message)
    factory: Callable[[str], Store] = next(iter(found)).load()
    return factory(place.get("config", "{}"))


def memory(config: str) -> Store:
    """The `memory` plugin: values last as long as the controller's process. For trials."""
    return MemoryStore()


_OPENERS: Mapping[str, Callable[[Mapping[str, str], Mapping[str, str]], Store]] = {
    "dynamodb": _dynamodb,
    "ssm": _ssm,
    "plugin": _plugin,
}
