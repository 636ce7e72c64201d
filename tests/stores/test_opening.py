"""From a recorded location to the store behind it."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import Location, Options, Value
from tenantconfig.stores import opening
from tenantconfig.stores.base import Store
from tenantconfig.stores.dynamodb import DynamoDBStore
from tenantconfig.stores.memory import MemoryStore
from tenantconfig.stores.opening import open_store
from tenantconfig.stores.ssm import SSMStore
from tenantconfig.testing import LONGEST_SCOPE

TABLE = Location("d/1", "dynamodb", (("region", "eu-west-1"), ("tableName", "t")))
PATH = Location("s/1", "ssm", (("pathPrefix", "/x"), ("region", "eu-west-1")))
ADVANCED: Options = (("tier", "Advanced"), ("writesPerSecond", "3"))


def test_each_kind_opens_as_what_it_is() -> None:
    assert isinstance(open_store(TABLE, ()), DynamoDBStore)
    assert isinstance(open_store(PATH, ()), SSMStore)


def test_the_same_location_and_options_are_the_same_store() -> None:
    assert open_store(PATH, ADVANCED) is open_store(Location(PATH.id, PATH.kind, PATH.place), (*ADVANCED,))
    assert open_store(PATH, ADVANCED) is not open_store(PATH, ())


def test_the_tier_decides_how_large_a_value_may_be() -> None:
    large = Value("x" * 5000)
    assert open_store(PATH, ()).refuses(LONGEST_SCOPE, "key", large)
    assert not open_store(PATH, ADVANCED).refuses(LONGEST_SCOPE, "key", large)


def test_a_plugin_that_is_not_installed_is_named() -> None:
    with pytest.raises(Stalled, match="no store plugin 'nothing' in this image") as caught:
        open_store(Location("p/1", "plugin", (("plugin", "nothing"),)), ())
    assert caught.value.reason is Reason.STORE_FAILED


def test_the_memory_store_is_a_plugin_that_ships() -> None:
    assert isinstance(open_store(Location("p/1", "plugin", (("plugin", "memory"),)), ()), MemoryStore)


def test_a_location_that_several_passes_open_at_once_is_one_store(monkeypatch: pytest.MonkeyPatch) -> None:
    second = threading.Event()

    def slowly(place: Mapping[str, str], options: Mapping[str, str]) -> Store:
        if not second.is_set():
            second.wait(0.5)  # until another thread is here too, which none should be
        return MemoryStore()

    def open_one(number: int) -> Store:
        if number:
            second.set()
        return open_store(Location("threads/1", "slow", ()), ())

    monkeypatch.setattr(opening, "_OPENERS", {"slow": slowly})
    with ThreadPoolExecutor(2) as threads:
        assert len({id(store) for store in threads.map(open_one, range(2))}) == 1
