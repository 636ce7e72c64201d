"""The subscriber's side: hold the latest of some scopes, and hear of every change.

`view` decides what a message means for what is held, without I/O; `stream`
connects, reconnects and resumes.
"""

from tenantconfig.client.stream import Connection, get, watch
from tenantconfig.client.view import (
    NO_CREDENTIALS,
    Changed,
    Denied,
    Disconnected,
    Event,
    Fresh,
    Gone,
    StaleScope,
    Unchanged,
)

__all__ = [
    "NO_CREDENTIALS",
    "Changed",
    "Connection",
    "Denied",
    "Disconnected",
    "Event",
    "Fresh",
    "Gone",
    "StaleScope",
    "Unchanged",
    "get",
    "watch",
]
