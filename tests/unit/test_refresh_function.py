"""The refresh function: which events become which messages, and what becomes of what a queue does not take."""

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from tenantconfig import refresh_function
from tenantconfig.model import Scope
from tenantconfig.refresh import read_notice
from tenantconfig.refresh_function import ATTEMPTS, MAX_BATCH, handler, messages_of
from tenantconfig.stores.items import Rows

ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/tenant-config/stream/2026-01-02T03:04:05.678"
BLUE, GREEN = QUEUES = [f"https://sqs.eu-west-1.amazonaws.com/1/{colour}" for colour in ("blue", "green")]
PREFIXES = ["/tenant-config", "/tenant-config/eu"]


class Sqs:
    """Queues that take what they are told to take."""

    class exceptions:  # noqa: N801  as a boto3 client has it
        class QueueDoesNotExist(ClientError):
            pass

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.calls = 0
        self.takes: Callable[[str, str], bool] = lambda url, id: True
        self.raises: dict[str, Exception] = {}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[dict[str, Any]]) -> Any:  # noqa: N803  boto3's
        assert 0 < len(Entries) <= MAX_BATCH
        self.calls += 1
        if QueueUrl in self.raises:
            raise self.raises[QueueUrl]
        taken = [each for each in Entries if self.takes(QueueUrl, each["Id"])]
        self.sent += [(QueueUrl, each) for each in taken]
        refused = [{"Id": each["Id"], "Code": "InternalError"} for each in Entries if each not in taken]
        return {"Successful": [{"Id": each["Id"]} for each in taken], "Failed": refused}

    def bodies(self, queue: str = BLUE) -> list[str]:
        return [each["MessageBody"] for url, each in self.sent if url == queue]

    def keys(self, queue: str = BLUE) -> list[str]:
        return [read_notice(each).key for each in self.bodies(queue)]


@pytest.fixture
def sqs(monkeypatch: pytest.MonkeyPatch) -> Sqs:
    made = Sqs()
    monkeypatch.setattr(refresh_function, "_sqs", lambda: made)
    monkeypatch.setattr(refresh_function, "PAUSE_SECONDS", 0)
    monkeypatch.setenv("QUEUE_URLS", ", ".join(QUEUES))
    monkeypatch.setenv("PATH_PREFIXES", "/tenant-config/, /tenant-config/eu")
    return made


def changed(name: Any = "/tenant-config/acme/prod/_/key", operation: Any = "Update", **other: Any) -> dict[str, Any]:
    detail = {"name": name, "type": "SecureString", "operation": operation, "description": "hush"}
    event = {"id": "e1", "time": "2026-01-02T03:04:05Z", "source": "aws.ssm", "region": "eu-west-1"}
    return {**event, "detail-type": "Parameter Store Change", "detail": detail, **other}


def record(sk: Any = "CONFIG#prod#web#key", number: int = 1, pk: Any = "TENANT#acme", **other: Any) -> dict[str, Any]:
    keys = {"pk": {"S": pk}, "sk": {"S": sk}}
    stream = {"Keys": keys, "SequenceNumber": str(number), "ApproximateCreationDateTime": 1767323045.0}
    stream |= {"NewImage": {**keys, "value": {"S": "hush"}}}  # where the table's stream has more than keys
    return {"eventID": f"e{number}", "eventSourceARN": ARN, "awsRegion": "eu-west-1", "dynamodb": stream | other}


def failures(*sequence: str) -> dict[str, Any]:
    return {"batchItemFailures": [{"itemIdentifier": each} for each in sequence]}


def batch(*records: Any) -> dict[str, Any]:
    return {"Records": list(records)}


def keyed(*numbers: int) -> list[dict[str, Any]]:
    return [record(f"CONFIG#prod#web#{number}", number) for number in numbers]


@pytest.mark.parametrize("operation", ["Create", "Update", "Delete", "LabelParameterVersion"])
def test_a_parameter_that_changed(sqs: Sqs, operation: str) -> None:
    handler(changed("/tenant-config/acme/prod/_/param_config_url", operation), None)
    assert [json.loads(each) for each in sqs.bodies(BLUE)] == [
        {
            "store": "ssm",
            "place": "/tenant-config",
            "region": "eu-west-1",
            "tenant": "acme",
            "environment": "prod",
            "service": "",
            "key": "param_config_url",
            "eventId": "e1",
            "time": "2026-01-02T03:04:05Z",
        }
    ]
    assert sqs.bodies(GREEN) == sqs.bodies(BLUE)
    assert {each["MessageGroupId"] for _, each in sqs.sent} == {"acme"}


