"""The local AWS servers count calls and fail on request."""

import pytest
from botocore.exceptions import ClientError

from harness.aws import LocalAws, Moto, create_table


def test_calls_are_recorded_with_their_parameters(moto: Moto) -> None:
    moto.reset_calls()
    ssm = moto.client("ssm", recorded=True)
    ssm.put_parameter(Name="/recorded/one", Value="1", Type="String")
    moto.client("ssm").get_parameter(Name="/recorded/one")
    moto.client("sts", recorded=True).get_caller_identity()

    assert moto.calls() == ["PutParameter", "GetCallerIdentity"]
    assert [call.parameters["Name"] for call in moto.recorded("PutParameter")] == ["/recorded/one"]


def test_a_fault_concerns_only_its_operation_and_is_used_up(moto: Moto) -> None:
    moto.reset_calls()
    moto.fail("PutParameter", "AccessDeniedException")
    ssm = moto.client("ssm", recorded=True)
    assert ssm.get_parameters(Names=["/faulty"])["InvalidParameters"] == ["/faulty"]
    with pytest.raises(ClientError, match="AccessDeniedException"):
        ssm.put_parameter(Name="/faulty", Value="1", Type="String")
    assert ssm.put_parameter(Name="/faulty", Value="1", Type="String")["Version"] == 1


def test_dynamodb_honours_conditions(dynamodb_local: LocalAws) -> None:
    client = dynamodb_local.client("dynamodb", recorded=True)
    create_table(dynamodb_local.client("dynamodb"), "conditions")
    dynamodb_local.reset_calls()
    put = {
        "TableName": "conditions",
        "Item": {"pk": {"S": "a"}, "sk": {"S": "b"}},
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    client.put_item(**put)
    with pytest.raises(client.exceptions.ConditionalCheckFailedException):
        client.put_item(**put)
    assert dynamodb_local.calls() == ["PutItem", "PutItem"]
