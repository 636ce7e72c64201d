"""The refresh function between real parts: a table's stream or EventBridge on one side, queues on the other."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from harness.aws import LocalAws, Moto, create_table
from harness.lambda_service import Faults, LambdaService
from harness.wait import wait_for
from tenantconfig import refresh_function
from tenantconfig.model import Scope, Value
from tenantconfig.plan import Changes, Put
from tenantconfig.stores.dynamodb import DynamoDBStore
from tenantconfig.stores.items import Rows

PREFIX = "/tenant-config"
SCOPE = Scope("acme", "prod")
SECRET = "hush"
_names = count(1)


class Queues:
    """Queues of moto, and what has arrived in them."""

    def __init__(self, moto: Moto, number: int = 1) -> None:
        self._sqs = moto.client("sqs")
        self.urls = [self._sqs.create_queue(QueueName=f"cluster-{next(_names)}")["QueueUrl"] for _ in range(number)]
        self.arrived: dict[str, list[dict[str, str]]] = {url: [] for url in self.urls}

    def messages(self, url: str) -> list[dict[str, str]]:
        """All that has arrived so far, in one queue."""
        while received := self._sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for each in received:
                assert SECRET not in each["Body"]
                self.arrived[url].append(json.loads(each["Body"]))
                self._sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
        return self.arrived[url]

    def keys(self, url: str | None = None) -> Counter[str]:
        """How often each key was told of."""
        return Counter(each["key"] for each in self.messages(url or self.urls[0]))


Running = Callable[..., LambdaService]


@pytest.fixture(scope="module")
def told_table(dynamodb_local: LocalAws) -> str:
    create_table(dynamodb_local.client("dynamodb"), "told")
    return "told"


@pytest.fixture
def running(
    moto: Moto, dynamodb_local: LocalAws, told_table: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    """Starts the function; ended with the test."""
    monkeypatch.setattr(refresh_function, "PAUSE_SECONDS", 0)
    started: list[LambdaService] = []

    def start(urls: list[str], faults: Faults | None = None, **options: Any) -> LambdaService:
        options |= {"aws": moto, "dynamodb": dynamodb_local, "table": told_table, "prefix": PREFIX}
        service = LambdaService(queue=",".join(urls), faults=faults or Faults(), **options).__enter__()
        started.append(service)
        return service

    yield start
    for service in started:
        service.__exit__()
    moto.reset_calls()


@pytest.fixture
def write(dynamodb_direct: Any, told_table: str) -> Callable[..., None]:
    """Someone writes an item, and not as the operator does."""

    def written(key: str, scope: Scope = SCOPE) -> None:
        # A stream tells nothing of a write that changes nothing.
        item = {**Rows(scope).entry(key), "value": {"S": f"{SECRET} {next(_names)}"}}
        dynamodb_direct.put_item(TableName=told_table, Item=item)

    return written


def test_what_others_and_the_operator_write_is_told_to_every_cluster(
    moto: Moto, running: Running, write: Callable[..., None], dynamodb_direct: Any, told_table: str
) -> None:
    queues = Queues(moto, 2)
    running(queues.urls)
    store = DynamoDBStore(dynamodb_direct, told_table)
    write("foreign", Scope("beta"))
    changes = Changes("owner", puts=(Put("own", Value(SECRET)),))
    assert store.apply(SCOPE, changes).error is None
    for url in queues.urls:
        wait_for(lambda url=url: len(queues.messages(url)) >= 2, "both messages")  # type: ignore[misc]
    for url in queues.urls:
        (own,) = [each for each in queues.messages(url) if each["key"] == "own"]
        (foreign,) = [each for each in queues.messages(url) if each["key"] == "foreign"]
        names = ("store", "place", "region", "tenant", "environment", "service")
        assert [own[name] for name in names] == ["dynamodb", told_table, "eu-west-1", "acme", "prod", ""]
        assert [foreign[name] for name in names] == ["dynamodb", told_table, "eu-west-1", "beta", "", ""]


def test_a_deletion_is_told(
    moto: Moto, running: Running, write: Callable[..., None], dynamodb_direct: Any, told_table: str
) -> None:
    queues = Queues(moto)
    write("going")
    running(queues.urls)
    dynamodb_direct.delete_item(TableName=told_table, Key=Rows(SCOPE).entry("going"))
    wait_for(lambda: queues.keys()["going"], "the message")


def test_items_that_are_no_entries_of_ours_hold_up_nobody(
    moto: Moto, running: Running, write: Callable[..., None], dynamodb_direct: Any, told_table: str
) -> None:
    queues = Queues(moto)
    service = running(queues.urls)
    for tenant, section in (("Ümlaut", "CONFIG#_#_#k"), ("acme", "CONFIG#"), ("a" * 200, "CONFIG#_#_#k")):
        key = {"pk": {"S": f"TENANT#{tenant}"}, "sk": {"S": section}}
        dynamodb_direct.put_item(TableName=told_table, Item={**key, "value": {"S": SECRET}})
    write("after")
    wait_for(lambda: queues.keys()["after"], "what came after it")
    assert queues.keys() == {"after": 1}
    assert service.discarded == []


def test_a_queue_that_takes_nothing_for_a_while_gets_everything(
    moto: Moto, running: Running, write: Callable[..., None]
) -> None:
    queues = Queues(moto)
    moto.fail("SendMessageBatch", "AccessDeniedException", times=4)
    service = running(queues.urls, recorded=True)
    keys = {f"key{number}" for number in range(25)}
    for key in sorted(keys):
        write(key)
    wait_for(lambda: queues.keys().keys() == keys, "all messages")
    assert service.discarded == []


def test_what_no_queue_ever_takes_is_given_up_and_the_shard_goes_on(
    moto: Moto, running: Running, write: Callable[..., None]
) -> None:
    queues = Queues(moto)
    service = running(queues.urls, recorded=True)
    moto.fail("SendMessageBatch", "AccessDeniedException", times=11)  # once and ten times more, as the template says
    write("given-up")
    wait_for(lambda: service.discarded, "given up")
    write("after")
    wait_for(lambda: queues.keys()["after"], "what came after it")
    assert queues.keys() == {"after": 1}


def test_a_queue_that_is_gone_keeps_nothing_from_the_others(
    moto: Moto, running: Running, write: Callable[..., None]
) -> None:
    gone, queues = Queues(moto), Queues(moto)
    moto.client("sqs").delete_queue(QueueUrl=gone.urls[0])
    service = running([*gone.urls, *queues.urls])
    write("one")
    wait_for(lambda: queues.keys()["one"], "the message")
    service.parameter_changed(f"{PREFIX}/acme/prod/_/two")
    wait_for(lambda: queues.keys()["two"], "the message")
    assert queues.keys() == {"one": 1, "two": 1}
    assert service.discarded == []


def test_parameters_are_told_as_the_rule_lets_them_through(moto: Moto, running: Running) -> None:
    queues = Queues(moto, 2)
    service = running(queues.urls)
    service.parameter_changed(f"{PREFIX}/acme/prod/_/read", "Read")
    service.parameter_changed(f"{PREFIX}-2/acme/prod/_/elsewhere", "Update")
    service.parameter_changed(f"{PREFIX}/not/ours", "Create")
    operations = ("Create", "Update", "Delete", "LabelParameterVersion")
    for operation in operations:
        service.parameter_changed(f"{PREFIX}/acme/prod/_/{operation}", operation)
    expected = dict.fromkeys(operations, 1)
    for url in queues.urls:
        wait_for(lambda url=url: queues.keys(url) == expected, "a message each")  # type: ignore[misc]
        for each in queues.messages(url):
            names = ("store", "place", "region", "tenant", "environment", "service")
            assert [each[name] for name in names] == ["ssm", PREFIX, "eu-west-1", "acme", "prod", ""]
    assert service.invocations == 5  # what the rule holds back costs nothing


def test_an_event_that_no_queue_took_is_tried_again(moto: Moto, running: Running) -> None:
    queues = Queues(moto)
    service = running(queues.urls, recorded=True)
    moto.fail("SendMessageBatch", "AccessDeniedException", times=2)
    service.parameter_changed(f"{PREFIX}/acme/prod/_/late")
    wait_for(lambda: queues.keys()["late"], "the message")
    moto.fail("SendMessageBatch", "AccessDeniedException", times=3)
    service.parameter_changed(f"{PREFIX}/acme/prod/_/never")
    wait_for(lambda: service.discarded, "given up")
    assert queues.keys() == {"late": 1}


@pytest.mark.parametrize("store", ["dynamodb", "ssm"])
def test_events_that_come_thrice_out_of_order_or_not_at_all(
    moto: Moto, running: Running, write: Callable[..., None], store: str
) -> None:
    queues = Queues(moto)
    faults = Faults(lost=0.2, times=3)
    service = running(queues.urls, faults)
    written = {f"{store}-{number}" for number in range(100)}
    for key in sorted(written):
        if store == "dynamodb":
            write(key)
        else:
            service.parameter_changed(f"{PREFIX}/acme/prod/_/{key}")
    wait_for(lambda: faults.lost + faults.passed == len(written), "all events")
    wait_for(lambda: len(queues.keys()) == faults.passed, "all that passed")
    assert 0 < faults.lost < 50
    assert queues.keys().keys() <= written
    if store == "dynamodb":
        assert set(queues.keys().values()) == {1}  # what comes twice in a batch is told once
    else:
        wait_for(lambda: set(queues.keys().values()) == {3}, "each three times")
    assert service.discarded == []
