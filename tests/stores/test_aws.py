"""Clients of AWS as the operator makes them, and the one table from AWS's errors to ours."""

from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ReadTimeoutError,
)

from harness.aws import REGION, Moto
from stores.world import SSMWorld
from tenantconfig.errors import Conflict, Reason, Stalled, TenantConfigError, Transient
from tenantconfig.leadership import LEASE_SECONDS, RENEW_DEADLINE_SECONDS
from tenantconfig.stores import aws
from tenantconfig.stores.ssm import SSMStore
from tenantconfig.testing import Resource, enforce, new_scope


def cancelled(*codes: str) -> ClientError:
    """A transaction that was cancelled for these reasons, one for each of its actions."""
    response: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": "hush"},
        "CancellationReasons": [{"Code": code, "Message": "hush"} for code in codes],
    }
    return ClientError(response, "TransactWriteItems")


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "hush"}}, "PutParameter")


@pytest.mark.parametrize(
    ("error", "kind", "reason", "said"),
    [
        (cancelled("None", "ConditionalCheckFailed"), Conflict, Reason.CONFLICT, "ConditionalCheckFailed"),
        (cancelled("TransactionConflict", "None"), Conflict, Reason.CONFLICT, "TransactionConflict"),
        (cancelled("ThrottlingError"), Transient, Reason.THROTTLED, "ThrottlingError"),
        (
            cancelled("ProvisionedThroughputExceeded", "ConditionalCheckFailed"),
            Transient,
            Reason.THROTTLED,
            "ProvisionedThroughputExceeded",
        ),
        (cancelled("ValidationError", "ConditionalCheckFailed"), Stalled, Reason.STORE_FAILED, "ValidationError"),
        (cancelled("ItemCollectionSizeLimitExceeded"), Stalled, Reason.STORE_FAILED, "ItemCollectionSizeLimitExceeded"),
        (cancelled(), Transient, Reason.STORE_FAILED, "TransactionCanceledException"),
        (refused("TransactionInProgressException"), Transient, Reason.STORE_FAILED, "TransactionInProgressException"),
        (refused("InvalidSignatureException"), Transient, Reason.ACCESS_DENIED, "InvalidSignatureException"),
        (refused("AccessDenied"), Transient, Reason.ACCESS_DENIED, "AccessDenied"),
        (refused("SomethingNew"), Transient, Reason.STORE_FAILED, "SomethingNew"),
        (ClientError({}, "PutParameter"), Transient, Reason.STORE_FAILED, "unknown"),
        (NoCredentialsError(), Transient, Reason.ACCESS_DENIED, "no usable AWS credentials"),
        (
            PartialCredentialsError(provider="env", cred_var="hush"),
            Transient,
            Reason.ACCESS_DENIED,
            "no usable AWS credentials",
        ),
        (
            EndpointConnectionError(endpoint_url="http://hush"),
            Transient,
            Reason.STORE_FAILED,
            "could not be asked (EndpointConnectionError)",
        ),
        (
            ConnectTimeoutError(endpoint_url="http://hush"),
            Transient,
            Reason.STORE_FAILED,
            "could not be asked (ConnectTimeoutError)",
        ),
        (
            ReadTimeoutError(endpoint_url="http://hush"),
            Transient,
            Reason.STORE_FAILED,
            "did not answer (ReadTimeoutError)",
        ),
        (ParamValidationError(report="hush"), Transient, Reason.STORE_FAILED, "ParamValidationError"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)
def test_each_error_of_aws_is_one_of_ours_and_repeats_nothing(
    error: Any, kind: type[TenantConfigError], reason: Reason, said: str
) -> None:
    ours = aws.translate(error, "SSM path /x")
    assert type(ours) is kind
    assert ours.reason is reason
    assert said in ours.message
    assert ours.message.startswith("SSM path /x")
    assert "hush" not in ours.message


def test_a_tier_that_cannot_go_back_is_explained() -> None:
    said = "You can't downgrade a parameter from the advanced-parameter tier to the standard-parameter tier."
    error = ClientError({"Error": {"Code": "ValidationException", "Message": said}}, "PutParameter")
    assert "set spec.ssm.tier to Advanced" in aws.translate(error, "SSM path /x").message


def test_an_error_names_the_operation() -> None:
    assert "PutParameter" in aws.translate(refused("AccessDeniedException"), "x").message


def test_what_is_translated_keeps_its_cause() -> None:
    cause = refused("ThrottlingException")
    with pytest.raises(Transient) as caught, aws.translated("x"):
        raise cause
    assert caught.value.__cause__ is cause


def test_other_exceptions_are_defects_and_pass() -> None:
    with pytest.raises(KeyError), aws.translated("x"):
        raise KeyError


def test_a_call_cannot_outlive_the_lease_under_which_it_began() -> None:
    limits: Any = aws.LIMITS
    assert limits.retries["total_max_attempts"] == 1
    assert limits.connect_timeout + limits.read_timeout < LEASE_SECONDS - RENEW_DEADLINE_SECONDS


def test_a_call_is_tried_once(moto: Moto, ssm: SSMWorld) -> None:
    moto.fail("GetParameters", "ThrottlingException", times=5)
    with pytest.raises(Transient):
        ssm.store.probe()
    assert moto.calls() == ["GetParameters"]


def test_a_server_that_is_not_there_is_transient(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_tcp_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    store = SSMStore(aws.client("ssm", REGION), "/x")
    with pytest.raises(Transient, match="could not be asked") as caught:
        store.probe()
    assert caught.value.reason is Reason.STORE_FAILED
    resource = Resource(SSMStore(aws.client("ssm", REGION), "/x"), new_scope())
    with pytest.raises(Transient):
        resource.read(enforce("a", "1"))


def test_without_credentials_the_message_says_so(monkeypatch: pytest.MonkeyPatch, moto: Moto) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto.endpoint)
    with pytest.raises(Transient, match="no usable AWS credentials") as caught:
        SSMStore(aws.client("ssm", REGION), "/x").probe()
    assert caught.value.reason is Reason.ACCESS_DENIED
