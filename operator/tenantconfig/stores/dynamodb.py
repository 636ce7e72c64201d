"""Values in a DynamoDB table: strongly consistent reads, fenced transactional writes.

Theory of operation. A scope has one item for each entry and a head item, which
names the owner and counts an epoch. Every transaction of a change, not only the
last, updates the head under the condition that owner and epoch are still those
that were read (or that the transaction before it wrote), and adds one to the
epoch: a writer that was deposed in the meantime fails on its first transaction.

    pk TENANT#acme   sk HEAD#prod#checkout                      owner, epoch, generation, entries
    pk TENANT#acme   sk CONFIG#prod#checkout#tenant_config_max  key, value, format, revision, updatedAt, etag

An item's etag is a hash of its value and revision: a foreign UpdateItem leaves it
wrong. A scope without entries in the table has no head.
"""

import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from botocore.exceptions import HTTPClientError

from tenantconfig.errors import Reason, Stalled, TenantConfigError, Transient
from tenantconfig.model import Format, Scope, Value
from tenantconfig.plan import Changes, Claim, Contents, Delete, Head, Held, Put, written
from tenantconfig.stores import limits
from tenantconfig.stores.aws import FAILURES, translate, translated
from tenantconfig.stores.base import Applied, Gate, always, chunks
from tenantconfig.stores.items import Item, Rows, entry_item, etag, next_revision

MAX_CHANGES = 99  # a transaction takes 100 actions; one is the head's
MAX_TRANSACTION_BYTES = 3_500_000  # AWS: 4 MB
MAX_BATCH_READ = 100


class DynamoDBStore:
    """The store protocol over one table. `client` is a boto3 DynamoDB client."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table
        self._name = f"DynamoDB table {table}"

    def probe(self) -> None:
        with translated(self._name):
            self._client.get_item(TableName=self._table, Key=Rows(Scope("_")).head(), ProjectionExpression="epoch")

    def refuses(self, scope: Scope, key: str, value: Value) -> str:
        return limits.dynamodb(scope, key, value)

    def read(self, scope: Scope, keys: Collection[str], claim: Claim, gate: Gate = always) -> Contents:
        rows = Rows(scope)
        with translated(self._name):
            items = self._get([rows.head(), *(rows.entry(key) for key in sorted(keys))], gate)
            head = next((head_from(item) for item in items if is_head(item)), None)
            unasked = sorted(head.keys - set(keys)) if head and claim.covers(head.owner) else []
            items += self._get([rows.entry(key) for key in unasked], gate)
        entries = [item for item in items if not is_head(item)]
        shown = claim.indifferent  # these are projected as they are
        return Contents({key_of(item): held_from(item, head, shown=key_of(item) in shown) for item in entries}, head)

    def apply(self, scope: Scope, changes: Changes, gate: Gate = always) -> Applied:
        applied = Applied()
        head = changes.head
        try:
            for part in parts(changes):
                after = next_head(head, part, changes)
                self._write(Rows(scope), part, head_action(Rows(scope), head, after, changes.generation), gate)
                head = after
                applied = acknowledge(applied, part, changes)
        except FAILURES as error:
            return replace(applied, error=translate(error, self._name))
        except TenantConfigError as error:
            return replace(applied, error=error)
        return applied

    def shown(self, names: Collection[tuple[Scope, str]]) -> Mapping[tuple[Scope, str], Held]:
        rows = {name: Rows(name[0]).entry(name[1]) for name in names}
        named = {(row["pk"]["S"], row["sk"]["S"]): name for name, row in rows.items()}
        with translated(self._name):
            items = self._get(list(rows.values()), always)
        found = {named[item["pk"]["S"], item["sk"]["S"]]: item for item in items}
        return {name: held_from(item, None, shown=False) for name, item in found.items()}

    def _get(self, keys: list[dict[str, Any]], gate: Gate) -> list[Item]:
        items: list[Item] = []
        for chunk in chunks(keys, MAX_BATCH_READ):
            request: dict[str, Any] = {self._table: {"Keys": chunk, "ConsistentRead": True}}
            for _ in range(MAX_BATCH_READ):  # a batch may come in parts, one item at the least
                gate()
                answer = self._client.batch_get_item(RequestItems=request)
                items += answer["Responses"].get(self._table, [])
                request = answer.get("UnprocessedKeys") or {}
                if not request:
                    break
            else:
                raise Transient(Reason.THROTTLED, f"{self._name}: AWS slows BatchGetItem down")
        return items

    def _write(self, rows: Rows, part: "Part", head: dict[str, Any], gate: Gate) -> None:
        actions = [
            {"Put": put_action(rows, each)} if isinstance(each, Put) else {"Delete": delete_action(rows, each)}
            for each in part
        ]
        for action in (*actions, head):
            next(iter(action.values()))["TableName"] = self._table
        request = {"TransactItems": [*actions, head], "ClientRequestToken": str(uuid.uuid4())}
        gate()
        try:
            self._client.transact_write_items(**request)
        except HTTPClientError:  # the answer is lost, perhaps not the write: the same token makes asking again safe
            gate()
            self._client.transact_write_items(**request)


Part = tuple[Put | Delete, ...]


def parts(changes: Changes) -> Iterator[Part]:
    """The changes in runs that fit a transaction; one empty run when only ownership changes.

    Puts and deletes alternate, so that the head never lists many more entries than a resource may have.
    """
    run: list[Put | Delete] = []
    size = 0
    pairs = zip_longest(changes.puts, changes.deletes)
    for each in (each for pair in pairs for each in pair if each):
        weight = 1024 + sum(len(text.encode()) for text in texts(each))
        if run and (len(run) == MAX_CHANGES or size + weight > MAX_TRANSACTION_BYTES):
            yield tuple(run)
            run, size = [], 0
        run.append(each)
        size += weight
    if run or changes:
        yield tuple(run)


def texts(change: Put | Delete) -> list[str]:
    """What a change sends: the new value, and the one that it is conditional on."""
    held = change.replaces if isinstance(change, Put) else change.held
    return [*([change.value.text] if isinstance(change, Put) else []), *([held.text] if held else [])]


def next_head(head: Head | None, part: Part, changes: Changes) -> Head:
    """The head after `part`."""
    keys = (set(head.keys) if head else set()) - set(changes.releases) | {each.key for each in changes.claims}
    keys |= {each.key for each in part if isinstance(each, Put) and each.owned}
    keys -= {each.key for each in part if isinstance(each, Delete) or not each.owned}
    return Head(changes.owner, (head.epoch if head else 0) + 1, frozenset(keys))


def acknowledge(applied: Applied, part: Part, changes: Changes) -> Applied:
    """`applied` with a part that was written. What is released the first part's head lists no more."""
    puts = [each for each in part if isinstance(each, Put)]
    held = {put.key: replace(written(put, str(next_revision(put)), changes.owner), pristine=True) for put in puts}
    deleted = {each.key for each in part if isinstance(each, Delete)}
    return Applied({**applied.held, **held}, applied.deleted | deleted, frozenset(changes.releases))


