"""The operator's definitions, rights and policies on the real API server. No process of ours runs here."""

from collections.abc import Iterator

import pytest

from harness.api import Api
from harness.cluster import Cluster
from harness.controlplane import ControlPlane


@pytest.fixture(scope="session")
def cluster(control_plane: ControlPlane) -> Cluster:
    """Installed from crds/ and manifests/, the overlay for Secrets included."""
    return Cluster.of(control_plane)


@pytest.fixture(scope="module", autouse=True)
def emptied(cluster: Cluster) -> Iterator[None]:
    """Leaves nothing to the tests of the whole path, which share the control plane."""
    yield
    cluster.empty()


@pytest.fixture(scope="module")
def acme(cluster: Cluster) -> str:
    """A namespace that may declare the tenant acme, for tests that leave nothing in it (dry runs)."""
    return cluster.namespace("acme")


@pytest.fixture(scope="module")
def home(cluster: Cluster) -> str:
    """The namespace of a tenant's team."""
    return cluster.namespace("acme")


@pytest.fixture(scope="module")
def editor(cluster: Cluster, home: str) -> Api:
    """Someone who may do anything in the team's namespace."""
    return cluster.editor(home)
