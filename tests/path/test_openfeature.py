"""Flags of OpenFeature from a scope, over the network."""

from collections.abc import Iterator

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from harness.aws import free_port
from harness.wait import wait_for
from path.test_client import options, vouching
from path.test_watch_server import HOST, Home, Site, admitted, home, site
from tenantconfig.client import connect
from tenantconfig.client.openfeature import TenantConfigProvider

__all__ = ["admitted", "home", "site", "vouching"]

FLAGS = {"on": "true", "limit": "5", "rate": "0.5", "text": "hush", "plan": '{"tiers":[1,2]}'}


@pytest.fixture
def flags(site: Site, home: Home) -> Iterator[OpenFeatureClient]:
    home.publish(1, FLAGS)
    api.set_provider_and_wait(TenantConfigProvider(connect(site.address, home.scope, **options(site, home))))
    yield api.get_client()
    api.shutdown()
    api.clear_providers()


def test_flags_of_every_type_are_the_entries(flags: OpenFeatureClient) -> None:
    wait_for(lambda: flags.get_boolean_details("on", False).reason == Reason.STATIC, "READY")
    assert flags.get_boolean_value("on", False) is True
    assert flags.get_integer_value("limit", 0) == 5
    assert flags.get_float_value("rate", 0.0) == 0.5
    assert flags.get_string_value("text", "") == "hush"
    assert flags.get_object_value("plan", {}) == {"tiers": [1, 2]}


def test_what_is_missing_or_of_another_type_is_the_default_and_says_why(flags: OpenFeatureClient) -> None:
    missing = flags.get_integer_details("absent", 7)
    assert (missing.value, missing.error_code) == (7, ErrorCode.FLAG_NOT_FOUND)
    for details in (
        flags.get_integer_details("text", 7),
        flags.get_float_details("text", 7.0),
        flags.get_boolean_details("text", True),
        flags.get_object_details("limit", {}),
    ):
        assert details.error_code == ErrorCode.TYPE_MISMATCH
        assert "hush" not in str(details.error_message)


def test_changes_and_states_are_events(home: Home, flags: OpenFeatureClient) -> None:
    changed: list[EventDetails] = []
    flags.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, changed.append)
    home.write(2, FLAGS | {"on": "false"})
    wait_for(lambda: not flags.get_boolean_value("on", True), "the change")
    wait_for(lambda: changed, "its event")
    assert changed[0].flags_changed == ["on"]


def test_a_provider_may_be_set_again_and_leaves_a_client_of_others_open(site: Site, home: Home) -> None:
    home.publish(1, FLAGS)
    with connect(site.address, home.scope, **options(site, home)) as client:
        for _ in range(2):
            api.set_provider_and_wait(TenantConfigProvider(client))
            assert api.get_client().get_integer_value("limit", 0) == 5
            api.clear_providers()
            assert client.is_open
    again = TenantConfigProvider(client)
    for _ in range(2):
        api.set_provider_and_wait(again)
        assert client.is_open
        api.clear_providers()
        assert not client.is_open


def test_a_server_that_is_gone_makes_the_provider_stale_and_flags_stay(site: Site, home: Home) -> None:
    home.publish(1, FLAGS)
    events: list[ProviderEvent] = []
    port = free_port()
    with site.start(port, "first") as server:
        client = connect(f"{HOST}:{port}", home.scope, **options(site, home, grace=2))
        api.set_provider_and_wait(TenantConfigProvider(client))
        flags = api.get_client()
        wait_for(lambda: flags.get_boolean_details("on", False).reason == Reason.STATIC, "READY")
        for event in ProviderEvent:
            flags.add_handler(event, lambda _, event=event: events.append(event))  # type: ignore[misc]
        server.kill()
        wait_for(lambda: ProviderEvent.PROVIDER_ERROR in events, "ERROR after the grace")
    stale = events.index(ProviderEvent.PROVIDER_STALE)
    assert stale < events.index(ProviderEvent.PROVIDER_ERROR)
    api.shutdown()
    api.clear_providers()
    assert dict(client.config) == FLAGS
