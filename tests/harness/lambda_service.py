"""In the Lambda service's place: brings a table's stream and EventBridge's events to the refresh function's handler.

A stream is read shard by shard, and goes on only behind what the handler did not
report as failed, as an event source mapping with ReportBatchItemFailures does.
EventBridge is moto's: its rule puts events into a queue, from which they are taken.
"""

import json
import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self
from unittest import mock

from harness.aws import LocalAws
from tenantconfig import refresh_function

PAUSE_SECONDS = 0.02
RULE = {"source": ["aws.ssm"], "detail-type": ["Parameter Store Change"]}

Event = Mapping[str, Any]


class Faults:
    """What happens to single events on their way: some are lost, the others come several times and out of order."""

    def __init__(self, lost: float = 0.0, times: int = 1, seed: int = 1) -> None:
        self.lost = 0
        self.passed = 0
        self._share = lost
        self._times = times
        self._chance = random.Random(seed)  # noqa: S311  a test's own

    def __call__(self, events: Sequence[Event], concerns: Callable[[Event], bool]) -> list[Event]:
        """What arrives of `events`. Only those that it `concerns` may be lost."""
        kept = []
        for each in events:
            if concerns(each) and self._chance.random() < self._share:
                self.lost += 1
                continue
            self.passed += concerns(each)
            kept += [each] * self._times
        self._chance.shuffle(kept)
        return kept


class LambdaService:
    """Runs the handler on what happens in `table` and on moto's event bus, from `with` to its end.

    `concerns` says of the key of a change whether faults may take its event.
    """

    def __init__(
        self,
        *,
        aws: LocalAws,
        dynamodb: LocalAws,
        table: str,
        queue: str,
        prefix: str,
        faults: Faults,
        concerns: Callable[[str], bool] = lambda key: True,
    ) -> None:
        self.invocations = 0
        self._faults = faults
        self._concerns = concerns
        self._variables = {"QUEUE_URLS": queue, "PATH_PREFIXES": prefix}
        self._streams = dynamodb.client("dynamodbstreams")
        self._arn = dynamodb.client("dynamodb").describe_table(TableName=table)["Table"]["LatestStreamArn"]
        self._sqs, self._bus = aws.client("sqs"), aws.client("events")
        self._events = self._sqs.create_queue(QueueName=f"events-of-{queue.rpartition('/')[2]}")["QueueUrl"]
        arn = self._sqs.get_queue_attributes(QueueUrl=self._events, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        self._bus.put_rule(Name="parameters", EventPattern=json.dumps(RULE))
        self._bus.put_targets(Rule="parameters", Targets=[{"Id": "function", "Arn": arn}])
        self._ended = threading.Event()
        self._iterators = {shard["ShardId"]: self._iterator(shard["ShardId"], "LATEST") for shard in self._shards()}
        self._patches = ExitStack()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in (self._stream, self._parameters)]

    def __enter__(self) -> Self:
        self._patches.enter_context(mock.patch.dict(os.environ, self._variables))
        self._patches.enter_context(mock.patch.object(refresh_function, "_sqs", return_value=self._sqs))
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._patches.close()

    def parameter_changed(self, name: str, operation: str = "Update") -> None:
        """What SSM tells EventBridge; moto's does not."""
        detail = json.dumps({"name": name, "type": "String", "operation": operation})
        entry = {"Source": "aws.ssm", "DetailType": "Parameter Store Change", "Detail": detail}
        self._bus.put_events(Entries=[entry])

    def _run(self, step: Callable[[], None]) -> None:
        while not self._ended.wait(PAUSE_SECONDS):
            step()

    def _shards(self) -> list[dict[str, Any]]:
        return list(self._streams.describe_stream(StreamArn=self._arn)["StreamDescription"]["Shards"])

    def _iterator(self, shard: str, kind: str, **more: str) -> str:
        answer = self._streams.get_shard_iterator(StreamArn=self._arn, ShardId=shard, ShardIteratorType=kind, **more)
        return str(answer["ShardIterator"])

    def _stream(self) -> None:
        for shard in self._shards():
            if shard["ShardId"] not in self._iterators:
                self._iterators[shard["ShardId"]] = self._iterator(shard["ShardId"], "TRIM_HORIZON")
        for shard_id, iterator in list(self._iterators.items()):
            if not iterator:
                continue
            answer = self._streams.get_records(ShardIterator=iterator)
            records = [{**each, "eventSourceARN": self._arn} for each in answer["Records"]]
            arrived = self._faults(records, lambda each: self._concerns(key_of(each)))
            failed = self._invoke({"Records": arrived})["batchItemFailures"] if arrived else []
            if failed:
                number = min(each["itemIdentifier"] for each in failed)
                self._iterators[shard_id] = self._iterator(shard_id, "AT_SEQUENCE_NUMBER", SequenceNumber=number)
            else:
                self._iterators[shard_id] = answer.get("NextShardIterator", "")

    def _parameters(self) -> None:
        answer = self._sqs.receive_message(QueueUrl=self._events, MaxNumberOfMessages=10)
        messages = answer.get("Messages", [])
        events = [json.loads(each["Body"]) for each in messages]
        for event in self._faults(events, lambda each: self._concerns(each["detail"]["name"].rpartition("/")[2])):
            self._invoke(event)
        for each in messages:
            self._sqs.delete_message(QueueUrl=self._events, ReceiptHandle=each["ReceiptHandle"])

    def _invoke(self, event: Event) -> dict[str, Any]:
        self.invocations += 1
        return refresh_function.handler(event, None)


def key_of(record: Event) -> str:
    """The key of an entry that a record is about; of a head none."""
    return str(record["dynamodb"]["Keys"]["sk"]["S"]).split("#")[-1]
