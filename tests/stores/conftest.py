"""The stores on real parts: DynamoDB Local, and SSM as moto imitates it."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from harness.aws import REGION, LocalAws, Moto, create_table
from stores.world import DynamoDBWorld, SSMWorld
from tenantconfig.stores.aws import client
from tenantconfig.testing import MemoryWorld, World

_paths = count(1)


def operators_client(service: str, aws: LocalAws) -> Any:
    """A client as the operator makes it, found by boto3's own environment variables."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in aws.environment().items():
            environment.setenv(name, value)
        return client(service, REGION)


@pytest.fixture(scope="session")
def dynamodb_client(dynamodb_local: LocalAws) -> Any:
    return operators_client("dynamodb", dynamodb_local)


@pytest.fixture(scope="session")
def ssm_client(moto: Moto) -> Any:
    return operators_client("ssm", moto)


@pytest.fixture(scope="session")
def table(dynamodb_local: LocalAws) -> str:
    create_table(dynamodb_local.client("dynamodb"), "stores")
    return "stores"


@pytest.fixture(scope="session")
def dynamodb_direct(dynamodb_local: LocalAws) -> Any:
    return dynamodb_local.client("dynamodb")


@pytest.fixture(scope="session")
def ssm_direct(moto: Moto) -> Any:
    return moto.client("ssm")


@pytest.fixture
def dynamodb(
    dynamodb_local: LocalAws, dynamodb_client: Any, dynamodb_direct: Any, table: str
) -> Iterator[DynamoDBWorld]:
    dynamodb_local.reset_calls()
    yield DynamoDBWorld(dynamodb_local, dynamodb_client, dynamodb_direct, table)
    dynamodb_local.reset_calls()


@pytest.fixture
def ssm(moto: Moto, ssm_client: Any, ssm_direct: Any) -> Iterator[SSMWorld]:
    moto.reset_calls()
    yield SSMWorld(moto, ssm_client, ssm_direct, f"/stores-{next(_paths)}")
    moto.reset_calls()


@pytest.fixture(params=["memory", "dynamodb", "ssm"])
def world(request: pytest.FixtureRequest) -> World:
    """Each store in turn."""
    if request.param == "memory":
        return MemoryWorld()
    made: World = request.getfixturevalue(request.param)
    return made
