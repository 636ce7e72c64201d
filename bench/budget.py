"""What the write budget of a ConfigStore comes to: `.venv/bin/python bench/budget.py` prints the table.

All times are virtual but the last column. No network, about half a minute.
"""

import sys
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from budget_model import (
    RATE,
    Again,
    Result,
    a_strict_store,
    many_tenants,
    one_large_resource,
    one_tenant_of_many_resources,
)
from harness.virtual_time import run

T = TypeVar("T")

COLUMNS = (
    "scenario",
    "all Ready after, s",
    "arithmetic, s",
    "PutParameter",
    "values",
    "refused",
    "GetParameters, most of a tenant",
    "small tenants wait at most, s",
    "PutParameter in a second, at most",
    "a second in the last quarter",
    "passes",
    "CPU, s",
)


def main() -> None:
    print(f"{RATE:g} writes a second\n")
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    (result, again), cpu = measured(many_tenants(1000, 10))
    print(row("1,000 tenants bring 10 keys each", result, cpu))
    result, cpu = measured(one_tenant_of_many_resources(1000, 10))
    print(row("one tenant brings 1,000 resources of 10 keys", result, cpu))
    result, cpu = measured(one_large_resource(1000))
    print(row("one tenant brings 1,000 keys in one resource", result, cpu))
    for burst in (10, 2):
        result, cpu = measured(a_strict_store(200, 10, 2.0, burst, 600.0))
        print(row(f"200 tenants; SSM itself takes 2 a second, {burst} at once, for 10 minutes", result, cpu))
    print("\n" + "\n".join(of_nothing_changed(again)))


def measured(scenario: Coroutine[Any, Any, T]) -> tuple[T, float]:
    """Its result, and the seconds of CPU that it took."""
    began = time.process_time()
    return run(scenario), time.process_time() - began


def row(name: str, result: Result, cpu: float) -> str:
    wait = f"{max(result.waits):.2f}" if result.waits else "–"
    cells = (
        name,
        f"{result.seconds:.1f}",
        f"{result.arithmetic:.1f}",
        f"{result.writes}",
        f"{result.needed}",
        f"{result.refused}",
        f"{result.most_reads}",
        wait,
        f"{result.most_in_a_second}",
        f"{result.last_rate:.2f}",
        f"{result.passes}",
        f"{cpu:.1f}",
    )
    return "| " + " | ".join(cells) + " |"


def of_nothing_changed(again: Again) -> Iterator[str]:
    requests = ", ".join(f"{count} {operation}" for operation, count in again.requests.items())
    yield f"A new controller, nothing changed: {again.passes_at_start} passes."
    yield f"Then every resource is asked for: {requests}, {again.kubernetes_writes} writes to Kubernetes."


if __name__ == "__main__":
    main()
