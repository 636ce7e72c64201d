"""The worlds of the stores in AWS: what is really in a table or under a path, and others' writes to it."""

import itertools
from typing import Any

from harness.aws import LocalAws, Moto
from tenantconfig.model import Scope
from tenantconfig.stores.dynamodb import DynamoDBStore
from tenantconfig.stores.ssm import OWNER_TAG, REST_SECONDS, Deletions, SSMStore
from tenantconfig.testing import World


class DynamoDBWorld(World):
    def __init__(self, aws: LocalAws, client: Any, direct: Any, table: str) -> None:
        self.aws = aws
        self.store = DynamoDBStore(client, table)
        self.direct = direct  # of the test's own; not recorded
        self.table = table

    def requests(self) -> int:
        return len(self.aws.calls())

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
    atomic = False
    guards_deletions = False
    trusts_records = True
    takes_sensitive = True
    retypes_at_once = False

    def __init__(self, moto: Moto, client: Any, direct: Any, path: str) -> None:
        self.moto = moto
        self.client = client
        clock = itertools.count(step=REST_SECONDS).__next__  # no name has to rest
        self.store = SSMStore(client, path, deletions=Deletions(clock))
        self.direct = direct
        self.path = path

    def requests(self) -> int:
        return len(self.moto.calls())

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

    def sensitive(self, scope: Scope) -> set[str]:
        return {key for key, each in self.parameters(scope).items() if each["Type"] == "SecureString"}

    def overwrite(self, scope: Scope, key: str, text: str) -> None:
        kind = "SecureString" if key in self.sensitive(scope) else "String"  # AWS changes no parameter's type
        self.direct.put_parameter(Name=self.parameter(scope, key), Value=text, Type=kind, Overwrite=True)

    def create_sensitive(self, scope: Scope, key: str, text: str) -> None:
        self.direct.put_parameter(Name=self.parameter(scope, key), Value=text, Type="SecureString")

    def remove(self, scope: Scope, key: str) -> None:
        self.direct.delete_parameter(Name=self.parameter(scope, key))
