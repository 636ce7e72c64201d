"""The three stores as the contract suite sees them, and a resource that lives on one.

A World is a store with the means to look at what is really there, and to change
it as someone else would: past us. A Resource remembers between passes what a
status would record.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from tenantconfig.model import Format, Policy, Scope, Value
from tenantconfig.plan import Changes, Claim, Contents, Desired, Held, overlay, plan, plan_release
from tenantconfig.stores.base import Applied, Store
from tenantconfig.stores.dynamodb import DynamoDBStore
from tenantconfig.stores.memory import MemoryStore
from tenantconfig.stores.ssm import OWNER_TAG, REST_SECONDS, Deletions, SSMStore

LONGEST_SCOPE = Scope("t" * 63, "e" * 63, "s" * 63)
CLUSTER = "cluster-1"
_numbers = itertools.count(1)


def new_scope(environment: str = "prod", service: str = "checkout") -> Scope:
    """A scope that no other test uses."""
    return Scope(f"acme-{next(_numbers)}", environment, service)


def owner(name: str = "checkout", uid: str = "uid-1", cluster: str = CLUSTER) -> str:
    """An owner as the operator writes it."""
    return f"{cluster}/acme/{name}/{uid}"


class World(ABC):
    """One store, and what is behind it."""

    name: str
    store: Store
    atomic = True  # nothing of a set of changes happens unless all of it can
    takes_sensitive = False

    @abstractmethod
    def texts(self, scope: Scope) -> dict[str, str]:
        """Everything that is there, read past the store."""

    @abstractmethod
    def owners(self, scope: Scope) -> dict[str, str]:
        """Who owns what: by key, and for a head (under "") the scope. What nobody owns is left out."""

    @abstractmethod
    def overwrite(self, scope: Scope, key: str, text: str) -> None:
        """Someone else writes, who knows nothing of owners."""

    @abstractmethod
    def remove(self, scope: Scope, key: str) -> None:
        """Someone else deletes."""


class MemoryWorld(World):
    name = "memory"

    def __init__(self) -> None:
        self.store = self.memory = MemoryStore()

    def texts(self, scope: Scope) -> dict[str, str]:
        return {key: held.text for (place, key), held in self.memory.rows.items() if place == scope}

    def owners(self, scope: Scope) -> dict[str, str]:
        rows = self.memory.rows.items()
        return {key: held.owner for (place, key), held in rows if place == scope and held.owner}

    def overwrite(self, scope: Scope, key: str, text: str) -> None:
        held = self.memory.rows.get((scope, key))
        version = f"foreign-{next(_numbers)}"
        self.memory.rows[scope, key] = (
            replace(held, text=text, version=version, pristine=False) if held else Held(text, version)
        )

    def remove(self, scope: Scope, key: str) -> None:
        del self.memory.rows[scope, key]


class DynamoDBWorld(World):
    name = "dynamodb"

    def __init__(self, client: Any, direct: Any, table: str) -> None:
        self.store = DynamoDBStore(client, table)
        self.direct = direct  # of the test's own; not recorded
        self.table = table

    def items(self, scope: Scope) -> dict[str, dict[str, Any]]:
        """All items of a scope by sort key."""
        pages = self.direct.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"TENANT#{scope.tenant}"}},
            ConsistentRead=True,
        )
        middle = f"#{scope.environment or '_'}#{scope.service or '_'}"
        items = (item for page in pages for item in page["Items"])
        return {item["sk"]["S"]: item for item in items if middle in item["sk"]["S"]}

    def head(self, scope: Scope) -> dict[str, Any] | None:
        return next((item for sk, item in self.items(scope).items() if sk.startswith("HEAD#")), None)

    def texts(self, scope: Scope) -> dict[str, str]:
        items = self.items(scope).items()
        return {item["key"]["S"]: item["value"]["S"] for sk, item in items if sk.startswith("CONFIG#")}

    def owners(self, scope: Scope) -> dict[str, str]:
        head = self.head(scope)
        return dict.fromkeys(["", *head["entries"]["SS"]], head["owner"]["S"]) if head else {}

    def row(self, scope: Scope, key: str) -> dict[str, Any]:
        sk = f"CONFIG#{scope.environment or '_'}#{scope.service or '_'}#{key}"
        return {"pk": {"S": f"TENANT#{scope.tenant}"}, "sk": {"S": sk}}

    def overwrite(self, scope: Scope, key: str, text: str) -> None:
        self.direct.update_item(
            TableName=self.table,
            Key=self.row(scope, key),
            UpdateExpression="SET #value = :text, #key = :key",
            ExpressionAttributeNames={"#value": "value", "#key": "key"},
            ExpressionAttributeValues={":text": {"S": text}, ":key": {"S": key}},
        )

    def remove(self, scope: Scope, key: str) -> None:
        self.direct.delete_item(TableName=self.table, Key=self.row(scope, key))


class SSMWorld(World):
    name = "ssm"
    atomic = False
    takes_sensitive = True

    def __init__(self, client: Any, direct: Any, path: str, tier: str = "Standard", kms_key: str = "") -> None:
        self.store = SSMStore(client, path, tier, kms_key, Deletions(itertools.count(step=REST_SECONDS).__next__))
        self.direct = direct
        self.path = path

    def parameter(self, scope: Scope, key: str) -> str:
        return f"{self.path}/{scope}/{key}"

    def parameters(self, scope: Scope) -> dict[str, dict[str, Any]]:
        pages = self.direct.get_paginator("get_parameters_by_path").paginate(
            Path=f"{self.path}/{scope}", WithDecryption=True
        )
        return {each["Name"].rpartition("/")[2]: each for page in pages for each in page["Parameters"]}

    def texts(self, scope: Scope) -> dict[str, str]:
        return {key: each["Value"] for key, each in self.parameters(scope).items()}

    def tags(self, scope: Scope, key: str) -> dict[str, str]:
        name = self.parameter(scope, key)
        tags = self.direct.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        return {tag["Key"]: tag["Value"] for tag in tags}

    def owners(self, scope: Scope) -> dict[str, str]:
        tags = {key: self.tags(scope, key) for key in self.texts(scope)}
        return {key: each[OWNER_TAG] for key, each in tags.items() if OWNER_TAG in each}

    def overwrite(self, scope: Scope, key: str, text: str) -> None:
        self.direct.put_parameter(Name=self.parameter(scope, key), Value=text, Type="String", Overwrite=True)

    def remove(self, scope: Scope, key: str) -> None:
        self.direct.delete_parameter(Name=self.parameter(scope, key))


def enforce(key: str, text: str, format: Format = Format.TEXT, *, sensitive: bool = False) -> Desired:
    return Desired(key, Policy.ENFORCE, Value(text, format, sensitive))


def seed(key: str, text: str) -> Desired:
    return Desired(key, Policy.SEED, Value(text))


def observe(key: str) -> Desired:
    return Desired(key, Policy.OBSERVE)


@dataclass
class Resource:
    """What wants something of a store, with the memory that its status is."""

    store: Store
    scope: Scope
    owner: str = field(default_factory=owner)
    adopt: str = ""
    policies: dict[str, Policy] = field(default_factory=dict)
    trusted: dict[str, str] = field(default_factory=dict)

    def claim(self, desired: Iterable[Desired]) -> Claim:
        desired = tuple(desired)
        enforced = {each.key for each in desired if each.policy is Policy.ENFORCE}
        return Claim(
            self.owner,
            generation=1,
            adopt=self.adopt,
            policies=dict(self.policies),
            trusted=dict(self.trusted),
            indifferent=frozenset(each.key for each in desired) - enforced,
        )

    def read(self, *desired: Desired) -> Contents:
        keys = {each.key for each in desired} | self.policies.keys()
        return self.store.read(self.scope, keys, self.claim(desired))

    def plan(self, *desired: Desired) -> Changes:
        return plan(desired, self.read(*desired), self.claim(desired))

    def bring(self, *desired: Desired) -> dict[str, Held]:
        """One pass: read, plan, apply, remember. Returns what the store holds now of what is desired."""
        contents = self.read(*desired)
        changes = plan(desired, contents, self.claim(desired))
        applied = self.apply(changes)
        assert applied.error is None
        held = overlay(contents, applied.held, applied.deleted)
        self.policies = {each.key: each.policy for each in desired}
        enforced = [each.key for each in desired if each.policy is Policy.ENFORCE]
        self.trusted = {key: held[key].version for key in enforced if key in held}
        return {key: each for key, each in held.items() if key in self.policies}

    def apply(self, changes: Changes) -> Applied:
        """Nothing is asked of the store when there is nothing to do."""
        return self.store.apply(self.scope, changes) if changes else Applied()

    def retain(self) -> None:
        """Deletion with deletionPolicy Retain."""
        applied = self.apply(plan_release(self.read(), self.claim(())))
        assert applied.error is None
