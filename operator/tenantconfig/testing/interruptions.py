"""The contract of the gate: it is asked before each request, and what it forbids does not happen."""
# ruff: noqa: S101  # assert is how a test speaks

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tenantconfig.errors import Reason, Transient
from tenantconfig.plan import Desired
from tenantconfig.testing.world import Resource, World, enforce, new_scope, observe, seed

MOST = 50  # requests that a store may need for a handful of keys


@dataclass
class Shutting:
    """A gate that lets so many requests pass, and no more."""

    requests: int
    asked: int = 0
    error: Transient = field(default_factory=lambda: Transient(Reason.NOT_LEADING, "another controller leads"))

    def __call__(self) -> None:
        self.asked += 1
        if self.asked > self.requests:
            raise self.error

    @property
    def shut(self) -> bool:
        """Whether it forbade anything."""
        return self.asked > self.requests


@dataclass
class Counting:
    """A gate that notes how many requests were made whenever it is asked."""

    world: World
    noted: list[int | None] = field(default_factory=list)
    before: int | None = None

    def __post_init__(self) -> None:
        self.before = self.world.requests()

    def __call__(self) -> None:
        self.noted.append(self.world.requests())

    def judge(self) -> None:
        """It was asked, and where requests are counted, once before each."""
        after = self.world.requests()
        assert self.noted
        if self.before is not None and after is not None:
            assert self.noted == list(range(self.before, after))


def changing(world: World) -> tuple[Resource, list[Desired]]:
    """A resource and what it wants next: something to create, update, delete, observe and release."""
    resource = Resource(world.store, new_scope())
    resource.bring(enforce("stays", "1"), enforce("changes", "1"), enforce("goes", "1"), seed("meddled", "1"))
    world.overwrite(resource.scope, "meddled", "theirs")
    return resource, [enforce("stays", "1"), enforce("changes", "2"), enforce("new", "1"), seed("b", "1"), observe("c")]


def many(count: int) -> list[Desired]:
    return [enforce(f"key-{number:03}", "1") for number in range(count)]


def interrupted(world: World, resource: Resource, wishes: list[Desired], gate: Shutting) -> None:
    """A pass that is stopped says what it did before, no more and no less, and the next one ends it."""
    expected = dict(world.texts(resource.scope))
    applied = resource.attempt(*wishes, gate=gate).applied
    assert applied.error is (gate.error if gate.shut else None)
    expected |= {key: held.text for key, held in applied.held.items()}
    assert world.texts(resource.scope) == {key: text for key, text in expected.items() if key not in applied.deleted}
    owners = world.owners(resource.scope)
    assert {key: owners.get(key, "") for key in applied.held} == {key: each.owner for key, each in applied.held.items()}
    assert not owners.keys() & applied.released

    resource.bring(*wishes)
    assert not resource.plan(*wishes)


def points(world: World) -> Iterator[tuple[Shutting, Resource, list[Desired]]]:
    """Gates that shut ever later, the last one not at all, each with a resource of its own."""
    for requests in range(MOST):
        gate = Shutting(requests)
        yield gate, *changing(world)
        if not gate.shut:
            return
    pytest.fail(f"more than {MOST} requests for five keys")


class Interruptions:
    """Needs the fixtures `world` and `resource`."""

    def test_the_gate_is_asked_before_each_request_of_a_read(self, world: World, resource: Resource) -> None:
        resource.bring(*many(12))
        world.overwrite(resource.scope, "theirs", "1")
        resource.thorough = True
        gate = Counting(world)
        resource.read(enforce("theirs", "1"), *many(12), gate=gate)
        gate.judge()

    def test_the_gate_is_asked_before_each_request_of_changes(self, world: World) -> None:
        resource, wishes = changing(world)
        world.overwrite(resource.scope, "same", "1")
        world.overwrite(resource.scope, "other", "1")
        resource.adopt = "unowned"
        changes = resource.plan(*wishes, enforce("same", "1"), enforce("other", "2"))
        gate = Counting(world)
        assert resource.apply(changes, gate).error is None
        gate.judge()

    def test_a_read_that_is_stopped_raises(self, world: World) -> None:
        for gate, resource, wishes in points(world):
            if gate.requests:
                resource.trusted = {}  # whose they are is to be found out too
            error = None
            try:
                resource.read(*wishes, gate=gate)
            except Transient as raised:
                error = raised
            assert error is (gate.error if gate.shut else None)

    def test_changes_that_are_stopped_at_once_change_nothing(self, world: World) -> None:
        resource, wishes = changing(world)
        before = world.texts(resource.scope), world.owners(resource.scope)
        applied = resource.apply(resource.plan(*wishes), gate := Shutting(0))
        assert (applied.held, applied.deleted) == ({}, frozenset())
        assert applied.error is gate.error
        assert (world.texts(resource.scope), world.owners(resource.scope)) == before

    def test_changes_that_are_stopped_anywhere_are_told_exactly_and_ended_by_the_next_pass(self, world: World) -> None:
        for gate, resource, wishes in points(world):
            interrupted(world, resource, wishes, gate)
            there = {"stays": "1", "changes": "2", "new": "1", "b": "1", "meddled": "theirs"}
            assert world.texts(resource.scope) == there
            assert world.owners(resource.scope).keys() - {""} == {"stays", "changes", "new", "b"}

    def test_many_changes_that_are_stopped_are_told_exactly_and_ended_by_the_next_pass(self, world: World) -> None:
        counting = Shutting(1000)
        assert Resource(world.store, new_scope()).attempt(*many(110), gate=counting).applied.error is None
        for requests in {1, counting.asked - 1}:
            resource = Resource(world.store, new_scope())
            interrupted(world, resource, many(110), Shutting(requests))
            assert world.texts(resource.scope).keys() == {each.key for each in many(110)}

    def test_adoption_that_is_stopped_anywhere_is_told_exactly_and_ended_by_the_next_pass(self, world: World) -> None:
        wishes = [enforce("other", "ours"), enforce("same", "theirs")]
        for gate, resource, _ in points(world):
            world.overwrite(resource.scope, "other", "theirs")
            world.overwrite(resource.scope, "same", "theirs")
            resource.adopt = "unowned"
            interrupted(world, resource, wishes, gate)
            assert world.texts(resource.scope) == {"meddled": "theirs", "other": "ours", "same": "theirs"}
            assert world.owners(resource.scope).keys() - {""} == {"other", "same"}

    def test_a_removal_that_is_stopped_anywhere_is_ended_by_the_next_pass(self, world: World) -> None:
        for gate, resource, _ in points(world):
            interrupted(world, resource, [], gate)
            assert world.texts(resource.scope) == {"meddled": "theirs"}
            assert world.owners(resource.scope) == {}
