"""Runs every step that has something to do, side by side, and says how long it took."""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from prepare import controlplane, dynamodb_local, environment, node
from prepare.report import Report, StepFailed

STEPS: dict[str, tuple[Callable[[], bool], Callable[[Report], None]]] = {
    "python": (environment.ready, environment.install),
    "control plane": (controlplane.ready, controlplane.build),
    "dynamodb local": (dynamodb_local.ready, dynamodb_local.fetch),
    "node": (node.ready, node.install),
}


def main() -> int:
    """Prepares everything, or what is named; silent when there is nothing to do."""
    names = sys.argv[1:] or list(STEPS)
    started = time.monotonic()
    try:
        pending = {name: STEPS[name][1] for name in names if not STEPS[name][0]()}
        if not pending:
            return 0
        environment.create(Report("python"))
    except StepFailed as error:
        print(error, file=sys.stderr)
        return 1
    with ThreadPoolExecutor() as pool:
        steps = {name: pool.submit(step, Report(name)) for name, step in pending.items()}
    failures = [f"{name}: {step.exception()}" for name, step in steps.items() if step.exception()]
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"set-up {'failed' if failures else 'complete'} after {time.monotonic() - started:.0f} s", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
