"""The shape of a scope's items in DynamoDB, and their size (see dynamodb). Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenantconfig.model import Scope
from tenantconfig.plan import Put

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """Keys of a scope's items."""

    scope: Scope

    def _sk(self, kind: str, *more: str) -> dict[str, Any]:
        parts = (kind, self.scope.environment or "_", self.scope.service or "_", *more)
        return {"pk": {"S": f"TENANT#{self.scope.tenant}"}, "sk": {"S": "#".join(parts)}}

    def head(self) -> dict[str, Any]:
        return self._sk("HEAD")

    def entry(self, key: str) -> dict[str, Any]:
        return self._sk("CONFIG", key)


def entry_item(rows: Rows, put: Put, updated_at: str) -> Item:
    """The item of an entry; `updated_at` is RFC 3339 in seconds."""
    revision = str(next_revision(put))
    return {
        **rows.entry(put.key),
        "key": {"S": put.key},
        "value": {"S": put.value.text},
        "format": {"S": put.value.format.value},
        "revision": {"N": revision},
        "updatedAt": {"S": updated_at},
        "etag": {"S": etag(put.value.text, revision)},
    }


def item_bytes(item: Item) -> int:
    """The size of an item of texts and numbers, as DynamoDB counts it: names, UTF-8, two digits a byte.

    Any number counts as one of 38 digits, the longest there is: revisions grow.
    """
    return sum(len(name) + (21 if "N" in each else len(each["S"].encode())) for name, each in item.items())


def next_revision(put: Put) -> int:
    """Revisions of an item count from 1; one whose own count was damaged begins again."""
    return (int(put.replaces.version) if put.replaces and put.replaces.version.isdecimal() else 0) + 1


def etag(text: str, revision: str) -> str:
    return hashlib.sha256(f"{revision}\n{text}".encode()).hexdigest()
