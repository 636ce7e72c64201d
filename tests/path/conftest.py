"""The whole path on real parts: one installation for all tests here, each in a namespace of its own."""

import itertools
from collections.abc import Iterator

import pytest

from harness.aws import LocalAws, Moto
from harness.cluster import namespace
from harness.system import System, running

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory, moto: Moto, dynamodb_local: LocalAws) -> Iterator[System]:
    """Controller and watch server over a control plane of their own: what other tests leave is not theirs."""
    directory = tmp_path_factory.mktemp("system")
    with running(directory, moto, dynamodb_local) as system:
        yield system


@pytest.fixture
def tenant(system: System) -> str:
    """A tenant that no other test has; its namespace has the same name and may declare it."""
    for process in (system.controller, system.watch_server):
        assert process
        process.wait_until(lambda process=process: process.running, "a test")  # type: ignore[misc]
    name = f"tenant-{next(_numbers)}"
    system.admin.create(namespace(name, {"tenantconfig.dev/tenants": name}))
    return name
