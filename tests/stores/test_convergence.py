"""Whatever is there and whatever is wanted: one pass suffices, and removal leaves exactly what was not ours."""

from collections.abc import Mapping

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenantconfig.model import Format, Policy, Value
from tenantconfig.plan import Desired
from tenantconfig.testing import Resource, World, new_scope

KEYS = ["a", "b", "c", "d"]
TEXTS = ["1", "2", '{"x":1}', "ü"]

# What a resource wants: policy, text and format, by key.
wishes = st.dictionaries(
    st.sampled_from(KEYS),
    st.tuples(st.sampled_from(Policy), st.sampled_from(TEXTS), st.sampled_from(Format)),
)
# What someone else writes meanwhile (None: deletes, if it is there).
meddling = st.dictionaries(st.sampled_from(KEYS), st.sampled_from([*TEXTS, None]), max_size=2)


def desired(wanted: Mapping[str, tuple[Policy, str, Format]]) -> list[Desired]:
    return [
        Desired(key, policy, None if policy is Policy.OBSERVE else Value(text, format))
        for key, (policy, text, format) in wanted.items()
    ]


def meddle(world: World, resource: Resource, changes: Mapping[str, str | None]) -> None:
    for key, text in changes.items():
        if text is not None:
            world.overwrite(resource.scope, key, text)
        elif key in world.texts(resource.scope):
            world.remove(resource.scope, key)


# A world is shared by the examples: each has a scope of its own.
converging = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@converging
@given(before=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(TEXTS)), wanted=wishes)
def test_one_pass_over_foreign_contents_suffices(
    world: World, before: dict[str, str], wanted: dict[str, tuple[Policy, str, Format]]
) -> None:
    resource = Resource(world.store, new_scope(), adopt="unowned")
    meddle(world, resource, before)
    held = resource.bring(*desired(wanted))

    expected = dict(before)
    for key, (policy, text, _) in wanted.items():
        if policy is Policy.ENFORCE or (policy is Policy.SEED and key not in before):
            expected[key] = text
    assert world.texts(resource.scope) == expected
    assert {key: each.text for key, each in held.items()} == {k: v for k, v in expected.items() if k in wanted}
    assert not resource.plan(*desired(wanted))


@converging
@given(before=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(TEXTS)), wanted=wishes)
def test_removal_leaves_exactly_what_was_not_ours(
    world: World, before: dict[str, str], wanted: dict[str, tuple[Policy, str, Format]]
) -> None:
    wanted = {key: wish for key, wish in wanted.items() if not (key in before and wish[0] is Policy.ENFORCE)}
    resource = Resource(world.store, new_scope())
    meddle(world, resource, before)
    resource.bring(*desired(wanted))
    resource.bring()
    assert world.texts(resource.scope) == before
    assert world.owners(resource.scope) == {}


@converging
@given(first=wishes, changes=meddling, second=wishes)
def test_edits_and_meddling_converge_in_one_pass(
    world: World,
    first: dict[str, tuple[Policy, str, Format]],
    changes: dict[str, str | None],
    second: dict[str, tuple[Policy, str, Format]],
) -> None:
    resource = Resource(world.store, new_scope(), adopt="unowned")
    resource.bring(*desired(first))
    meddle(world, resource, changes)
    there = world.texts(resource.scope)
    held = resource.bring(*desired(second))

    now = world.texts(resource.scope)
    for key, (policy, text, _) in second.items():
        present = there.get(key)
        if policy is Policy.ENFORCE:
            assert now[key] == text
        elif policy is Policy.SEED:
            assert now[key] == (present if present is not None else text)
        else:
            assert now.get(key) == present
    for key in there.keys() - second.keys() - first.keys():
        assert now[key] == there[key]
    for key, (policy, _, _) in first.items():
        if key not in second and policy is Policy.ENFORCE:
            assert key not in now
    assert {key: each.text for key, each in held.items()} == {k: v for k, v in now.items() if k in second}
    assert not resource.plan(*desired(second))
