"""What several resources and a stranger do to one scope, each pass held to what it may leave behind.

The judgement is made of what is really there before and after, past the store, and
of what a resource has recorded. Where stores may differ, all of it is right: a key
beside the record may be found and removed, or not be known of.
"""
# ruff: noqa: S101  # assert is how a test speaks

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import Policy, Value
from tenantconfig.plan import Desired, Held
from tenantconfig.testing.world import Resource, World, new_scope, owner

NOBODY = ""


@dataclass(frozen=True)
class Wish:
    """What a resource wants under a key."""

    policy: Policy
    value: Value
    owned: bool = True  # of a Seed

    def desired(self, key: str, *, takes_sensitive: bool) -> Desired:
        if self.policy is Policy.OBSERVE:
            return Desired(key, self.policy)
        value = replace(self.value, sensitive=self.value.sensitive and takes_sensitive)
        return Desired(key, self.policy, value, self.owned or self.policy is Policy.ENFORCE)


@dataclass(frozen=True)
class Meddling:
    """A stranger writes past us, or with no `text`, deletes."""

    key: str
    text: str | None
    sensitive: bool = False


@dataclass(frozen=True)
class Bringing:
    """A resource has a pass."""

    who: str
    wishes: Mapping[str, Wish]
    adopts: str = ""  # a name in ADOPTED
    thorough: bool = False


Step = Meddling | Bringing

OURS, FORMER, OTHER = owner(uid="uid-2"), owner(uid="uid-1"), owner("other")
ACTORS = {"we": OURS, "our former self": FORMER, "another": OTHER}
ADOPTED = {"": "", "what nobody owns": "unowned", **ACTORS}


@dataclass(frozen=True)
class State:
    """What is really there."""

    texts: Mapping[str, str]
    owners: Mapping[str, str]
    sensitive: Collection[str]

    def owner(self, key: str) -> str:
        return self.owners.get(key, NOBODY)

    def value(self, key: str) -> tuple[str, bool] | None:
        return (self.texts[key], key in self.sensitive) if key in self.texts else None


@dataclass
class History:
    """A scope of `world`, and what has become of it so far."""

    world: World
    resources: dict[str, Resource] = field(init=False)
    planted: set[str] = field(default_factory=set)  # Seeds that are certainly as a pass created them
    passed: dict[str, str] = field(default_factory=dict)  # the texts that passes wrote

    def __post_init__(self) -> None:
        scope = new_scope()
        self.resources = {name: Resource(self.world.store, scope, each) for name, each in ACTORS.items()}
        self.state = State({}, {}, frozenset())

    @property
    def we(self) -> Resource:
        return self.resources["we"]

    def tell(self, *steps: Step) -> None:
        """Let it happen."""
        for step in steps:
            if isinstance(step, Meddling):
                self._meddle(step)
                self.state = self._look()
            else:
                self.bring(step)
            if self.world.trusts_records:
                self._correct_records()

    def bring(self, step: Bringing) -> bool:
        """A pass: either refused, and nothing is changed, or all that is wanted is there. Returns whether it was."""
        resource = self._actor(step)
        desired = [each.desired(key, takes_sensitive=self.world.takes_sensitive) for key, each in step.wishes.items()]
        before, recorded = self.state, dict(resource.policies)
        try:
            done = resource.attempt(*desired)
        except Stalled:
            self._judge_refusal(resource)
            return False
        if done.applied.error and self._retypes(desired):
            assert done.applied.error.reason is Reason.PROGRESSING
            done = resource.attempt(*desired)
        assert done.applied.error is None
        self.state = self._look()
        Verdict(self, resource, before, self.state, recorded).judge(desired)
        self._judge_report(resource, desired, done.held)
        assert not resource.plan(*desired), "a second pass has nothing to do"
        self._note(desired, before)
        return True

    def retain(self) -> None:
        """Our deletion with Retain: every value stays, none of them ours."""
        before, known = self.state, self.we.policies
        self.we.adopt = ""
        self.we.retain()
        after, covered = self._look(), self.we.claim(()).covers
        assert (after.texts, after.sensitive) == (before.texts, before.sensitive)
        assert OURS not in after.owners.values()
        assert not [key for key in known if covered(after.owner(key))]
        strangers = [
            {key: each for key, each in state.owners.items() if not covered(each)} for state in (before, after)
        ]
        assert strangers[0] == strangers[1]

    def _look(self) -> State:
        scope = self.we.scope
        return State(self.world.texts(scope), self.world.owners(scope), self.world.sensitive(scope))

    def _actor(self, step: Bringing) -> Resource:
        """Who has the pass. Once we exist, our former self does not."""
        name = "we" if step.who == "our former self" and self.we.policies else step.who
        resource = self.resources[name]
        resource.adopt, resource.thorough = ADOPTED[step.adopts], step.thorough
        return resource

    def _meddle(self, step: Meddling) -> None:
        scope, key, text = self.we.scope, step.key, step.text
        self.planted.discard(key)
        if text is None:
            self.passed.pop(key, None)
            if key in self.state.texts:
                self.world.remove(scope, key)
        elif step.sensitive and self.world.takes_sensitive and key not in self.state.texts:
            self.world.create_sensitive(scope, key, text)
        else:
            self.world.overwrite(scope, key, text)

    def _correct_records(self) -> None:
        """Whoever has recorded as theirs what is not any more gets to know."""
        owners = self.state.owners
        for each in self.resources.values():
            each.trusted = {key: version for key, version in each.trusted.items() if owners.get(key) == each.owner}

    def _retypes(self, desired: Collection[Desired]) -> bool:
        """Whether a pass may need another one after it."""
        return not self.world.retypes_at_once and any(
            each.value
            and (each.policy is Policy.ENFORCE or not each.owned)
            and each.key in self.state.texts
            and each.value.sensitive is not (each.key in self.state.sensitive)
            for each in desired
        )

    def _judge_refusal(self, resource: Resource) -> None:
        before, covers = self.state, resource.claim(()).covers
        assert self._look() == before
        strangers = [key for key in before.texts.keys() | before.owners.keys() if not covers(before.owner(key))]
        assert strangers, "there was nobody to be refused for"

    def _judge_report(self, resource: Resource, desired: Collection[Desired], held: Mapping[str, Held]) -> None:
        """What is reported as held is what is there."""
        there = {each.key: self.state.value(each.key) for each in desired if each.key in self.state.texts}
        assert {key: (each.text, each.sensitive) for key, each in held.items()} == there
        fresh = resource.read(*desired).held
        assert {key: each.version for key, each in held.items()} == {key: fresh[key].version for key in held}

    def _note(self, desired: Collection[Desired], before: State) -> None:
        after = self.state
        for each in desired:
            created = each.policy is Policy.SEED and each.key not in before.texts
            if each.policy is Policy.ENFORCE or after.value(each.key) != before.value(each.key):
                self.planted.discard(each.key)
                self.passed[each.key] = after.texts[each.key]
            if created:
                self.planted.add(each.key)
        for key in before.texts.keys() - after.texts.keys():
            self.planted.discard(key)
            self.passed.pop(key, None)


