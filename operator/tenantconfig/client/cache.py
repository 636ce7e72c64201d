"""The last version of each scope in a directory, so that a pod starts while the servers are down."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tenantconfig.model import Scope, Snapshot, Version, digest

LARGEST_REVISION = 2**63 - 1  # that the protocol can say


@dataclass(frozen=True, slots=True)
class LastKnownGood:
    """Files that only their owner can read, replaced as a whole, and believed only if their digest fits."""

    directory: Path

    def load(self, scope: Scope) -> Snapshot | None:
        """What was saved of a scope; None when there is nothing, or nothing that can be believed."""
        try:
            saved = json.loads(self._file(scope).read_bytes())
            version = Version(int(saved["revision"]), str(saved["digest"]))
            entries = {str(key): str(text) for key, text in saved["entries"].items()}
            good = 0 < version.revision <= LARGEST_REVISION and digest(entries) == version.digest
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        return Snapshot(scope, version, entries) if good else None

    def save(self, snapshot: Snapshot) -> None:
        """Raises OSError."""
        file, version = self._file(snapshot.scope), snapshot.version
        content = {"revision": version.revision, "digest": version.digest, "entries": dict(snapshot.entries)}
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Of mode 0600; UTF-8 whatever the locale is.
        with tempfile.NamedTemporaryFile("w", dir=self.directory, prefix=".", delete=False, encoding="utf-8") as new:
            try:
                json.dump(content, new, ensure_ascii=False)
                new.flush()
                os.fsync(new.fileno())
                Path(new.name).replace(file)
            except BaseException:
                Path(new.name).unlink(missing_ok=True)
                raise

    def drop(self, scope: Scope) -> None:
        """Forget a scope. Raises OSError."""
        self._file(scope).unlink(missing_ok=True)

    def _file(self, scope: Scope) -> Path:
        return self.directory / f"{str(scope).replace('/', '.')}.json"  # no part of a scope has a dot
