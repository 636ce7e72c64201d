"""What happened to a scope, as lines for people (table) and programs (json, yaml). Pure."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml

from tenantconfig.client.view import Changed, Gone, StaleScope
from tenantconfig.model import Scope


class Printer:
    """Renders events in one format; a table shows what is new against the version before."""

    def __init__(self, output: str) -> None:
        self._output = output
        self._before: dict[Scope, Mapping[str, str]] = {}

    def changed(self, event: Changed) -> str:
        snapshot = event.snapshot
        if self._output == "table":
            before = self._before.get(snapshot.scope)
            self._before[snapshot.scope] = snapshot.entries
            return _table(event, before)
        document = {
            "scope": _scope(snapshot.scope),
            "revision": snapshot.version.revision,
            "digest": snapshot.version.digest,
            "entries": dict(snapshot.entries),
            "receivedAt": timestamp(event.received_at),
        }
        return self._document(document)

    def gone(self, event: Gone) -> str:
        reason = "WITHDRAWN" if event.withdrawn else "NOT_FOUND"
        if self._output == "table":
            if event.withdrawn:
                self._before.pop(event.scope, None)
            meaning = "withdrawn: its values no longer apply" if event.withdrawn else "not found"
            return f"{timestamp(event.received_at)}  {event.scope}  {meaning}"
        return self._document(
            {"scope": _scope(event.scope), "absent": reason, "receivedAt": timestamp(event.received_at)}
        )

    def _document(self, document: dict[str, Any]) -> str:
        if self._output == "yaml":
            return "---\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True).rstrip("\n")
        return json.dumps(document, ensure_ascii=False)


def stale_note(stale: StaleScope) -> str:
    """One line that says what may not be the latest."""
    since = f" since {timestamp(stale.verified_as_of)}" if stale.verified_as_of else ""
    return f"scope {stale.scope} may not be at its latest version{since}: {stale.reason}"


def timestamp(time: datetime) -> str:
    """RFC 3339 with microseconds; the time is UTC."""
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _scope(scope: Scope) -> dict[str, str]:
    return {"tenant": scope.tenant, "environment": scope.environment, "service": scope.service}


def _table(event: Changed, before: Mapping[str, str] | None) -> str:
    snapshot = event.snapshot
    version = f"revision {snapshot.version.revision}  digest {snapshot.version.digest[:12]}"
    lines = [f"{timestamp(event.received_at)}  {snapshot.scope}  {version}"]
    entries = snapshot.entries
    width = max((len(key) for key in {*entries, *(before or ())}), default=0)
    for key in sorted(entries):
        mark = " " if before is None or before.get(key) == entries[key] else "~" if key in before else "+"
        lines.append(f"  {mark} {key:<{width}}  {_printable(entries[key])}")
    lines += [f"  - {key}" for key in sorted((before or {}).keys() - entries.keys())]
    return "\n".join(lines)


def _printable(value: str) -> str:
    """A value must neither break the table nor speak to the terminal."""
    return value if value.isprintable() else json.dumps(value)
