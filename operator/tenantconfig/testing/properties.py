"""The contract for any contents and any wishes, by Hypothesis: see History for what is asserted of each pass."""
# ruff: noqa: S101  # assert is how a test speaks

from collections.abc import Collection

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenantconfig.model import Format, Policy, Value
from tenantconfig.testing.history import ACTORS, ADOPTED, Bringing, History, Meddling, Step, Wish
from tenantconfig.testing.world import World

KEYS = ["a", "b", "c", "d"]
TEXTS = ["1", "2", '{"x":1}', "ü"]

_values = st.builds(Value, st.sampled_from(TEXTS), st.sampled_from(Format), st.booleans())
_wishes = st.dictionaries(st.sampled_from(KEYS), st.builds(Wish, st.sampled_from(Policy), _values, st.booleans()))
_meddling = st.builds(Meddling, st.sampled_from(KEYS), st.sampled_from([*TEXTS, None]), st.booleans())


def _passes(who: Collection[str]) -> st.SearchStrategy[Bringing]:
    """Passes of these."""
    return st.builds(Bringing, st.sampled_from(sorted(who)), _wishes, st.sampled_from([*ADOPTED]), st.booleans())


def _steps(who: Collection[str], most: int) -> st.SearchStrategy[list[Step]]:
    """What these do in turn, and strangers between them."""
    return st.lists(st.one_of(_meddling, _passes(who)), max_size=most)


_ours = _passes(["we"])
_others = _steps(ACTORS.keys() - {"we"}, most=4)
_anyones = _steps(ACTORS.keys(), most=5)

# A world is shared by the examples, each of which has a scope of its own; and a
# property by every class that inherits it.
_converging = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
        HealthCheck.too_slow,
    ],
)


class Properties:
    """Needs the fixture `world`."""

    @_converging
    @given(before=_others, ours=_ours)
    def test_one_pass_over_foreign_contents_suffices(self, world: World, before: list[Step], ours: Bringing) -> None:
        history = History(world)
        history.tell(*before, ours)

    @_converging
    @given(before=_anyones)
    def test_removal_leaves_exactly_what_was_not_ours(self, world: World, before: list[Step]) -> None:
        history = History(world)
        history.tell(*before)
        assert history.bring(Bringing("we", {})), "who leaves is never refused"

    @_converging
    @given(first=_ours, meanwhile=_steps(ACTORS.keys() - {"we"}, most=3), second=_ours)
    def test_edits_and_meddling_converge_in_one_pass(
        self, world: World, first: Bringing, meanwhile: list[Step], second: Bringing
    ) -> None:
        History(world).tell(first, *meanwhile, second)

    @_converging
    @given(before=_anyones)
    def test_retain_leaves_every_value_and_none_of_them_ours(self, world: World, before: list[Step]) -> None:
        history = History(world)
        history.tell(*before)
        history.retain()
