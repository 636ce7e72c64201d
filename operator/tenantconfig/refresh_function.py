"""The Lambda function that tells controllers of changes made in AWS; packaged alone, with nothing but boto3.

It takes EventBridge's "Parameter Store Change" and batches of a DynamoDB stream, and
sends for each key that changed one message to every queue in QUEUE_URLS:

    {"store": "ssm" | "dynamodb", "place": path prefix | table, "tenant": …, "environment": …, "service": …,
     "key": …, "eventId": …, "time": RFC 3339}

An absent environment or service is the empty text. No message contains a value:
messages are hints, and controllers look for themselves. Settings are variables of
the environment: QUEUE_URLS and PATH_PREFIXES, each with commas between.
"""

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3

BATCH = 10  # messages in one SendMessageBatch
TRIES = 3  # of what a queue did not take
OPERATIONS = {"Create", "Update", "Delete"}  # not LabelParameterVersion, which changes no value

Message = dict[str, str]

logger = logging.getLogger()
logger.setLevel(logging.INFO)


def handler(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """What Lambda calls. A stream's batch that could not be sent is reported by its first record; an event raises."""
    urls = _listed("QUEUE_URLS")
    if "Records" not in event:
        send(urls, _last_of_each(parameter_messages(event, _listed("PATH_PREFIXES"))))
        return {}
    records = event["Records"]
    try:
        send(urls, _last_of_each(stream_messages(records)))
    except NotSent as error:
        logger.error("%s", error)
        return {"batchItemFailures": [{"itemIdentifier": records[0]["dynamodb"]["SequenceNumber"]}]}
    return {"batchItemFailures": []}


class NotSent(Exception):
    """A queue did not take messages, however often it was asked."""


def parameter_messages(event: Mapping[str, Any], prefixes: Iterable[str]) -> Iterator[Message]:
    """Of an EventBridge event; none if it is about something else."""
    detail = event.get("detail")
    if not isinstance(detail, dict) or detail.get("operation") not in OPERATIONS:
        return
    name = str(detail.get("name", ""))
    for prefix in prefixes:
        parts = name.removeprefix(f"{prefix}/").split("/")
        if name.startswith(f"{prefix}/") and len(parts) == 4 and all(parts):
            yield _message("ssm", prefix, parts, str(event.get("id", "")), str(event.get("time", "")))


def stream_messages(records: Iterable[Mapping[str, Any]]) -> Iterator[Message]:
    """Of a stream's records, oldest first. One that cannot be read is left out: it must not hold up its shard."""
    for record in records:
        try:
            keys = record["dynamodb"]["Keys"]
            kind, tenant = keys["pk"]["S"].split("#", 1)
            section, *rest = keys["sk"]["S"].split("#", 3)
            table = record["eventSourceARN"].split("/")[1]
            at = record["dynamodb"].get("ApproximateCreationDateTime", 0)
        except (KeyError, ValueError, IndexError, TypeError, AttributeError):
            logger.warning("record %s is not understood, and left out", record.get("eventID"))
            continue
        if kind == "TENANT" and section == "CONFIG" and len(rest) == 3:
            yield _message("dynamodb", table, [tenant, *rest], str(record.get("eventID", "")), _time(at))


def send(urls: Iterable[str], messages: Sequence[Message]) -> None:
    """Send all messages to every queue. Raises NotSent."""
    for url in urls:
        for start in range(0, len(messages), BATCH):
            _send_batch(url, messages[start : start + BATCH])


def _send_batch(url: str, messages: Sequence[Message]) -> None:
    # The group keeps a tenant with many changes from delaying the others (fair queues).
    entries = {
        str(number): {"Id": str(number), "MessageBody": json.dumps(message), "MessageGroupId": message["tenant"]}
        for number, message in enumerate(messages)
    }
    for _ in range(TRIES):
        answer = _sqs().send_message_batch(QueueUrl=url, Entries=list(entries.values()))
        entries = {each["Id"]: entries[each["Id"]] for each in answer.get("Failed", ())}
        if not entries:
            return
    raise NotSent(f"{url} did not take {len(entries)} messages")


def _message(store: str, place: str, parts: Sequence[str], event_id: str, time: str) -> Message:
    *scope, key = parts
    tenant, environment, service = ("" if part == "_" else part for part in scope)
    named = {"tenant": tenant, "environment": environment, "service": service, "key": key}
    return {"store": store, "place": place, **named, "eventId": event_id, "time": time}


def _last_of_each(messages: Iterable[Message]) -> list[Message]:
    """One message for each key, of its last change."""
    named = ("store", "place", "tenant", "environment", "service", "key")
    return list({tuple(each[name] for name in named): each for each in messages}.values())


def _time(at: Any) -> str:
    if isinstance(at, datetime):
        return at.astimezone(UTC).isoformat()
    return datetime.fromtimestamp(float(at), UTC).isoformat()


def _listed(variable: str) -> list[str]:
    return [part.rstrip("/") for each in os.environ.get(variable, "").split(",") if (part := each.strip())]


@cache
def _sqs() -> Any:
    return boto3.client("sqs")
