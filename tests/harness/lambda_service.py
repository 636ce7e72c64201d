"""In the Lambda service's place: brings a table's stream and EventBridge's events to the refresh function's handler.

A stream is read shard by shard, as the event source mapping of the template does it:
filtered, and a batch that fails again from where it failed, but only so often, then it
is given up. EventBridge is moto's: the
template's rule puts events into a queue, from which they are taken, and tried again as
asynchronous invocations are.
"""

import json
import os
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self
from unittest import mock

from moto.events.models import EventPattern

from harness.aws import REGION, LocalAws
from harness.templates import rule_pattern, stream_pattern, template
from tenantconfig import refresh_function

PAUSE_SECONDS = 0.02

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

    `queue` is the URL of a queue of `aws`, or several with commas between. `concerns` says of the key of a change
    whether faults may take its event. `recorded` is whether the sending of messages can be made to fail
    (LocalAws.fail), and is counted. What was given up is in `discarded`.
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
        recorded: bool = False,
    ) -> None:
        self.invocations = 0
        self.discarded: list[Event] = []
        resources = template("template.yaml")
        self._stream_retries = int(resources["Stream"]["Properties"]["MaximumRetryAttempts"])
        self._event_retries = int(resources["Invocations"]["Properties"]["MaximumRetryAttempts"])
        self._wanted: Any = EventPattern.load(stream_pattern()).matches_event
        self._sender = aws.client("sqs", recorded=recorded)
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
        self._bus.put_rule(Name="parameters", EventPattern=json.dumps(rule_pattern(prefix)))
        self._bus.put_targets(Rule="parameters", Targets=[{"Id": "function", "Arn": arn}])
        self._ended = threading.Event()
        self._iterators = {shard["ShardId"]: self._iterator(shard["ShardId"], "LATEST") for shard in self._shards()}
        self._patches = ExitStack()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in (self._stream, self._parameters)]

    def __enter__(self) -> Self:
        self._patches.enter_context(mock.patch.dict(os.environ, self._variables))
        self._patches.enter_context(mock.patch.object(refresh_function, "_sqs", return_value=self._sender))
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
            records = [self._as_lambda_has_it(each) for each in answer["Records"]]
            wanted = [each for each in records if self._wanted(each)]
            self._deliver(self._faults(wanted, lambda each: self._concerns(key_of(each))))
            self._iterators[shard_id] = answer.get("NextShardIterator", "")

    def _as_lambda_has_it(self, record: Event) -> Event:
        stream = record["dynamodb"]
        stream = {**stream, "ApproximateCreationDateTime": stream["ApproximateCreationDateTime"].timestamp()}
        made = {**record, "dynamodb": stream, "eventSourceARN": self._arn, "awsRegion": REGION}
        read: Event = json.loads(json.dumps(made))
        return read

    def _deliver(self, records: Sequence[Event]) -> None:
        """Brings a batch to the handler until it takes it, as often as the template says."""
        for _ in range(1 + self._stream_retries):
            if not records or self._ended.is_set():
                return
            failed = self._invoke({"Records": records})["batchItemFailures"]
            first = min((int(each["itemIdentifier"]) for each in failed), default=None)
            records = [each for each in records if first is not None and sequence_of(each) >= first]
        self.discarded += records

    def _parameters(self) -> None:
        answer = self._sqs.receive_message(QueueUrl=self._events, MaxNumberOfMessages=10)
        messages = answer.get("Messages", [])
        events = [json.loads(each["Body"]) for each in messages]
        for event in self._faults(events, lambda each: self._concerns(each["detail"]["name"].rpartition("/")[2])):
            self._invoke_asynchronously(event)
        for each in messages:
            self._sqs.delete_message(QueueUrl=self._events, ReceiptHandle=each["ReceiptHandle"])

    def _invoke_asynchronously(self, event: Event) -> None:
        for _ in range(1 + self._event_retries):
            try:
                self._invoke(event)
            except refresh_function.NotSent:
                continue
            return
        self.discarded.append(event)

    def _invoke(self, event: Event) -> dict[str, Any]:
        self.invocations += 1
        return refresh_function.handler(event, None)


def sequence_of(record: Event) -> int:
    """A record's place in its shard."""
    return int(record["dynamodb"]["SequenceNumber"])


def key_of(record: Event) -> str:
    """The key of an entry that a record is about; of a head none."""
    return str(record["dynamodb"]["Keys"]["sk"]["S"]).split("#")[-1]
