"""Waiting until something becomes true, within a limit that is generous: tests wait for facts, not for time."""

import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")

TIMEOUT = 60.0
INTERVAL = 0.02


class NotInTime(AssertionError):
    """What was waited for did not happen."""


def wait_for(condition: Callable[[], T | Literal[False] | None], what: str, timeout: float = TIMEOUT) -> T:
    """Returns the first true result of `condition`.

    A condition may assert: an AssertionError counts as "not yet", and the last
    one becomes the cause of NotInTime. Any other exception ends the wait.
    """
    deadline = time.monotonic() + timeout
    cause: AssertionError | None = None
    while True:
        try:
            result = condition()
            if result:
                return result
            cause = None
        except NotInTime:
            raise
        except AssertionError as error:
            cause = error
        if time.monotonic() >= deadline:
            raise NotInTime(f"{what}: not within {timeout:g} s") from cause
        time.sleep(INTERVAL)
