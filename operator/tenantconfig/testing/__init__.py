"""The contract of all stores, as tests that a store's author inherits: see docs/plugins.md.

Needs the extra `testing`. Nothing of it is needed at run time, and nothing else of this package imports it.
"""

import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.{each}" for each in ("examples", "history", "interruptions", "properties", "world"))
)

# Only now, so that their asserts explain themselves.
from tenantconfig.testing.contract import StoreContract  # noqa: E402
from tenantconfig.testing.memory import MemoryWorld  # noqa: E402
from tenantconfig.testing.world import (  # noqa: E402
    LONGEST_SCOPE,
    Resource,
    World,
    enforce,
    new_scope,
    observe,
    owner,
    seed,
)

__all__ = [
    "LONGEST_SCOPE",
    "MemoryWorld",
    "Resource",
    "StoreContract",
    "World",
    "enforce",
    "new_scope",
    "observe",
    "owner",
    "seed",
]
