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
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cache
from itertools import batched
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
EVENT_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
TABLE_ARN = re.compile(r"arn:[^:]+:dynamodb:[^:]*:[^:]*:table/([A-Za-z0-9_.-]{3,255})/stream/.+")

Message = dict[str, str]

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)


class Unreadable(Exception):
    """An event that is not about a key of ours; the text says why, without anything of its content."""


class NotSent(Exception):
    """A queue did not take the message."""