def wished(desired: Desired) -> tuple[str, bool] | None:
    """The value that is wanted, as State has it."""
    return (desired.value.text, desired.value.sensitive) if desired.value else None


@dataclass(frozen=True)
class Verdict:
    """Whether a pass of `resource`, which had `recorded` these policies, has left what it may."""

    history: History
    resource: Resource
    before: State
    after: State
    recorded: Mapping[str, Policy]

    def judge(self, desired: Collection[Desired]) -> None:
        """Every key by itself."""
        wanted = {each.key: each for each in desired}
        for key in self._keys() | wanted.keys():
            if key in wanted:
                self._wanted(wanted[key])
            elif not self._covered(key):
                self._untouched(key)
            elif key not in self.before.texts:
                assert self._now(key) == (None, NOBODY)
            else:
                self._leaving(key, found=key in self.recorded or self.resource.thorough)
        if not self.after.owners.keys() - {""}:
            assert self.after.owners == {}, "what owns nothing has no owner"

    def _keys(self) -> set[str]:
        states = (self.before, self.after)
        return {key for state in states for key in (*state.texts, *state.owners) if key}

    def _covered(self, key: str) -> bool:
        return bool(self.before.owner(key)) and self.resource.claim(()).covers(self.before.owner(key))

    def _changed(self, key: str) -> bool:
        """Whether it certainly says what someone else wrote."""
        return self.before.texts[key] != self.history.passed.get(key)

    def _now(self, key: str) -> tuple[tuple[str, bool] | None, str]:
        return self.after.value(key), self.after.owner(key)

    def _untouched(self, key: str) -> None:
        assert self._now(key) == (self.before.value(key), self.before.owner(key))

    def _wanted(self, desired: Desired) -> None:
        if desired.policy is Policy.ENFORCE:
            self._enforced(desired)
        elif desired.policy is Policy.SEED and self.before.value(desired.key) is None:
            assert self._now(desired.key) == (wished(desired), self.resource.owner if desired.owned else NOBODY)
        elif not self._covered(desired.key):
            self._untouched(desired.key)
        else:
            self._kept(desired)

    def _enforced(self, desired: Desired) -> None:
        was, before = self.before.value(desired.key), self.before.owner(desired.key)
        recorded = self.recorded.get(desired.key) is Policy.ENFORCE
        astray = before == NOBODY and recorded  # others made it again: ours again
        assert was is None or astray or self.resource.claim(()).covers(before), "it was a stranger's"
        assert self._now(desired.key) == (wished(desired), self.resource.owner)

    def _kept(self, desired: Desired) -> None:
        """It was there and ours, and is to stay."""
        values, owners = [self.before.value(desired.key)], {self.before.owner(desired.key)}
        if desired.policy is Policy.OBSERVE:
            owners |= {NOBODY}
        else:
            owners |= {self.resource.owner}
            if not desired.owned and not self._changed(desired.key):
                values.append(wished(desired))  # from elsewhere, over a copy of ours that nobody has changed
                owners |= {NOBODY}
        value, owner = self._now(desired.key)
        assert value in values
        assert owner in owners

    def _leaving(self, key: str, *, found: bool) -> None:
        """It was ours, and is wanted no more; what is not recorded may be `found` all the same, or not."""
        untouched = [] if found else [(self.before.value(key), self.before.owner(key))]
        assert self._now(key) in [*self._removed(key), *untouched]

    def _removed(self, key: str) -> list[tuple[object, str]]:
        """What may have become of it: gone, or nobody's."""
        gone: tuple[object, str] = (None, NOBODY)
        released: tuple[object, str] = (self.before.value(key), NOBODY)
        policy = self.recorded.get(key)
        if not self._made(key):
            return [released]
        if policy is Policy.ENFORCE:
            return [gone]
        if policy is Policy.OBSERVE or self._changed(key):
            return [released]
        return [gone] if key in self.history.planted else [gone, released]

    def _made(self, key: str) -> bool:
        """Whether it is of the resource or of its former self, not only adopted."""
        return self.before.owner(key).rpartition("/")[0] == self.resource.owner.rpartition("/")[0]
