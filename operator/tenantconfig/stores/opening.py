"""From a recorded location to the store behind it. Third parties join by entry point."""

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from threading import Lock

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import Location, Options
from tenantconfig.stores.aws import client
from tenantconfig.stores.base import Store
from tenantconfig.stores.dynamodb import DynamoDBStore
from tenantconfig.stores.memory import MemoryStore
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
    return DynamoDBStore(client("dynamodb", place.get("region"), place.get("assumeRoleArn")), place["tableName"])


def _ssm(place: Mapping[str, str], options: Mapping[str, str]) -> Store:
    ssm = client("ssm", place.get("region"), place.get("assumeRoleArn"))
    return SSMStore(ssm, place["pathPrefix"], options.get("tier", "Standard"), options.get("kmsKeyId", ""))


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
