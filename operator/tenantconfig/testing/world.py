"""A store as the contract suite sees it, and a resource that lives on one.

A World is a store with the means to look at what is really there, and to change
it as someone else would: past us. A Resource remembers between passes what a
status would record.
"""
# ruff: noqa: S101  # assert is how a test speaks

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tenantconfig.model import Format, Policy, Scope, Value
from tenantconfig.plan import Changes, Claim, Contents, Desired, Held, overlay, plan, plan_release
from tenantconfig.stores.base import Applied, Gate, Store, always

LONGEST_SCOPE = Scope("t" * 63, "e" * 63, "s" * 63)
CLUSTER = "cluster-1"
_numbers = itertools.count(1)


def new_scope(environment: str = "prod", service: str = "checkout") -> Scope:
    """A scope that no other test of this process uses."""
    return Scope(f"acme-{next(_numbers)}", environment, service)


def owner(name: str = "checkout", uid: str = "uid-1", cluster: str = CLUSTER) -> str:
    """An owner as the operator writes it."""
    return f"{cluster}/acme/{name}/{uid}"


class World(ABC):
    """One store, and what is behind it. What is not abstract is for stores that can do more, or less."""

    store: Store
    atomic = True  # nothing of a set of changes happens unless all of it can
    guards_deletions = True  # a deletion is conditional on what was read, as a write is
    trusts_records = False  # what is recorded under the version that is there is taken as ours, whatever the marks say
    takes_sensitive = False
    retypes_at_once = True  # false: what becomes sensitive, or is no longer, takes two passes

    @abstractmethod
    def texts(self, scope: Scope) -> dict[str, str]:
        """Everything that is there, read past the store."""

    @abstractmethod
    def owners(self, scope: Scope) -> dict[str, str]:
        """Who owns what: by key, and for a head (under "") the scope. What nobody owns is left out."""

    @abstractmethod
    def overwrite(self, scope: Scope, key: str, text: str) -> None:
        """Someone else writes, who knows nothing of owners; what is sensitive stays so."""

    @abstractmethod
    def remove(self, scope: Scope, key: str) -> None:
        """Someone else deletes what is there."""

    def sensitive(self, scope: Scope) -> set[str]:
        """The keys whose values are kept as sensitive; a world that `takes_sensitive` says so."""
        return set()

    def create_sensitive(self, scope: Scope, key: str, text: str) -> None:
        """Someone else creates a sensitive value; only called where the world `takes_sensitive`."""
        raise NotImplementedError

    def requests(self) -> int | None:
        """How many requests the store has made; None where nobody counts."""
        return None


def enforce(key: str, text: str, format: Format = Format.TEXT, *, sensitive: bool = False) -> Desired:
    return Desired(key, Policy.ENFORCE, Value(text, format, sensitive))


def seed(key: str, text: str, *, owned: bool = True) -> Desired:
    return Desired(key, Policy.SEED, Value(text), owned)


def observe(key: str) -> Desired:
    return Desired(key, Policy.OBSERVE)


def indifferent(desired: Desired) -> bool:
    """Whether it does not matter whose it is; it does for a Seed that comes from elsewhere, over our older copy."""
    return desired.policy is Policy.OBSERVE or (desired.policy is Policy.SEED and desired.owned)


@dataclass(frozen=True)
class Pass:
    """What came of it."""

    held: dict[str, Held]  # of what is desired, as it is reported
    applied: Applied


@dataclass
class Resource:
    """What wants something of a store, with the memory that its status is."""

    store: Store
    scope: Scope
    owner: str = field(default_factory=owner)
    adopt: str = ""
    thorough: bool = False
    policies: dict[str, Policy] = field(default_factory=dict)
    trusted: dict[str, str] = field(default_factory=dict)

    def claim(self, desired: Iterable[Desired]) -> Claim:
        return Claim(
            self.owner,
            generation=1,
            adopt=self.adopt,
            policies=dict(self.policies),
            trusted=dict(self.trusted),
            indifferent=frozenset(each.key for each in desired if indifferent(each)),
            thorough=self.thorough,
        )

    def read(self, *desired: Desired, gate: Gate = always) -> Contents:
        keys = {each.key for each in desired} | self.policies.keys()
        return self.store.read(self.scope, keys, self.claim(desired), gate)

    def plan(self, *desired: Desired) -> Changes:
        return plan(desired, self.read(*desired), self.claim(desired))

    def apply(self, changes: Changes, gate: Gate = always) -> Applied:
        """Nothing is asked of the store when there is nothing to do."""
        return self.store.apply(self.scope, changes, gate) if changes else Applied()

    def attempt(self, *desired: Desired, gate: Gate = always) -> Pass:
        """One pass: read, plan, apply under `gate`, remember."""
        contents = self.read(*desired)
        changes = plan(desired, contents, self.claim(desired))
        applied = self.apply(changes, gate)
        held = overlay(contents, applied.held, applied.deleted, applied.released)
        self._remember(desired, changes, held, unfinished=applied.error is not None)
        return Pass({each.key: held[each.key] for each in desired if each.key in held}, applied)

    def bring(self, *desired: Desired) -> dict[str, Held]:
        """One pass that succeeds. Returns what the store holds now of what is desired."""
        done = self.attempt(*desired)
        assert done.applied.error is None
        return done.held

    def retain(self) -> None:
        """Deletion with deletionPolicy Retain."""
        applied = self.apply(plan_release(self.read(), self.claim(())))
        assert applied.error is None

    def _remember(
        self, desired: Iterable[Desired], changes: Changes, held: Mapping[str, Held], *, unfinished: bool
    ) -> None:
        """What is desired, and what is still to be removed or released."""
        leaving = {each.key for each in changes.deletes} & held.keys()
        leaving |= set(changes.releases) if unfinished else set()
        self.policies = {key: each for key, each in self.policies.items() if key in leaving}
        self.trusted = {key: each for key, each in self.trusted.items() if key in leaving}
        for each in desired:
            self.policies[each.key] = each.policy
            if each.policy is Policy.ENFORCE and each.key in held and held[each.key].owner == self.owner:
                self.trusted[each.key] = held[each.key].version
