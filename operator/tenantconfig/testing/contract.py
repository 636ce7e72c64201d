"""The contract of all stores in one class."""

import pytest

from tenantconfig.testing.examples import Examples
from tenantconfig.testing.interruptions import Interruptions
from tenantconfig.testing.properties import Properties
from tenantconfig.testing.world import Resource, World, new_scope


class StoreContract(Examples, Interruptions, Properties):
    """What every store does, whatever is behind it.

    A subclass named Test… brings the fixture `world`, a World of the store in question.
    """

    @pytest.fixture
    def resource(self, world: World) -> Resource:
        """A resource that nobody has heard of."""
        return Resource(world.store, new_scope())
