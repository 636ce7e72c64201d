"""The refresh function: which events become which messages, and what becomes of what a queue does not take."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantconfig import refresh_function
from tenantconfig.model import Scope
from tenantconfig.refresh import Notice, read_notice
from tenantconfig.refresh_function import BATCH, TRIES, handler, parameter_messages, stream_messages

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/tenant-config/stream/2026-01-02T03:04:05.678"
QUEUES = ["https://sqs.eu-west-1.amazonaws.com/1/blue", "https://sqs.eu-west-1.amazonaws.com/1/green"]


class Sqs:
    """Queues that take what they are told to take."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.calls = 0
        self.takes: Callable[[int, str], bool] = lambda call, id: True

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:  # noqa: N803  boto3's
        assert 0 < len(Entries) <= BATCH
        self.calls += 1
        taken = [each for each in Entries if self.takes(self.calls, each["Id"])]
        self.sent += [(QueueUrl, each) for each in taken]
        return {"Failed": [{"Id": each["Id"]} for each in Entries if each not in taken]}

    def notices(self, queue: str = QUEUES[0]) -> list[Notice]:
        return [read_notice(each["MessageBody"]) for url, each in self.sent if url == queue]


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Sqs:
    made = Sqs()
    monkeypatch.setattr(refresh_function, "_sqs", lambda: made)
    monkeypatch.setenv("QUEUE_URLS", ", ".join(QUEUES))
    monkeypatch.setenv("PATH_PREFIXES", "/tenant-config/, /other")
    return made


def changed(name: str, operation: str = "Update") -> dict[str, Any]:
    detail = {"name": name, "type": "SecureString", "operation": operation}
    return {"id": "e1", "time": "2026-01-02T03:04:05Z", "source": "aws.ssm", "detail": detail}


def record(sk: str, number: int = 1, pk: str = "TENANT#acme") -> dict[str, Any]:
    image = {"pk": {"S": pk}, "sk": {"S": sk}, "value": {"S": "hush"}}
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    keys = {"pk": {"S": pk}, "sk": {"S": sk}}
    stream = {"Keys": keys, "NewImage": image, "SequenceNumber": str(number), "ApproximateCreationDateTime": at}
    return {"eventID": f"e{number}", "eventSourceARN": ARN, "eventName": "MODIFY", "dynamodb": stream}


@pytest.mark.parametrize("operation", ["Create", "Update", "Delete"])
def test_a_parameter_that_changed(sqs: Sqs, operation: str) -> None:
    assert handler(changed("/tenant-config/acme/prod/_/param_config_url", operation), None) == {}
    expected = Notice("ssm", "/tenant-config", Scope("acme", "prod"), "param_config_url")
    assert sqs.notices(QUEUES[0]) == sqs.notices(QUEUES[1]) == [expected]
    assert {each["MessageGroupId"] for _, each in sqs.sent} == {"acme"}
    assert json.loads(sqs.sent[0][1]["MessageBody"])["time"] == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    "event",
    [
        changed("/tenant-config/acme/prod/_/key", "LabelParameterVersion"),
        changed("/elsewhere/acme/prod/_/key"),
        changed("/tenant-config-2/acme/prod/_/key"),
        changed("/tenant-config/acme/prod/key"),
        changed("/tenant-config/acme/prod/_/deep/key"),
        changed("/tenant-config/acme//_/key"),
        {"detail": None},
        {},
    ],
)
def test_events_about_something_else(sqs: Sqs, event: dict[str, Any]) -> None:
    assert handler(event, None) == {}
    assert sqs.calls == 0


def test_a_batch_of_a_stream_is_one_message_for_each_key(sqs: Sqs) -> None:
    sections = ["CONFIG#prod#web#b", "CONFIG#prod#web#a", "HEAD#prod#web", "CONFIG#_#_#a", "CONFIG#prod#web#b"]
    records = [record(sk, number) for number, sk in enumerate(sections)]
    assert handler({"Records": records}, None) == {"batchItemFailures": []}
    web, whole = Scope("acme", "prod", "web"), Scope("acme")
    expected = [(web, "b"), (web, "a"), (whole, "a")]
    assert [(each.scope, each.key) for each in sqs.notices()] == expected
    assert {(each.kind, each.place) for each in sqs.notices()} == {("dynamodb", "tenant-config")}
    assert [each.event_id for each in sqs.notices()] == ["e4", "e1", "e3"]
    assert "hush" not in str(sqs.sent)


def test_records_that_cannot_be_read_hold_up_nobody(sqs: Sqs, caplog: pytest.LogCaptureFixture) -> None:
    strange = [
        {"eventID": "poison", "dynamodb": {"Keys": {"pk": {"N": "5"}}, "SequenceNumber": "1"}},
        record("CONFIG#prod#web"),
        record("x", pk="hush"),
        record("CONFIG#prod#web#key", pk="USER#acme"),
    ]
    assert handler({"Records": [*strange, record("CONFIG#prod#web#a")]}, None) == {"batchItemFailures": []}
    assert [each.key for each in sqs.notices()] == ["a"]
    assert "poison is not understood" in caplog.text
    assert "hush" not in caplog.text


def test_what_a_queue_does_not_take_is_sent_again_and_nothing_else(sqs: Sqs) -> None:
    sqs.takes = lambda call, id: call > 2 or id == "0"
    handler({"Records": [record(f"CONFIG#prod#web#{number}", number) for number in range(3)]}, None)
    assert [each.key for each in sqs.notices()] == ["0", "1", "2"]


def test_what_a_queue_never_takes_is_reported_from_the_first_record_on(sqs: Sqs) -> None:
    sqs.takes = lambda call, id: False
    records = [record(f"CONFIG#prod#web#{number}", number) for number in range(7, 10)]
    assert handler({"Records": records}, None) == {"batchItemFailures": [{"itemIdentifier": "7"}]}
    assert sqs.calls == TRIES
    with pytest.raises(refresh_function.NotSent):
        handler(changed("/tenant-config/acme/prod/_/key"), None)


def test_many_messages_go_in_batches(sqs: Sqs) -> None:
    handler({"Records": [record(f"CONFIG#prod#web#{number}", number) for number in range(25)]}, None)
    assert len(sqs.notices()) == 25
    assert sqs.calls == 3 * len(QUEUES)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
)


@given(st.lists(st.dictionaries(st.sampled_from(["eventID", "dynamodb", "eventSourceARN", "Keys"]), anything)))
def test_no_record_whatever_it_is_ends_the_function(records: list[dict[str, Any]]) -> None:
    assert list(stream_messages(records)) == []


@given(anything, st.sampled_from(["Update", 5, None]))
def test_no_event_whatever_it_is_ends_the_function(name: Any, operation: Any) -> None:
    assert list(parameter_messages({"detail": {"name": name, "operation": operation}}, ["/p"])) == []
