"""Times as Kubernetes and the tick write them."""

from datetime import UTC, datetime


def timestamp() -> str:
    """Now, as metav1.Time has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339(seconds: float) -> str:
    """Unix seconds as RFC 3339 in UTC, with microseconds (metav1.MicroTime)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
