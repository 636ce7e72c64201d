"""From what a store holds and what a resource wants to the changes between them. Pure.

      desired \\ held │ absent   │ ours, equal │ ours, other │ a stranger's
      ───────────────┼──────────┼─────────────┼─────────────┼─────────────
      Enforce        │ create   │ –           │ update      │ Stalled
      Seed           │ create   │ –           │ –           │ –
      Observe        │ –        │ –           │ –           │ –
      not desired    │ –        │ delete (a Seed value that others changed: release)

Deletion of a resource is the last row for everything; with Retain it is all release.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import Format, Policy, Value


@dataclass(frozen=True, slots=True)
class Desired:
    """What a resource wants under a key of one store; `value` is None for Observe alone."""

    key: str
    policy: Policy
    value: Value | None = None
    owned: bool = True  # false: a Seed that others have changed, on its way to another place


@dataclass(frozen=True, slots=True)
class Held:
    """What a store holds under a key."""

    text: str
    version: str  # as the store counts
    sensitive: bool = False
    format: Format | None = None  # None: the store does not keep it
    owner: str = ""  # empty: nobody's
    intact: bool = True  # false: someone wrote past us, and the store's own marks show it
    pristine: bool = False  # certainly as we wrote it: the store can tell, or it is the version that was created

    @property
    def mark(self) -> str:
        """By which it is known that others changed it: the version, and where they left that as it was, their value."""
        if self.intact:
            return self.version
        return f"{self.version}~{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"

    def __repr__(self) -> str:  # see Value
        return f"Held(version={self.version}, owner={self.owner!r}, characters={len(self.text)})"

    def matches(self, value: Value) -> bool:
        """Whether nothing needs to be written for the store to hold `value`."""
        same_format = self.format is None or self.format is value.format
        return self.intact and same_format and (self.text, self.sensitive) == (value.text, value.sensitive)


ABSENT = Held("", "")  # stands for what is not there, where that is compared


@dataclass(frozen=True, slots=True)
class Head:
    """A store's own record of who writes a scope, and the epoch that fences writers (DynamoDB)."""

    owner: str
    epoch: int
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds of a scope, as far as it was asked."""

    held: Mapping[str, Held] = field(default_factory=dict)
    head: Head | None = None


MAX_OWNER = 256  # characters of a tag's value in AWS
UID = 36


def owner(cluster: str, namespace: str, name: str, uid: str) -> str:
    """How the stores name a resource: `<cluster>/<namespace>/<name>/<uid>`, a very long name cut and hashed.

    No Kubernetes name has two dots in a row, so a cut name is never another resource's.
    """
    room = MAX_OWNER - len(f"{cluster}/{namespace}//") - UID
    if len(name) > room:
        name = f"{name[: room - 18]}..{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{cluster}/{namespace}/{name}/{uid}"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who asks, and what its status records of this place."""

    owner: str  # <cluster>/<namespace>/<name>/<uid>
    generation: int = 0
    adopt: str = ""
    policies: Mapping[str, Policy] = field(default_factory=dict)  # by key: what decides over its removal
    trusted: Mapping[str, str] = field(default_factory=dict)  # versions recorded as ours: no owner need be looked up
    indifferent: frozenset[str] = frozenset()  # whoever owns them, the plan is the same: not looked up either
    thorough: bool = False  # the record may lack keys: the store is looked through for what is ours

    def covers(self, owner: str) -> bool:
        """Whether data of `owner` is ours to change."""
        return self.made(owner) or self.adopt == (owner or "unowned")

    def made(self, owner: str) -> bool:
        """Whether `owner` is this resource, or was: only one object can have its name at a time."""
        return bool(owner) and owner.rpartition("/")[0] == self.owner.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Put:
    """Write `value`; `replaces` is what was read there, None when the key must not exist."""

    key: str
    value: Value
    replaces: Held | None = None
    owned: bool = True  # false: it is created as nobody's


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a key that was read as `held`."""

    key: str
    held: Held


@dataclass(frozen=True, slots=True)
class Changes:
    """What one store has to do for a scope, with the preconditions under which it was decided."""

    owner: str
    generation: int = 0  # of the resource that wants them
    puts: tuple[Put, ...] = ()
    deletes: tuple[Delete, ...] = ()
    claims: tuple[Put, ...] = ()  # values stay, their owner becomes ours
    releases: tuple[str, ...] = ()  # values stay, their owner is cleared
    head: Head | None = None  # as it was read

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletes or self.claims or self.releases)


def plan(desired: Iterable[Desired], contents: Contents, claim: Claim) -> Changes:
    """The changes after which a store holds what is desired.

    Raises Stalled (ScopeConflict, NotOwned) if that would overwrite a stranger's data.
    """
    wanted = {each.key: each for each in desired}
    _refuse_strangers(wanted.values(), contents, claim)
    puts = [put for each in wanted.values() if (put := _put(each, contents.held.get(each.key), claim))]
    ours = {key: held for key, held in contents.held.items() if held.owner and claim.covers(held.owner)}
    leaving = {key: held for key, held in ours.items() if key not in wanted}
    put_keys = {put.key for put in puts}
    observed = {key for key, each in wanted.items() if each.policy is Policy.OBSERVE}
    claims = [
        Put(key, each.value, replaces=held)
        for key, each in sorted(wanted.items())
        if each.policy is Policy.ENFORCE and each.value and key not in put_keys
        if (held := contents.held.get(key)) and held.owner != claim.owner  # _refuse_strangers let it pass
    ]
    releases = [key for key, held in leaving.items() if not _removable(key, held, claim)]
    releases += sorted((observed & ours.keys()) | (_lost(contents, claim) - put_keys))
    return Changes(
        owner=claim.owner,
        generation=claim.generation,
        puts=tuple(puts),
        deletes=tuple(Delete(key, held) for key, held in leaving.items() if key not in releases),
        claims=tuple(claims),
        releases=tuple(releases),
        head=contents.head,
    )


def plan_release(contents: Contents, claim: Claim) -> Changes:
    """The changes after which a store holds the same values, none of them ours."""
    ours = {key for key, held in contents.held.items() if held.owner and claim.covers(held.owner)}
    releases = tuple(sorted(ours | _lost(contents, claim)))
    return Changes(owner=claim.owner, generation=claim.generation, releases=releases, head=contents.head)


def remaining(
    changes: Changes, acknowledged: Mapping[str, Held], deleted: Collection[str], released: Collection[str]
) -> Changes:
    """The changes that were not acknowledged."""
    return replace(
        changes,
        puts=tuple(put for put in changes.puts if put.key not in acknowledged),
        claims=tuple(put for put in changes.claims if put.key not in acknowledged),
        deletes=tuple(each for each in changes.deletes if each.key not in deleted),
        releases=tuple(key for key in changes.releases if key not in released),
    )


def overlay(
    contents: Contents, acknowledged: Mapping[str, Held], deleted: Iterable[str], released: Collection[str] = ()
) -> Mapping[str, Held]:
    """What the store holds now: the read, with the acknowledged writes on top. There is no second read."""
    gone = set(deleted)
    held = {key: each for key, each in {**contents.held, **acknowledged}.items() if key not in gone}
    return held | {key: replace(held[key], owner="") for key in released if key in held}


def written(put: Put, version: str, owner: str) -> Held:
    """What a store holds under a key after an acknowledged `put`."""
    value, pristine = put.value, put.replaces is None
    return Held(value.text, version, value.sensitive, value.format, owner if put.owned else "", pristine=pristine)


def _put(desired: Desired, held: Held | None, claim: Claim) -> Put | None:
    if desired.value is None:
        return None
    if held is None:
        return Put(desired.key, desired.value, owned=desired.owned)
    # Others may change a Seed where it was after our copy has arrived, if the pass did not end.
    ours = bool(held.owner) and claim.covers(held.owner)
    outdated = ours and held.pristine and not desired.owned
    if (desired.policy is Policy.ENFORCE or outdated) and not held.matches(desired.value):
        return Put(desired.key, desired.value, replaces=held)
    return None


def _lost(contents: Contents, claim: Claim) -> set[str]:
    """Keys that our head lists and that someone deleted."""
    head = contents.head
    return set(head.keys - contents.held.keys()) if head and claim.covers(head.owner) else set()


def _removable(key: str, held: Held, claim: Claim) -> bool:
    """Whether what leaves is deleted, not left: not what came by adoption alone, nor what others may have changed."""
    policy = claim.policies.get(key)
    if not claim.made(held.owner):
        return False
    return policy is Policy.ENFORCE or (policy is not Policy.OBSERVE and held.pristine)


def _astray(key: str, held: Held, claim: Claim) -> bool:
    """Whether what is recorded as ours is nobody's by now, since others made it again: then it is claimed again.

    SSM itself makes a parameter again that was deleted when we update it, without its tags.
    """
    return not held.owner and bool(claim.trusted.get(key))


def scope_conflict(what: str, owner: str) -> Stalled:
    return Stalled(
        Reason.SCOPE_CONFLICT,
        f"{what} belongs to {owner}: delete one of the two, or annotate this one with "
        f'tenantconfig.dev/adopt: "{owner}"',
    )


def _refuse_strangers(wanted: Collection[Desired], contents: Contents, claim: Claim) -> None:
    writing = any(
        each.policy is Policy.ENFORCE or (each.policy is Policy.SEED and each.key not in contents.held)
        for each in wanted
    )
    if writing and contents.head and not claim.covers(contents.head.owner):
        raise scope_conflict("the scope", contents.head.owner)
    for each in wanted:
        held = contents.held.get(each.key)
        if each.policy is not Policy.ENFORCE or held is None:
            continue
        if claim.covers(held.owner) or _astray(each.key, held, claim):
            continue
        if held.owner:
            raise scope_conflict(each.key, held.owner)
        raise Stalled(
            Reason.NOT_OWNED,
            f"{each.key} is in the store already and nobody here wrote it: remove it there, or annotate this "
            'resource with tenantconfig.dev/adopt: "unowned"',
        )
