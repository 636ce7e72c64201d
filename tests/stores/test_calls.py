"""What an operation costs in AWS calls, as the documentation has it."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.aws import LocalAws, Moto
from stores.world import DynamoDBWorld, SSMWorld
from tenantconfig.testing import Resource, enforce, new_scope

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stores.md"
COLUMN = re.compile(r"(DynamoDB|SSM), (\d+) keys")


def documented() -> dict[tuple[str, str, int], Counter[str]]:
    """The page's table, by operation, store and number of keys."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    header = next(row for row in rows if len(row) == 5 and COLUMN.fullmatch(row[1]))
    columns = [(match[1], int(match[2])) for cell in header[1:] if (match := COLUMN.fullmatch(cell))]
    operations = rows[rows.index(header) + 2 :][:4]
    return {
        (operation[0], *column): Counter({name: int(count) for count, name in re.findall(r"(\d+) (\w+)", cell)})
        for operation in operations
        for column, cell in zip(columns, operation[1:], strict=True)
    }


def keys(count: int, last: str = "1") -> list[Any]:
    return [enforce(f"key-{number:03}", last if number == count - 1 else "1") for number in range(count)]


OPERATIONS: dict[str, Callable[[Resource, int], object]] = {
    "create": lambda resource, count: resource.bring(*keys(count)),
    "update one key": lambda resource, count: resource.bring(*keys(count, last="2")),
    "nothing to do": lambda resource, count: resource.bring(*keys(count, last="2")),
    "delete": lambda resource, count: resource.bring(),
}


def measured(aws: LocalAws, resource: Resource, count: int) -> dict[str, Counter[str]]:
    """The calls of each operation, one after the other."""
    calls = {}
    for name, operation in OPERATIONS.items():
        aws.reset_calls()
        operation(resource, count)
        calls[name] = aws.call_counts()
    return calls


@pytest.mark.parametrize("count", [10, 300])
def test_dynamodb_costs_what_the_table_says(dynamodb_local: LocalAws, dynamodb: DynamoDBWorld, count: int) -> None:
    calls = measured(dynamodb_local, Resource(dynamodb.store, new_scope()), count)
    assert calls == {name: documented()[name, "DynamoDB", count] for name in OPERATIONS}


@pytest.mark.parametrize("count", [10, 300])
def test_ssm_costs_what_the_table_says(moto: Moto, ssm: SSMWorld, count: int) -> None:
    calls = measured(moto, Resource(ssm.store, new_scope()), count)
    assert calls == {name: documented()[name, "SSM", count] for name in OPERATIONS}
