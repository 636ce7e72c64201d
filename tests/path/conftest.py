"""The whole path on real parts: one installation for all tests here, each in a namespace of its own."""

import itertools
from collections.abc import Iterator

import pytest

from harness.aws import LocalAws, Moto
from harness.cluster import namespace
from harness.controlplane import ControlPlane
from harness.system import System

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, moto: Moto, dynamodb_local: LocalAws) -> Iterator[System]:
    """Controller and watch server over a control plane of their own: what other tests leave is not theirs."""
    directory = tmp_path_factory.mktemp("system")
    plane = ControlPlane.start(directory / "control-plane")
    system = System(directory, plane, moto, dynamodb_local, requests_per_second=1000)
    system.start_controller()
    system.start_watch_server()
    yield system
    system.stop()
    plane.stop()


@pytest.fixture
def tenant(system: System) -> str:
    """A tenant that no other test has; its namespace has the same name and may declare it."""
    name = f"tenant-{next(_numbers)}"
    system.admin.create(namespace(name, {"tenantconfig.dev/tenants": name}))
    return name
