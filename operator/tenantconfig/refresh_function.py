"""The AWS Lambda function that tells every cluster's queue which key has changed in a store.

It is deployed alone: Python's standard library, and boto3 as the runtime has it. It
takes both kinds of event, EventBridge's "Parameter Store Change" (one, invoked
asynchronously) and batches of DynamoDB Streams, and makes one kind of message:

    {"store": "dynamodb",             or "ssm"
     "place": "tenant-config",        the table; of SSM the path prefix, such as /tenant-config, no slash at its end
     "region": "eu-west-1",
     "tenant": "acme",
     "environment": "prod",           "" if the scope has none
     "service": "checkout",           "" likewise
     "key": "tenant_config_max",
     "eventId": "c4ca4238…",          the event's own, the same when the event is delivered again
     "time": "2026-05-22T16:43:48Z"}  the event's own, RFC 3339 in UTC, in seconds

A message is a hint to look, with neither the value nor what was done to it: it may come late,
twice, out of order or never, and our own writes are announced as well. Messages of a
tenant carry it as MessageGroupId, so that a noisy one does not delay the others.

Theory of operation. Of a batch only the last event of a key is told. Every queue is
tried, whatever the others answer. What a queue does not take is tried again here and
then left to Lambda: a stream goes on at the first record not told, an asynchronous
invocation fails as a whole. An event that cannot be read is logged by its id and
passed over, and so is a queue that does not exist: trying again would mend neither,
and block a shard.

Environment: QUEUE_URLS, comma separated, all in the function's own region;
PATH_PREFIXES, comma separated, those of the ConfigStores (other parameters are ignored).
"""

import json
import logging
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

MAX_BATCH = 10  # entries of one SendMessageBatch; ten of our messages are far below its 1 MiB
ATTEMPTS = 3  # to send what a queue did not take
PAUSE_SECONDS = 0.2  # before the second; twice as long before each further one

# As the TenantConfig resource defines them. A message group's id is a tenant, so it must be one that SQS takes.
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
# A label moves no value that is read here: who looks finds nothing, and it costs one look.
OPERATIONS = {"Create", "Update", "Delete", "LabelParameterVersion"}
EVENT_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
TABLE_ARN = re.compile(r"arn:[^:]+:dynamodb:[^:]*:[^:]*:table/([A-Za-z0-9_.-]{3,255})/stream/.+")

Message = dict[str, str]

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


class Unreadable(Exception):
    """An event that is not about a key of ours; the text says why, without anything of its content."""


class NotSent(Exception):
    """A queue did not take the message."""


def handler(event: Any, _context: object) -> dict[str, list[dict[str, str]]]:
    """What Lambda calls. Returns the first record that was not told, for a stream to go on with.

    Raises NotSent, for an event that is no batch, if a queue did not take it; ValueError if no queue is configured.
    """
    urls = _listed("QUEUE_URLS")
    if not urls:
        raise ValueError("QUEUE_URLS is empty: set it to the URLs of the clusters' queues, comma separated")
    messages = messages_of(event, _listed("PATH_PREFIXES"))
    failed: set[str] = set()
    for url in urls:
        failed |= send(_sqs(), url, messages)
    if failed and not _is_batch(event):
        raise NotSent("not every queue took the message")
    return {"batchItemFailures": [{"itemIdentifier": min(failed, key=int)}] if failed else []}


def messages_of(event: Any, path_prefixes: Collection[str]) -> dict[str, Message]:
    """The messages to send for an event, by the sequence number of their record ("0" where there is no stream)."""
    records = event["Records"] if _is_batch(event) else [event]
    told: dict[tuple[str, ...], tuple[str, Message]] = {}
    for record in records:
        try:
            if _is_batch(event):
                sequence, message = _sequence(record), stream_message(record)
            else:
                sequence, message = "0", parameter_message(record, path_prefixes)
        except Unreadable as reason:
            logger.warning("passed over event %s: %s", _event_id(record), reason)
        else:
            if message:
                told[_identity(message)] = sequence, message
    return dict(told.values())


def stream_message(record: Any) -> Message | None:
    """The message for a record of a stream, None if it is of a head item. Raises Unreadable."""
    table = TABLE_ARN.fullmatch(_text(record, "eventSourceARN"))
    if not table:
        raise Unreadable("it is not of a table's stream")
    sort_key = _text(record, "dynamodb", "Keys", "sk", "S")
    if sort_key.startswith("HEAD#"):
        return None
    kind, _, rest = sort_key.partition("#")
    owner, _, tenant = _text(record, "dynamodb", "Keys", "pk", "S").partition("#")
    if (kind, owner) != ("CONFIG", "TENANT"):
        raise Unreadable("its item is not that of an entry")
    return {
        "store": "dynamodb",
        "place": table[1],
        "region": _text(record, "awsRegion"),
        **_entry([tenant, *rest.split("#")]),
        "eventId": _text(record, "eventID"),
        "time": _utc(_get(record, "dynamodb", "ApproximateCreationDateTime")),
    }


