"""Which keys changed between the last versions of a scope. Pure.

Of a former version only its keys are kept that the next one changed: the values
that a difference carries are the latest ones, whatever lay between.
"""

from collections import deque

from tenantconfig.model import Snapshot, Version

VERSIONS = 32  # bases of a scope that a difference can be told from


class History:
    """The steps from each of the last versions to the next."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: deque[tuple[Version, frozenset[str]]] = deque(maxlen=VERSIONS)

    def step(self, before: Snapshot | None, after: Snapshot | None) -> None:
        """The scope went from one snapshot to another; what had none begins anew."""
        if before is None or after is None:
            self._steps.clear()
        elif before.version != after.version:
            self._steps.append((before.version, changed(before, after)))

    def since(self, base: Version) -> frozenset[str] | None:
        """The keys that may differ between `base` and the latest; None when it is not held any more."""
        keys: frozenset[str] = frozenset()
        for version, step in reversed(self._steps):
            keys |= step
            if version == base:
                return keys
        return None


def changed(before: Snapshot, after: Snapshot) -> frozenset[str]:
    """Keys that were added, removed or given another value."""
    return frozenset(key for key, _ in before.entries.items() ^ after.entries.items())
