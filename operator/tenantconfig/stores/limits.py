"""What AWS would refuse of a value, so that it is refused before anything is written. Pure.

Each rule answers for a person, as in "entry KEY …"; empty when the store would take the value.
"""

from collections.abc import Callable
from functools import partial

from tenantconfig.model import ConfigStore, Scope, Value
from tenantconfig.plan import Put
from tenantconfig.stores.items import Rows, entry_item, item_bytes

MAX_ITEM_BYTES = 400 * 1024  # attribute names and keys included
A_TIME = "2026-01-02T03:04:05Z"  # as long as any

MAX_LEVELS = 15
MAX_NAME = 1011  # characters, the ARN's head left aside
MAX_BYTES = {"Standard": 4 * 1024, "Advanced": 8 * 1024, "Intelligent-Tiering": 8 * 1024}

Limit = Callable[[Scope, str, Value], str]


def of(store: ConfigStore) -> Limit | None:
    """The rule of a ConfigStore; None for a plugin, which alone knows its own."""
    place, options = dict(store.place), dict(store.options)
    if store.kind == "dynamodb":
        return dynamodb
    if store.kind == "ssm":
        return partial(ssm, place["pathPrefix"], options.get("tier", "Standard"))
    return None


def dynamodb(scope: Scope, key: str, value: Value) -> str:
    """What a table would not take."""
    if value.sensitive:
        return "is sensitive and routed to DynamoDB: give it a key with the prefix of an SSM store"
    size = item_bytes(entry_item(Rows(scope), Put(key, value), A_TIME))
    return f"makes an item of {size} bytes, DynamoDB takes {MAX_ITEM_BYTES}" if size > MAX_ITEM_BYTES else ""


def ssm(path_prefix: str, tier: str, scope: Scope, key: str, value: Value) -> str:
    """What a path of the Parameter Store would not take."""
    if not value.text:
        return "is empty, which SSM does not take: leave the entry out, or give it a key of a DynamoDB store"
    if "{{" in value.text:
        return "contains '{{', which SSM does not take: give it a key of a DynamoDB store"
    limit = MAX_BYTES[tier]
    if len(value.text.encode()) > limit:
        return f"is larger than the {limit} bytes of a parameter of tier {tier}"
    name = parameter_name(path_prefix, scope, key)
    if name.count("/") > MAX_LEVELS or len(name) > MAX_NAME:
        return f"makes a parameter name beyond {MAX_LEVELS} levels or {MAX_NAME} characters: shorten the key"
    return ""


def parameter_name(path_prefix: str, scope: Scope, key: str) -> str:
    """The name of an entry's parameter."""
    return f"{path_prefix}/{scope}/{key}"
