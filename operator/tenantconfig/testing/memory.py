"""The world of the reference store: the model for any other."""

import itertools
from dataclasses import replace

from tenantconfig.model import Scope
from tenantconfig.plan import Held
from tenantconfig.stores.memory import MemoryStore
from tenantconfig.testing.world import World


class MemoryWorld(World):
    """The reference store; what is behind it is a dictionary."""

    def __init__(self) -> None:
        self.store = self.memory = MemoryStore()
        self._writes = itertools.count(1)

    def texts(self, scope: Scope) -> dict[str, str]:
        return {key: held.text for (place, key), held in self.memory.rows.items() if place == scope}

    def owners(self, scope: Scope) -> dict[str, str]:
        rows = self.memory.rows.items()
        return {key: held.owner for (place, key), held in rows if place == scope and held.owner}

    def overwrite(self, scope: Scope, key: str, text: str) -> None:
        held = self.memory.rows.get((scope, key), Held("", ""))
        version = f"foreign-{next(self._writes)}"
        self.memory.rows[scope, key] = replace(held, text=text, version=version, pristine=False)

    def remove(self, scope: Scope, key: str) -> None:
        del self.memory.rows[scope, key]
