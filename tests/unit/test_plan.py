"""The table of the plan: what is wanted against what is held, cell by cell."""

from dataclasses import replace

import pytest

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import Format, Policy, Value
from tenantconfig.plan import Changes, Claim, Contents, Delete, Desired, Head, Held, Put, overlay, plan, plan_release

US, FORMER_US, THEM = "cluster/team/checkout/uid-2", "cluster/team/checkout/uid-1", "cluster/team/other/uid-3"

EQUAL = Held("1", "5", format=Format.TEXT, owner=US)
OTHER = Held("2", "5", format=Format.TEXT, owner=US)
PRISTINE = replace(EQUAL, pristine=True)
SEEDED = Held("2", "1", format=Format.TEXT, owner=US, pristine=True)
FORMER = Held("1", "5", format=Format.TEXT, owner=FORMER_US)
FORMER_OTHER = Held("2", "5", format=Format.TEXT, owner=FORMER_US)
FOREIGN = Held("2", "5", format=Format.TEXT, owner=THEM)
UNOWNED = Held("2", "5", format=Format.TEXT)

ENFORCE, SEED = (Desired("a", policy, Value("1")) for policy in (Policy.ENFORCE, Policy.SEED))
OBSERVE = Desired("a", Policy.OBSERVE)


def changes(desired: Desired | None, held: Held | None, policy: Policy | None = None, adopt: str = "") -> Changes:
    """The plan for one key; `policy` is what the status records of it."""
    contents = Contents({"a": held} if held else {})
    claim = Claim(US, 7, adopt, {"a": policy} if policy else {})
    return plan([desired] if desired else [], contents, claim)


CREATE = {"puts": (Put("a", Value("1")),)}


@pytest.mark.parametrize(
    ("desired", "held", "expected"),
    [
        (ENFORCE, None, CREATE),
        (ENFORCE, EQUAL, {}),
        (ENFORCE, OTHER, {"puts": (Put("a", Value("1"), OTHER),)}),
        (ENFORCE, FORMER, {"claims": (Put("a", Value("1"), FORMER),)}),
        (ENFORCE, FORMER_OTHER, {"puts": (Put("a", Value("1"), FORMER_OTHER),)}),
        (SEED, None, CREATE),
        (SEED, EQUAL, {}),
        (SEED, OTHER, {}),
        (SEED, FORMER, {}),
        (SEED, UNOWNED, {}),
        (SEED, FOREIGN, {}),
        (OBSERVE, None, {}),
        (OBSERVE, UNOWNED, {}),
        (OBSERVE, FOREIGN, {}),
        (None, None, {}),
        (None, PRISTINE, {"deletes": (Delete("a", PRISTINE),)}),
        (None, EQUAL, {"releases": ("a",)}),
        (None, FORMER, {"releases": ("a",)}),
        (None, FOREIGN, {}),
        (None, UNOWNED, {}),
    ],
)
def test_the_changes_for_one_key(desired: Desired | None, held: Held | None, expected: dict[str, object]) -> None:
    made = changes(desired, held)
    shown = {name: getattr(made, name) for name in ("puts", "deletes", "claims", "releases") if getattr(made, name)}
    assert shown == expected
    assert bool(made) is bool(expected)
    assert (made.owner, made.generation) == (US, 7)


@pytest.mark.parametrize(
    ("recorded", "held", "deleted", "released"),
    [
        (Policy.SEED, SEEDED, True, False),
        (Policy.SEED, OTHER, False, True),
        (Policy.ENFORCE, OTHER, True, False),
        (Policy.ENFORCE, FORMER, True, False),
        (Policy.OBSERVE, UNOWNED, False, False),
        (Policy.SEED, FOREIGN, False, False),
    ],
)
def test_what_happens_to_an_entry_that_goes(recorded: Policy, held: Held, deleted: bool, released: bool) -> None:
    made = changes(None, held, recorded)
    assert (bool(made.deletes), made.releases) == (deleted, ("a",) if released else ())


@pytest.mark.parametrize(
    ("held", "adopt", "reason"),
    [
        (FOREIGN, "", Reason.SCOPE_CONFLICT),
        (FOREIGN, "unowned", Reason.SCOPE_CONFLICT),
        (FOREIGN, US, Reason.SCOPE_CONFLICT),
        (UNOWNED, "", Reason.NOT_OWNED),
        (UNOWNED, THEM, Reason.NOT_OWNED),
    ],
)
def test_enforcing_over_a_strangers_value_is_refused(held: Held, adopt: str, reason: Reason) -> None:
    with pytest.raises(Stalled) as caught:
        changes(ENFORCE, held, adopt=adopt)
    assert caught.value.reason is reason
    assert f'tenantconfig.dev/adopt: "{held.owner or "unowned"}"' in caught.value.message


@pytest.mark.parametrize("recorded", [*Policy, None])
def test_what_came_by_adoption_alone_is_left_when_it_goes(recorded: Policy | None) -> None:
    made = changes(None, replace(FOREIGN, pristine=True), recorded, adopt=THEM)
    assert (made.deletes, made.releases) == ((), ("a",))


@pytest.mark.parametrize(("held", "adopt"), [(FOREIGN, THEM), (UNOWNED, "unowned")])
def test_enforcing_over_an_adopted_value_writes_it(held: Held, adopt: str) -> None:
    assert changes(ENFORCE, held, adopt=adopt).puts == (Put("a", Value("1"), held),)


def test_a_strangers_head_refuses_even_a_key_that_is_not_there() -> None:
    with pytest.raises(Stalled, match=THEM) as caught:
        plan([ENFORCE], Contents({}, Head(THEM, 3)), Claim(US))
    assert caught.value.reason is Reason.SCOPE_CONFLICT


def test_a_strangers_head_does_not_hinder_leaving() -> None:
    assert not plan([], Contents({"a": FOREIGN}, Head(THEM, 3, frozenset({"a"}))), Claim(US))


@pytest.mark.parametrize(
    ("held", "matches"),
    [
        (Held("1", "1", format=Format.TEXT), True),
        (Held("1", "1", format=None), True),
        (Held("1", "1", format=Format.JSON), False),
        (Held("2", "1", format=Format.TEXT), False),
        (Held("1", "1", format=Format.TEXT, sensitive=True), False),
        (Held("1", "1", format=Format.TEXT, intact=False), False),
    ],
)
def test_when_nothing_needs_to_be_written(held: Held, matches: bool) -> None:
    assert held.matches(Value("1")) is matches


def test_release_keeps_every_value_and_gives_up_what_is_ours() -> None:
    contents = Contents({"a": EQUAL, "b": FORMER, "c": FOREIGN, "d": UNOWNED}, Head(US, 4))
    made = plan_release(contents, Claim(US, 7))
    assert (made.puts, made.deletes, made.claims) == ((), (), ())
    assert sorted(made.releases) == ["a", "b"]
    assert made.head is contents.head


def test_the_overlay_is_the_read_with_what_was_acknowledged() -> None:
    contents = Contents({"a": EQUAL, "b": EQUAL, "c": EQUAL})
    assert overlay(contents, {"a": OTHER, "d": OTHER}, {"b"}) == {"a": OTHER, "c": EQUAL, "d": OTHER}


def test_a_plan_carries_the_head_that_it_was_made_from() -> None:
    head = Head(US, 9, frozenset({"a"}))
    assert plan([ENFORCE], Contents({"a": OTHER}, head), Claim(US)).head is head