def parameter_message(event: Any, path_prefixes: Collection[str]) -> Message | None:
    """The message for a "Parameter Store Change", None if it is not below a prefix or is no change that AWS documents.

    Raises Unreadable.
    """
    if _get(event, "source") != "aws.ssm" or _get(event, "detail-type") != "Parameter Store Change":
        raise Unreadable("it is neither a batch of records nor a Parameter Store Change")
    name = _text(event, "detail", "name")
    below = [prefix for prefix in path_prefixes if name.startswith(f"{prefix}/")]
    if not below or _text(event, "detail", "operation") not in OPERATIONS:
        return None
    # Below a prefix that is the beginning of another, the number of levels tells which one it is.
    prefix = next((each for each in below if name.count("/") == each.count("/") + 4), below[0])
    return {
        "store": "ssm",
        "place": prefix,
        "region": _text(event, "region"),
        **_entry(name.removeprefix(f"{prefix}/").split("/")),
        "eventId": _text(event, "id"),
        "time": _utc(_text(event, "time")),
    }


def send(client: Any, url: str, messages: Mapping[str, Message]) -> set[str]:
    """Sends to one queue. Returns those that it did not take, by their sequence numbers."""
    waiting = {sequence: _batch_entry(sequence, message) for sequence, message in messages.items()}
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
        try:
            for entries in _batches(waiting.values()):
                answer = client.send_message_batch(QueueUrl=url, Entries=entries)
                for taken in answer.get("Successful", ()):
                    del waiting[taken["Id"]]
        except client.exceptions.QueueDoesNotExist:
            logger.error("queue %s does not exist; take it out of QUEUE_URLS", url)
            return set()
        except (BotoCoreError, ClientError) as error:  # boto3 itself has tried again
            logger.error("queue %s: %s", url, _reason(error))
            break
        if not waiting:
            break
    else:
        logger.error("queue %s did not take %d messages", url, len(waiting))
    return set(waiting)


def _entry(parts: list[str]) -> dict[str, str]:
    """A scope and a key from tenant, environment, service and key as stores have them."""
    if len(parts) != 4:
        raise Unreadable("its name has not the parts tenant, environment, service and key")
    entry = dict(zip(("tenant", "environment", "service", "key"), parts, strict=True))
    if not KEY.fullmatch(entry["key"]):
        raise Unreadable("its key is not one that an entry can have")
    for name in ("environment", "service"):
        if entry[name] == "_":
            entry[name] = ""
        elif not LABEL.fullmatch(entry[name]):
            raise Unreadable(f"its {name} is not a DNS label")
    if not LABEL.fullmatch(entry["tenant"]):
        raise Unreadable("its tenant is not a DNS label")
    return entry


def _identity(message: Message) -> tuple[str, ...]:
    return tuple(value for name, value in message.items() if name not in {"eventId", "time"})


def _utc(moment: Any) -> str:
    """RFC 3339 in seconds, from that or from seconds since 1970."""
    try:
        read = datetime.fromisoformat(moment) if isinstance(moment, str) else datetime.fromtimestamp(moment, UTC)
        if read.tzinfo:
            return read.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (TypeError, ValueError, OverflowError, OSError):
        pass
    raise Unreadable("its time is none")


def _sequence(record: Any) -> str:
    sequence = _text(record, "dynamodb", "SequenceNumber")
    if not re.fullmatch("[0-9]{1,40}", sequence):
        raise Unreadable("its sequence number is none")
    return sequence


def _event_id(event: Any) -> str:
    """The id under which an event may be logged."""
    for name in ("eventID", "id"):
        id = _get(event, name)
        if isinstance(id, str) and EVENT_ID.fullmatch(id):
            return id
    return "without an id"


def _is_batch(event: Any) -> bool:
    return isinstance(_get(event, "Records"), list)


def _get(event: Any, *path: str) -> Any:
    for name in path:
        event = event.get(name) if isinstance(event, dict) else None
    return event


def _text(event: Any, *path: str) -> str:
    text = _get(event, *path)
    if not isinstance(text, str):
        raise Unreadable(f"it has no {'.'.join(path)}")
    return text


def _batch_entry(sequence: str, message: Message) -> dict[str, str]:
    return {"Id": sequence, "MessageBody": json.dumps(message), "MessageGroupId": message["tenant"]}


def _batches(entries: Iterable[dict[str, str]]) -> Iterator[list[dict[str, str]]]:
    several = list(entries)
    return (several[start : start + MAX_BATCH] for start in range(0, len(several), MAX_BATCH))


def _reason(error: Exception) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else type(error).__name__


def _listed(variable: str) -> list[str]:
    parts = (part.strip().rstrip("/") for part in os.environ.get(variable, "").split(","))
    return [part for part in parts if part]


@cache
def _sqs() -> Any:
    # Together well below the function's time-out, so that a queue that hangs leaves time to report it.
    config = Config(connect_timeout=2, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 3})
    return boto3.client("sqs", config=config)
