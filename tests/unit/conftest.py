"""Decisions alone: no cluster, no AWS."""

import pytest

from harness.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
