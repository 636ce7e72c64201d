"""The queue's address: which region it is asked in."""

import pytest

from tenantconfig.errors import Stalled
from tenantconfig.refresh_queue import Queue, region_of


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-west-1.amazonaws.com", "eu-west-1"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("sqs.us-gov-east-1.amazonaws.com", "us-gov-east-1"),
        ("sqs-fips.us-east-1.amazonaws.com", "us-east-1"),
        ("eu-west-1.queue.amazonaws.com", "eu-west-1"),
        ("vpce-0a1-b2.sqs.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("sqs.eu-central-1.localhost.localstack.cloud:4566", "eu-central-1"),
        ("sqs.localhost.localstack.cloud:4566", None),
        ("127.0.0.1:5000", None),
    ],
)
def test_the_region_is_in_the_address(host: str, region: str | None) -> None:
    assert region_of(f"https://{host}/123456789012/tenantconfig-blue") == region


def test_an_address_that_names_no_region_is_said_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(Stalled, match="names no region: set AWS_DEFAULT_REGION"):
        Queue("http://127.0.0.1:5000/123456789012/tenantconfig-blue")
