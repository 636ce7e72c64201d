"""The store protocol: read a scope, apply changes to it. Everything else is decided elsewhere.

Calls are synchronous (boto3 is) and run in worker threads; an implementation is
shared by passes over different scopes at once.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar, runtime_checkable

from tenantconfig.errors import TenantConfigError
from tenantconfig.model import Scope, Value
from tenantconfig.plan import Changes, Claim, Contents, Held

T = TypeVar("T")


# Called before each request; raises Transient when it must not be made: the controller
# no longer leads, or the ConfigStore's requests per second are spent.
Gate = Callable[[], None]


def always() -> None:
    """A gate for callers that nobody else competes with."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What a store acknowledged; with `error`, everything up to the failure."""

    held: Mapping[str, Held] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    released: frozenset[str] = frozenset()
    error: TenantConfigError | None = None


class Store(Protocol):
    """A place that holds values, behind one ConfigStore location."""

    def probe(self) -> None:
        """Make sure that the place exists and answers.

        Raises Transient when it does not exist, refuses us, or did not answer: all of these, time may mend.
        """

    def refuses(self, scope: Scope, key: str, value: Value) -> str:
        """Why the store would refuse `value` under `key`, for a person; empty if it would not. No I/O."""

    def read(self, scope: Scope, keys: Collection[str], claim: Claim, gate: Gate = always) -> Contents:
        """What the store holds under `keys`, and under what it knows to be the claim's owner's beside them.

        Calls `gate()` before each request. Raises Stalled or Transient.
        """

    def apply(self, scope: Scope, changes: Changes, gate: Gate = always) -> Applied:
        """Make `changes`, each under the precondition with which it was decided, `gate()` before each request.

        Never raises what a store can answer: a failure is in the result, beside what was acknowledged before it.
        A precondition that does not hold is a Conflict.
        """


@runtime_checkable
class Marked(Protocol):
    """A store that can tell cheaply whether values are still the ones that were written."""

    def shown(self, names: Collection[tuple[Scope, str]]) -> Mapping[tuple[Scope, str], Held]:
        """Those that are there, without their owners. Raises Stalled or Transient."""


@runtime_checkable
class Authored(Protocol):
    """A store that can tell who wrote a value last."""

    def author(self, scope: Scope, key: str) -> str:
        """As the store names them; empty if it does not know. Raises Stalled or Transient."""


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """`items` in runs of at most `size`."""
    return (items[start : start + size] for start in range(0, len(items), size))
