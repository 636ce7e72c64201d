"""What was projected, in the order in which the API server has it: a record to judge clients by.

kubectl keeps it, with one watch, while the test does other things. One watch
brings the ConfigMaps and the tick among them in the order in which they were
written, so that no clocks need to be compared to tell what a tick vouches for.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from harness.controlplane import ControlPlane
from harness.processes import Process
from tenantconfig.model import LABEL_TENANT, Scope, Version

KEY = "extra_count"  # the entry whose value tells the test's own changes apart
FIELDS = (
    *(f"labels.tenantconfig\\.dev/{dimension}" for dimension in ("tenant", "environment", "service")),
    *(f"annotations.tenantconfig\\.dev/{name}" for name in ("revision", "digest")),
)
COLUMNS = [f".object.metadata.{field}" for field in FIELDS] + [f".object.data.{KEY}", ".object.data.freshAsOf"]
LINE = "|".join(f"{{{column}}}" for column in COLUMNS) + '{"\\n"}'


@dataclass(frozen=True, slots=True)
class Projected:
    """A version of a scope; `order` grows with each write of any object."""

    order: int
    version: Version


class Projections:
    """The versions of all scopes, and the ticks, from the start on."""

    def __init__(self, process: Process | None = None) -> None:
        self.process = process
        self.ticks: list[tuple[datetime, int]] = []  # what each vouches for, up to its order
        self.counts: dict[tuple[Scope, Version], int] = {}  # of every version that there was
        self._versions: defaultdict[Scope, list[Projected]] = defaultdict(list)
        self._order = 0
        self._read = 0

    @classmethod
    def watched(cls, plane: ControlPlane, log: Path) -> Self:
        """Kept by a kubectl of its own, from before the first of them is written."""
        flags = ["--all-namespaces", f"--selector={LABEL_TENANT}", "--watch", "--output-watch-events"]
        return cls(plane.start_kubectl(log, "get", "configmaps", *flags, f"--output=jsonpath={LINE}"))

    def read(self) -> None:
        """Take what has been written since."""
        assert self.process
        lines = self.process.log.read_text()[self._read :].rpartition("\n")[0]
        self._read += len(lines) + 1 if lines else 0
        for line in lines.splitlines():
            self.take(*line.split("|"))

    def take(
        self, tenant: str, environment: str, service: str, revision: str, digest: str, count: str, fresh_as_of: str
    ) -> None:
        """Take one write, by its columns."""
        self._order += 1
        if fresh_as_of:
            as_of = datetime.fromisoformat(fresh_as_of)
            if not self.ticks or self.ticks[-1][0] < as_of:
                self.ticks.append((as_of, self._order))
        else:
            scope, version = Scope(tenant, environment, service), Version(int(revision), digest)
            self._versions[scope].append(Projected(self._order, version))
            self.counts[scope, version] = int(count)

    def latest(self, scope: Scope) -> Version | None:
        """The version that was written last; None when there is none."""
        return self._versions[scope][-1].version if self._versions[scope] else None

    def due(self, scope: Scope, as_of: datetime) -> int:
        """The revision that a client holds at least when all that it holds is the latest as of a time.

        That is what was written before the first tick that is not earlier.
        """
        after = bisect_left(self.ticks, as_of, key=lambda tick: tick[0])
        order = self.ticks[after][1] if after < len(self.ticks) else self._order + 1
        versions = self._versions[scope]
        before = bisect_left(versions, order, key=lambda each: each.order)
        return versions[before - 1].version.revision if before else 0
