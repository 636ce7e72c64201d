"""The reference store: a dictionary as strict as AWS. It ships so that tests and plugin authors have a model.

Every write is conditional on what the plan read; nothing of a set of changes
happens unless all of it can.
"""

import threading
from collections.abc import Collection
from dataclasses import replace

from tenantconfig.errors import Conflict, TenantConfigError
from tenantconfig.model import Scope, Value
from tenantconfig.plan import Changes, Claim, Contents, Held, written
from tenantconfig.stores.base import Applied, Gate, always

MAX_BYTES = 400 * 1024


class MemoryStore:
    """Values in this process. `rows` may be looked at and changed, as a stranger would."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Scope, str], Held] = {}
        self._lock = threading.Lock()
        self._writes = 0

    def probe(self) -> None:
        """Always there."""

    def refuses(self, scope: Scope, key: str, value: Value) -> str:
        if value.sensitive:
            return "is sensitive and routed to a store that does not encrypt: route it to SSM"
        return f"is larger than {MAX_BYTES} bytes" if len(value.text.encode()) > MAX_BYTES else ""

    def read(self, scope: Scope, keys: Collection[str], claim: Claim, gate: Gate = always) -> Contents:
        gate()
        with self._lock:
            rows = {key: held for (place, key), held in self.rows.items() if place == scope}
        return Contents(
            {key: held for key, held in rows.items() if key in keys or (held.owner and claim.covers(held.owner))}
        )

    def apply(self, scope: Scope, changes: Changes, gate: Gate = always) -> Applied:
        try:
            gate()
        except TenantConfigError as error:
            return Applied(error=error)
        with self._lock:
            read = {put.key: put.replaces for put in changes.puts} | {each.key: each.held for each in changes.deletes}
            moved = [key for key, held in read.items() if self.rows.get((scope, key)) != held]
            if moved:
                return Applied(error=Conflict(f"{len(moved)} entries changed between read and write"))
            acknowledged = {put.key: self._put(scope, put.key, written(put, "", changes.owner)) for put in changes.puts}
            for each in changes.deletes:
                del self.rows[scope, each.key]
            self._own(scope, [each.key for each in changes.claims], changes.owner)
            self._own(scope, changes.releases, "")
            deleted = frozenset(each.key for each in changes.deletes)
            return Applied(acknowledged, deleted, frozenset(changes.releases))

    def _put(self, scope: Scope, key: str, held: Held) -> Held:
        self._writes += 1
        self.rows[scope, key] = replace(held, version=str(self._writes))
        return self.rows[scope, key]

    def _own(self, scope: Scope, keys: Collection[str], owner: str) -> None:
        for key in keys:
            if held := self.rows.get((scope, key)):
                self.rows[scope, key] = replace(held, owner=owner)