def is_head(item: Item) -> bool:
    return str(item["sk"]["S"]).startswith("HEAD#")


def key_of(item: Item) -> str:
    """From the sort key: an item that someone made by hand may lack the attribute."""
    return str(item["sk"]["S"]).split("#", 3)[3]


def text_of(item: Item, *, shown: bool) -> str:
    """The value as text; nothing but a string is ours, but a number or a truth value that others wrote can be shown."""
    value: Mapping[str, Any] = item.get("value", {})
    if not shown and "S" not in value:
        return ""
    if not value:
        message = f"the item of {key_of(item)} has no attribute value: give it one there"
        raise Stalled(Reason.STORE_FAILED, message)
    if "BOOL" in value:
        return "true" if value["BOOL"] else "false"
    if value.keys() - {"S", "N"}:
        message = f"the value of {key_of(item)} is of the DynamoDB type {min(value)}: make it a string there"
        raise Stalled(Reason.STORE_FAILED, message)
    return str(value.get("S", value.get("N", "")))


def head_from(item: Item) -> Head:
    try:
        return Head(item["owner"]["S"], int(item["epoch"]["N"]), frozenset(item.get("entries", {}).get("SS", ())))
    except (KeyError, ValueError):
        message = f"the item {item['sk']['S']} of {item['pk']['S']} is damaged: give it its owner and epoch again"
        raise Stalled(Reason.STORE_FAILED, message) from None


def held_from(item: Item, head: Head | None, *, shown: bool = True) -> Held:
    """What an item holds. Raises Stalled if it is no text, though it is to be `shown`."""
    key, text = key_of(item), text_of(item, shown=shown)
    revision = item.get("revision", {}).get("N", "")
    intact = "S" in item.get("value", {}) and item.get("etag", {}).get("S") == etag(text, revision)
    return Held(
        text=text,
        version=revision,
        format=Format.JSON if item.get("format", {}).get("S") == Format.JSON else Format.TEXT,
        owner=head.owner if head and key in head.keys else "",
        intact=intact,
        pristine=intact,
    )


def put_action(rows: Rows, put: Put) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"Item": entry_item(rows, put, now), **unchanged(put.replaces)}


def delete_action(rows: Rows, delete: Delete) -> dict[str, Any]:
    return {"Key": rows.entry(delete.key), **(unchanged(delete.held) or same_text(delete.held))}


def unchanged(held: Held | None) -> dict[str, Any]:
    """The condition that an item is still as it was read.

    One that was written past us is overwritten whatever it says by now: the head fences this.
    """
    if held is None:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    if not held.intact:
        return {}
    return {
        "ConditionExpression": "etag = :etag AND #value = :value",  # a foreign UpdateItem leaves the etag
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {":etag": {"S": etag(held.text, held.version)}, ":value": {"S": held.text}},
    }


def same_text(held: Held) -> dict[str, Any]:
    """The condition that an item that was written past us still says what was read; what is no text is no one's."""
    return {
        "ConditionExpression": "#value = :value OR NOT attribute_type(#value, :text)",
        "ExpressionAttributeNames": {"#value": "value"},
        "ExpressionAttributeValues": {":value": {"S": held.text}, ":text": {"S": "S"}},
    }


def head_action(rows: Rows, head: Head | None, after: Head, generation: int) -> dict[str, Any]:
    """Write `after` (or, without entries, remove the head) if the head is still `head`."""
    condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
    if head:
        condition = {
            "ConditionExpression": "#owner = :owner AND epoch = :epoch",
            "ExpressionAttributeNames": {"#owner": "owner"},
            "ExpressionAttributeValues": {":owner": {"S": head.owner}, ":epoch": {"N": str(head.epoch)}},
        }
    if not after.keys:
        return {"Delete": {"Key": rows.head(), **condition}}
    item = {
        **rows.head(),
        "owner": {"S": after.owner},
        "epoch": {"N": str(after.epoch)},
        "generation": {"N": str(generation)},
        "entries": {"SS": sorted(after.keys)},
    }
    return {"Put": {"Item": item, **condition}}
