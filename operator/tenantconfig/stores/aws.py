"""What the AWS stores share: clients with explicit limits, and one table from AWS's errors to ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from tenantconfig.errors import Conflict, Reason, Stalled, TenantConfigError, Transient

# One attempt, and connect plus read time below 5 s: a write must not outlive the
# lease under which it was started (leadership.py: duration less renew deadline).
# A pass repeats what failed, from a fresh read.
READ_SECONDS = 3
Failure = ClientError | BotoCoreError | ResponseParserError  # the last: what answered was not AWS
FAILURES = (ClientError, BotoCoreError, ResponseParserError)
LIMITS = Config(
    connect_timeout=1.5,
    read_timeout=READ_SECONDS,
    retries={"mode": "standard", "total_max_attempts": 1},
    max_pool_connections=32,
    user_agent_extra="tenantconfig",
)

CONFLICTS = {"ConditionalCheckFailed", "ConditionalCheckFailedException", "TransactionConflict"} | {
    "TransactionConflictException",
    "ParameterAlreadyExists",
    "ParameterNotFound",
    "InvalidResourceId",  # tags of a parameter that is gone
    "HierarchyTypeMismatchException",  # its type is another than the one that was read
    "TooManyUpdates",
}
THROTTLES = {"ThrottlingException", "Throttling", "ThrottlingError", "RequestLimitExceeded"} | {
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
}
DENIALS = {
    "AccessDenied",
    "AccessDeniedException",
    "UnrecognizedClientException",
    "ExpiredTokenException",
    "InvalidSignatureException",
    "InvalidKeyId",
}
MISSING_PLACES = {"ResourceNotFoundException"}
REFUSALS = {
    "ValidationException",
    "ValidationError",
    "UnsupportedParameterType",
    "ParameterMaxVersionLimitExceeded",
    "ParameterLimitExceeded",
    "HierarchyLevelLimitExceededException",
    "TooManyTagsError",
    "ItemCollectionSizeLimitExceeded",
}
REMEDIES = {
    "downgrade a parameter": ": a parameter of tier Advanced does not become Standard; set spec.ssm.tier to Advanced",
}


def client(service: str, region: str | None, credentials: Credentials | None = None, wait_seconds: float = 0.0) -> Any:
    """A boto3 client; without `credentials` it finds those of the environment.

    AWS may take `wait_seconds` longer over an answer than it takes to give one: a long poll.
    """
    session = botocore.session.get_session()
    if credentials:
        session._credentials = credentials  # type: ignore[attr-defined]
    config = LIMITS.merge(Config(read_timeout=READ_SECONDS + wait_seconds))
    # The service is not a literal here.
    return boto3.Session(botocore_session=session, region_name=region).client(service, config=config)  # type: ignore[call-overload]


def account(role: str) -> str:
    """The account that calls under `role`, or without one, reach. Raises Transient when AWS does not tell."""
    if role:
        return role.split(":")[4]
    with translated("AWS STS"):
        return str(client("sts", None).get_caller_identity()["Account"])


def default_region() -> str:
    """The region of the controller's environment; empty if it names none."""
    return boto3.Session().region_name or ""


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Raise our errors in the place of AWS's; `place` names the table or path for the message."""
    try:
        yield
    except FAILURES as error:
        raise translate(error, place) from error


def translate(error: Failure, place: str) -> TenantConfigError:
    """Our error for one of AWS's. Messages name the place and AWS's code, never a parameter or a value."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return Transient(
            Reason.ACCESS_DENIED, f"{place}: there are no usable AWS credentials in the operator's environment"
        )
    if not isinstance(error, ClientError):
        what = "did not answer" if isinstance(error, HTTPClientError) else "could not be asked"
        return Transient(Reason.STORE_FAILED, f"{place} {what} ({type(error).__name__})")
    codes = _codes(error)
    operation = error.operation_name
    if codes & DENIALS:
        return Transient(Reason.ACCESS_DENIED, f"{place}: AWS refuses {operation} ({_one(codes & DENIALS)})")
    if codes & REFUSALS:
        said = str(error.response.get("Error", {}).get("Message"))  # not repeated: it may quote a value
        hint = next((hint for words, hint in REMEDIES.items() if words in said), "")
        return Stalled(Reason.STORE_FAILED, f"{place}: AWS cannot do {operation} ({_one(codes & REFUSALS)}){hint}")
    if codes & MISSING_PLACES:
        return Transient(Reason.STORE_FAILED, f"{place} does not exist: create it, or correct the ConfigStore")
    if codes & THROTTLES:
        return Transient(Reason.THROTTLED, f"{place}: AWS slows {operation} down ({_one(codes & THROTTLES)})")
    if codes & CONFLICTS:
        return Conflict(f"{place} changed between read and write ({_one(codes & CONFLICTS)})")
    return Transient(Reason.STORE_FAILED, f"{place}: {operation} failed ({_one(codes)})")


def _codes(error: ClientError) -> set[str]:
    reasons: list[dict[str, Any]] = error.response.get("CancellationReasons") or []  # type: ignore[assignment]
    cancelled = {str(each.get("Code")) for each in reasons} - {"None"}
    return cancelled or {str(error.response.get("Error", {}).get("Code", "unknown"))}


def _one(codes: set[str]) -> str:
    return min(codes)
