"""The subscriber's side: hold the latest of some scopes, and hear of every change.

    from tenantconfig.client import Scope, connect          # for threads; `aio.connect` is the same for asyncio

    with connect("watch-server:8443", Scope("acme", "prod"), token_file=…, ca_file=…, cache=…) as client:
        client.wait_ready(10)
        limit = client.config.get_int("tenant_config_max_orders")

`sync` and `aio` are the two faces of one client. `config` is what the application holds,
`cache` what it starts from when no server answers. Below them `view` decides what a
message means for what is held, without I/O, and `stream` connects, reconnects and resumes.
"""

from tenantconfig.client import aio
from tenantconfig.client.aio import Change, NotReady
from tenantconfig.client.config import Config, MissingKey, State, WrongType
from tenantconfig.client.stream import Connection, get, watch
from tenantconfig.client.sync import Client, connect
from tenantconfig.client.view import (
    FAILED,
    NO_CREDENTIALS,
    NO_TRUST,
    Changed,
    Denied,
    Disconnected,
    Event,
    Fresh,
    Gone,
    Refused,
    StaleScope,
    Unchanged,
    Validator,
    View,
)
from tenantconfig.model import Scope

__all__ = [
    "FAILED",
    "NO_CREDENTIALS",
    "NO_TRUST",
    "Change",
    "Changed",
    "Client",
    "Config",
    "Connection",
    "Denied",
    "Disconnected",
    "Event",
    "Fresh",
    "Gone",
    "MissingKey",
    "NotReady",
    "Refused",
    "Scope",
    "StaleScope",
    "State",
    "Unchanged",
    "Validator",
    "View",
    "WrongType",
    "aio",
    "connect",
    "get",
    "watch",
]