def test_an_item_that_changed(sqs: Sqs) -> None:
    assert handler(batch(record("CONFIG#_#web#tenant_config_max")), None) == failures()
    assert [json.loads(each) for each in sqs.bodies(BLUE)] == [
        {
            "store": "dynamodb",
            "place": "tenant-config",
            "region": "eu-west-1",
            "tenant": "acme",
            "environment": "",
            "service": "web",
            "key": "tenant_config_max",
            "eventId": "e1",
            "time": "2026-01-02T03:04:05Z",
        }
    ]
    assert sqs.bodies(GREEN) == sqs.bodies(BLUE)


def test_a_path_below_another_is_told_by_its_levels() -> None:
    places = [
        messages_of(changed(f"{prefix}/acme/prod/_/key"), several)["0"]["place"]
        for several in (PREFIXES, PREFIXES[::-1])
        for prefix in PREFIXES
    ]
    assert places == PREFIXES * 2


@pytest.mark.parametrize(
    "event",
    [
        changed(operation="Read"),
        changed("/elsewhere/acme/prod/_/key"),
        changed("/tenant-config-2/acme/prod/_/key"),
        batch(record("HEAD#prod#web")),
        batch(),
    ],
    ids=str,
)
def test_what_is_of_no_interest_is_not_even_logged(sqs: Sqs, event: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert handler(event, None) == failures()
    assert sqs.calls == 0
    assert not caplog.records


POISON = [
    record("CONFIG#prod#web"),
    record("CONFIG##web#key"),
    record("CONFIG#prod#web#key#more"),
    record("CONFIG#prod#web#hush hush"),
    record("hush"),
    record(pk="USER#hush"),
    record(pk="TENANT#Hush"),  # no MessageGroupId could be
    record(pk="TENANT#hüsh"),
    record(pk="TENANT#_"),
    record(pk="TENANT#" + "h" * 64),
    record({"N": "5"}),
    record(SequenceNumber="hush"),
    record(ApproximateCreationDateTime="hush"),
    record(ApproximateCreationDateTime=1e300),
    record() | {"eventSourceARN": "arn:aws:kinesis:eu-west-1:1:stream/hush"},
    record() | {"dynamodb": "hush"},
    "hush",
    None,
]


@pytest.mark.parametrize("poison", POISON, ids=str)
def test_a_record_that_is_not_understood_holds_up_nobody(
    sqs: Sqs, poison: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert handler(batch(poison, record(number=2)), None) == failures()
    assert sqs.keys() == ["key"]
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert ("e1" if isinstance(poison, dict) else "without an id") in caplog.text
    assert "hush" not in caplog.text + str(sqs.sent)


@pytest.mark.parametrize(
    "event",
    [
        changed("/tenant-config/acme/prod/key"),
        changed("/tenant-config/acme/prod/_/eu/deep/key"),
        changed("/tenant-config/acme//_/key"),
        changed("/tenant-config/Hush/prod/_/key"),
        changed(["hush"]),
        changed(time="2026-01-02T03:04:05"),
        changed(detail="hush"),
        changed(source="hush"),
        {"detail-type": "hush"},
        {"Records": "hush"},
        ["hush"],
        None,
    ],
    ids=str,
)
def test_an_event_that_is_not_understood_is_not_tried_again(
    sqs: Sqs, event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    handler(event, None)
    assert sqs.calls == 0
    assert "passed over" in caplog.text
    assert "hush" not in caplog.text


def test_only_the_last_change_of_a_key_is_told(sqs: Sqs) -> None:
    sections = ["CONFIG#prod#web#b", "CONFIG#prod#web#a", "HEAD#prod#web", "CONFIG#_#_#a", "CONFIG#prod#web#b"]
    handler(batch(*(record(sk, number) for number, sk in enumerate(sections))), None)
    told = {(notice.scope, notice.key, notice.event_id) for notice in map(read_notice, sqs.bodies())}
    web = Scope("acme", "prod", "web")
    assert told == {(web, "b", "e4"), (web, "a", "e1"), (Scope("acme"), "a", "e3")}
    assert len(sqs.bodies()) == len(told)


def test_many_messages_go_in_batches(sqs: Sqs) -> None:
    handler(batch(*keyed(*range(25))), None)
    assert sqs.keys(BLUE) == sqs.keys(GREEN) == [str(number) for number in range(25)]
    assert sqs.calls == 3 * len(QUEUES)


def test_what_a_queue_does_not_take_is_sent_again_and_nothing_else(sqs: Sqs) -> None:
    sqs.takes = lambda url, id: sqs.calls > 1 or id == "1"
    assert handler(batch(*keyed(1, 2, 3)), None) == failures()
    assert sqs.keys() == ["1", "2", "3"]


def test_a_stream_goes_on_at_the_first_record_that_was_not_told(sqs: Sqs, caplog: pytest.LogCaptureFixture) -> None:
    sqs.takes = lambda url, id: url == BLUE or id in {"8", "11"}
    assert handler(batch(*keyed(8, 9, 10, 11)), None) == failures("9")  # a number: "10" is the lesser text
    assert sqs.keys(BLUE) == ["8", "9", "10", "11"]
    assert sqs.calls == 1 + ATTEMPTS
    assert f"{GREEN} did not take 2 messages" in caplog.text


def test_a_stream_goes_on_at_the_last_change_of_a_key_that_was_not_told(sqs: Sqs) -> None:
    sqs.takes = lambda url, id: id != "3"
    assert handler(batch(record(number=1), *keyed(2), record(number=3)), None) == failures("3")


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://sqs"),
        ClientError({"Error": {"Code": "AccessDenied", "Message": "hush"}}, "SendMessageBatch"),
    ],
    ids=["no answer", "denied"],
)
def test_a_queue_that_answers_with_an_error_keeps_nothing_from_the_others(
    sqs: Sqs, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    sqs.raises[BLUE] = error
    assert handler(batch(*keyed(7, 8)), None) == failures("7")
    assert sqs.keys(GREEN) == ["7", "8"]
    with pytest.raises(refresh_function.NotSent):
        handler(changed(), None)
    assert sqs.keys(GREEN) == ["7", "8", "key"]
    assert "hush" not in caplog.text


def test_a_queue_that_does_not_exist_holds_up_nobody(sqs: Sqs, caplog: pytest.LogCaptureFixture) -> None:
    sqs.raises[BLUE] = Sqs.exceptions.QueueDoesNotExist({"Error": {}}, "SendMessageBatch")
    assert handler(batch(*keyed(7)), None) == failures()
    assert sqs.keys(GREEN) == ["7"]
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert BLUE in caplog.text


def test_no_queue_is_said(sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_URLS", " ,")
    with pytest.raises(ValueError, match="QUEUE_URLS is empty"):
        handler(changed(), None)


labels = st.builds("{}{}z".format, st.sampled_from("a9"), st.text("a9-", max_size=61)) | st.sampled_from("a9")
scopes = st.builds(Scope, labels, st.just("") | labels, st.just("") | labels)
keys = st.builds("{}{}".format, st.sampled_from("aZ9_-"), st.text("aZ9_-.", max_size=199))


@given(scopes, keys)
def test_whatever_a_store_writes_is_understood(scope: Scope, key: str) -> None:
    row = Rows(scope).entry(key)
    item = batch(record(row["sk"]["S"], pk=row["pk"]["S"]))
    parameter = changed(f"/tenant-config/{scope}/{key}")
    for event, kind, place in ((item, "dynamodb", "tenant-config"), (parameter, "ssm", "/tenant-config")):
        (message,) = messages_of(event, ["/tenant-config"]).values()
        notice = read_notice(json.dumps(message))
        assert (notice.kind, notice.place, notice.scope, notice.key) == (kind, place, scope, key)


SECRET = "9f3a-hush"
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(SECRET),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """An event of which anything at any depth is something else, or missing."""
    if not isinstance(whole, dict) or draw(st.integers(0, 7)) == 0:
        return draw(anything)
    victim = draw(st.sampled_from(sorted(whole)))
    rest = {name: each for name, each in whole.items() if name != victim}
    return rest if draw(st.booleans()) else rest | {victim: draw(damaged(whole[victim]))}


@given(st.lists(damaged(record("CONFIG#prod#web#damaged", 5)), max_size=3), damaged(changed()), st.data())
def test_no_event_whatever_it_is_ends_the_function_and_no_value_leaves(
    records: list[Any], event: Any, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(records)))
    whole = record("CONFIG#prod#web#whole", 7)
    messages = messages_of(batch(*records[:place], whole, *records[place:]), PREFIXES)
    assert "whole" in {each["key"] for each in messages.values()}
    for message in (*messages.values(), *messages_of(event, PREFIXES).values()):
        values = {name: value for name, value in message.items() if name not in {"key", "region", "eventId"}}
        assert SECRET not in json.dumps(values)
        assert "hush" not in json.dumps(values)
