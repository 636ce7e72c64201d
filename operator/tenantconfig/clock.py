"""Times as Kubernetes and the tick write them."""

from datetime import UTC, datetime
from typing import Literal


def timestamp() -> str:
    """Now, as metav1.Time has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339(seconds: float, precision: Literal["seconds", "microseconds"] = "microseconds") -> str:
    """Unix seconds as RFC 3339 in UTC, as metav1.MicroTime or metav1.Time has it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec=precision).replace("+00:00", "Z")
