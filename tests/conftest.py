"""The real parts as fixtures: each started once a session, when the first test asks for it.

Tests share them, so each uses names of its own (namespaces, tables, paths)
rather than an empty world.
"""

import os
from collections.abc import Iterator

import pytest

from harness.aws import DynamoDBLocal, LocalAws, Moto
from harness.controlplane import ControlPlane
from harness.processes import leads_elsewhere

NO_DYNAMODB_LOCAL = pytest.StashKey[bool]()
KEPT_VARIABLES = {"TENANTCONFIG_CONTROLPLANE"}


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the tests' own AWS clients away from proxies, CA bundles and real credentials."""
    for name in [name for name in os.environ if leads_elsewhere(name) and name not in KEPT_VARIABLES]:
        del os.environ[name]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says so when tests did not run on what they were meant for."""
    if config.stash.get(NO_DYNAMODB_LOCAL, False):
        terminalreporter.write_line(
            "DynamoDB Local is missing (set-up found no Maven): its tests ran on moto", yellow=True
        )


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A Kubernetes control plane; see harness.controlplane."""
    plane = ControlPlane.start(tmp_path_factory.mktemp("control-plane"))
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moto]:
    """AWS, as moto imitates it."""
    server = Moto.start(tmp_path_factory.mktemp("moto"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def dynamodb_local(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[LocalAws]:
    """The real DynamoDB's code where there is Maven to bring it, otherwise a moto of its own."""
    directory = tmp_path_factory.mktemp("dynamodb")
    available = DynamoDBLocal.available()
    pytestconfig.stash[NO_DYNAMODB_LOCAL] = not available
    server: LocalAws = DynamoDBLocal.start(directory) if available else Moto.start(directory)
    yield server
    server.stop()
