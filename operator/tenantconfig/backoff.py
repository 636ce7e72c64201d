"""How long to wait before trying again: the one formula, with the limits of whoever tries."""

import random
from collections.abc import Callable

MOST_DOUBLINGS = 16  # beyond any limit, and far from a float's


def delay(failures: int, first: float, longest: float, spread: Callable[[], float] = random.random) -> float:
    """Seconds to wait after `failures` in a row: from `first`, doubling up to `longest`, the upper half by chance."""
    ceiling = min(longest, first * 2.0 ** min(failures - 1, MOST_DOUBLINGS))
    return ceiling * (0.5 + 0.5 * spread())
