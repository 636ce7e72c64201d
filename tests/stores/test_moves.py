"""Keys change their places, and the controller is killed at any of its writes: no value is ever lost."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, TypeVar

import pytest

from harness.aws import LocalAws, Moto
from stores.crashes import (
    HOME,
    READS,
    WRITES,
    At,
    Crash,
    Installation,
    Place,
    Request,
    Side,
    Wire,
    enforced,
    observed,
    sown,
    table,
)
from stores.world import DynamoDBWorld, SSMWorld
from tenantconfig.errors import Conflict, Reason, Stalled, Transient
from tenantconfig.model import Entry, Policy, State
from tenantconfig.stores.ssm import REST_SECONDS
from tenantconfig.testing import new_scope

_numbers = count(1)
Scene = TypeVar("Scene", bound="Moving | Installation")
Install = Callable[..., Installation]  # of other places than those of the fixture, if any are named


Routes = Mapping[str, tuple[str, tuple[str, ...]]]  # by ConfigStore: its place and prefixes


@dataclass(frozen=True)
class Move:
    """ConfigStores before and after a change: what begins with a_ moves, and in an exchange what begins with b_."""

    before: Routes
    after: Routes

    @property
    def prefixes(self) -> list[str]:
        """Of the keys that move."""
        return [prefix for prefix in ("a_", "b_") if self.old(prefix) != self.new(prefix)]

    def old(self, key: str) -> str:
        return _routed(self.before, key)

    def new(self, key: str) -> str:
        return _routed(self.after, key)


def _routed(routes: Routes, key: str) -> str:
    return next(place for place, prefixes in routes.values() if key.startswith(prefixes))


MOVES = {
    "DynamoDB to SSM": Move(
        {"one": ("A", ("a_",)), "two": ("P", ("b_",))},
        {"one": ("A", ("z_",)), "two": ("P", ("a_", "b_"))},
    ),
    "SSM to DynamoDB": Move(
        {"one": ("P", ("a_",)), "two": ("A", ("b_",))},
        {"one": ("P", ("z_",)), "two": ("A", ("a_", "b_"))},
    ),
    "table to table": Move(
        {"one": ("A", ("a_",)), "two": ("P", ("b_",))},
        {"one": ("B", ("a_",)), "two": ("P", ("b_",))},
    ),
    "path to path": Move(
        {"one": ("P", ("a_",)), "two": ("A", ("b_",))},
        {"one": ("Q", ("a_",)), "two": ("A", ("b_",))},
    ),
    "table and path exchanged": Move(
        {"one": ("A", ("a_",)), "two": ("P", ("b_",))},
        {"one": ("A", ("b_",)), "two": ("P", ("a_",))},
    ),
    "paths exchanged": Move(
        {"one": ("P", ("a_",)), "two": ("Q", ("b_",))},
        {"one": ("P", ("b_",)), "two": ("Q", ("a_",))},
    ),
}


class Moving:
    """A resource with keys of every policy, at the moment when a move has been decided.

    Of each prefix that moves: what is enforced (where it may be, a secret too), what was
    sown, what was sown and then changed by others, what others had sown before, and what
    is observed. In both places lie others' values.
    """

    def __init__(self, installation: Installation, move: Move, enforced_keys: int = 1) -> None:
        self.installation = installation
        self.move = move
        self.expected: dict[str, str] = {}  # what is to be read of a key at any time
        self.foreign: dict[tuple[str, str], str] = {}  # what others wrote, by place and key
        self.entries: list[Entry] = []
        self._declare(move.before)
        for prefix in move.prefixes:
            self._entries(prefix, enforced_keys)
        if "b_" not in move.prefixes:
            self._want(enforced("b_stays"))
        installation.want(*self.entries)
        installation.settle()
        for prefix in move.prefixes:
            self.change(f"{prefix}changed", "theirs")
        installation.settle()
        self._declare(move.after)
        installation.wire.forget()

    def change(self, key: str, text: str) -> None:
        """Others change a Seed in its old place."""
        self.installation.overwrite(self.move.old(key), key, text)
        self.expected[key] = text

    def check(self) -> None:
        """What holds at any moment: every value can be read somewhere, and others' values are as they were."""
        texts = self.installation.texts()
        for key, text in self.expected.items():
            assert text in {texts[place].get(key) for place in (self.move.old(key), self.move.new(key))}, key
        self.check_foreign()

    def check_foreign(self) -> None:
        """Others' values are as they were."""
        texts = self.installation.texts()
        assert {(place, key): texts[place].get(key) for place, key in self.foreign} == self.foreign

    def check_end(self) -> None:
        """Everything is where it should be, whose it should be, and nowhere else; and it is recorded so."""
        texts: dict[str, dict[str, str]] = {name: {} for name in self.installation.places}
        for (place, key), text in self.foreign.items():
            texts[place][key] = text
        for key, text in self.expected.items():
            texts[self.move.new(key)][key] = text
        assert self.installation.texts() == texts
        ours = {key for key in self.expected if not key.endswith(("changed", "found"))}
        owned = {name: {key for key in ours if self.move.new(key) == name} for name in self.installation.places}
        assert self.installation.owned() == owned
        assert self.installation.sensitive() == {key for key in self.expected if key.endswith("secret")}
        status = self.installation.resource.status
        assert status.ready
        assert {each.state for each in status.entries} == {State.SYNCED}
        places = {self._place_of(id) for id in status.locations}
        assert places == {self.move.new(each.key) for each in self.entries}

    def _declare(self, routes: Routes) -> None:
        for name, (place, prefixes) in routes.items():
            self.installation.declare(name, place, *prefixes)

    def _entries(self, prefix: str, enforced_keys: int) -> None:
        for number in range(enforced_keys):
            self._want(enforced(f"{prefix}enforced-{number}"))
        self._want(sown(f"{prefix}sown"))
        self._want(sown(f"{prefix}changed"))
        self._found(f"{prefix}found")
        if not {self.move.old(prefix), self.move.new(prefix)} & {"A", "B"}:
            self._want_secret(f"{prefix}secret")
        self.entries.append(observed(f"{prefix}observed"))
        for place in (self.move.old(prefix), self.move.new(prefix)):
            for key in (f"{prefix}observed", f"{prefix}nobody-asks-for"):
                self.foreign[place, key] = f"seen in {place}"
                self.installation.overwrite(place, key, f"seen in {place}")

    def _want(self, entry: Entry) -> None:
        self.entries.append(entry)
        assert entry.value
        self.expected[entry.key] = entry.value.text

    def _found(self, key: str) -> None:
        self.entries.append(sown(key))
        self.installation.overwrite(self.move.old(key), key, "found")
        self.expected[key] = self.foreign[self.move.old(key), key] = "found"

    def _want_secret(self, key: str) -> None:
        self.entries.append(Entry(key, Policy.ENFORCE))
        self.expected[key] = self.installation.secrets[key] = "hush"

    def _place_of(self, id: str) -> str:
        found = self.installation.known.place(id)
        assert found
        return next(text for name, text in found[0].place if name in ("tableName", "pathPrefix"))


@pytest.fixture
def install(
    dynamodb_local: LocalAws, dynamodb_client: Any, dynamodb_direct: Any, moto: Moto, ssm_client: Any, ssm_direct: Any
) -> Iterator[Install]:
    """Makes installations over the tables A and B and the paths P and Q, each with a scope of its own."""
    tables = {
        name: DynamoDBWorld(dynamodb_local, dynamodb_client, dynamodb_direct, table(dynamodb_direct, f"moves-{name}"))
        for name in "AB"
    }
    paths = {name: SSMWorld(moto, ssm_client, ssm_direct, f"/moves-{next(_numbers)}-{name}") for name in "PQ"}
    wire = Wire(dynamodb_client, ssm_client)
    places = [Place(name, world) for name, world in (tables | paths).items()]
    yield lambda *others: Installation(wire, dynamodb_client, ssm_client, new_scope(), others or places)
    wire.close()


def cut_off(installation: Installation, number: int) -> bool:
    """A pass whose process ends after its `number`-th write, at 0 before the first; false if it has not that many.

    Between two writes nothing changes: to end before a write is to end after the one before it.
    """
    wire = installation.wire
    end = At(number, Side.AFTER, wire.crash) if number else At(1, Side.BEFORE, wire.crash)
    wire.hooks.append(end)
    with suppress(Crash):
        installation.run()
    installation.restart()
    return end.happened


def at_every_write(begin: Callable[[], Scene]) -> Iterator[Scene]:
    """What `begin` makes, again and again: each time the next pass ended at another write, the last time at none."""
    for number in count():
        scene = begin()
        cut = cut_off(scene.installation if isinstance(scene, Moving) else scene, number)
        yield scene
        if not cut:
            assert number > 1, "there is something to cut off"
            return


def quiet(installation: Installation) -> None:
    """One more pass writes nothing."""
    installation.wire.forget()
    installation.settle()
    assert installation.wire.writes() == []


def resumed(moving: Moving) -> None:
    """One pass brings everything to its place, and the next one writes nothing."""
    moving.check()
    moving.installation.settle()
    moving.check()
    moving.check_end()
    quiet(moving.installation)


# A move that is cut off


@pytest.mark.parametrize("move", MOVES)
def test_a_move_may_be_cut_off_at_any_write(install: Install, move: str) -> None:
    for moving in at_every_write(lambda: Moving(install(), MOVES[move])):
        resumed(moving)


def test_a_move_of_several_transactions_may_be_cut_off_at_any_write(install: Install) -> None:
    for moving in at_every_write(lambda: Moving(install(), MOVES["table to table"], enforced_keys=120)):
        resumed(moving)


def test_a_move_may_be_cut_off_again_and_again(install: Install) -> None:
    moving = Moving(install(), MOVES["paths exchanged"])
    while cut_off(moving.installation, 1):
        moving.check()
    resumed(moving)


def test_a_key_leaves_its_old_place_only_when_it_can_be_read_in_its_new_one(install: Install) -> None:
    moving = Moving(install(), MOVES["path to path"])
    installation = moving.installation
    path = installation.places["Q"].world.path  # type: ignore[union-attr]

    def lagging(side: Side, request: Request) -> None:
        if side is Side.AFTER and request.operation == "GetParameters":
            found = request.answer["Parameters"]
            request.answer["Parameters"] = [each for each in found if not each["Name"].startswith(path)]

    installation.wire.hooks.append(lagging)
    before = installation.texts()["P"]
    for _ in range(2):  # the second one does not even see that it has created them
        (failure,) = installation.run().failures
        assert isinstance(failure, Transient)
        assert installation.texts()["P"] == before
    installation.wire.hooks.clear()
    resumed(moving)


def test_a_move_costs_one_more_read_of_both_places(install: Install) -> None:
    installation = install()
    installation.declare("one", "P", "a_")
    installation.want(*(enforced(f"a_{number}") for number in range(10)))
    installation.settle()
    installation.wire.forget()
    installation.declare("one", "Q", "a_")
    installation.settle()
    assert Counter(each.operation for each in installation.wire.sent) == {
        "GetParameters": 4,
        "PutParameter": 10,
        "DeleteParameters": 1,
    }


# Seeds that others change


@pytest.mark.parametrize("move", ["table to table", "path to path", "table and path exchanged"])
def test_a_seed_that_others_change_while_no_controller_runs_moves_as_it_is_by_then(install: Install, move: str) -> None:
    old, new = MOVES[move].old("a_"), MOVES[move].new("a_")
    for moving in at_every_write(lambda: Moving(install(), MOVES[move])):
        installation = moving.installation
        if "a_sown" not in installation.texts()[old]:
            continue  # it has moved: the old place is nobody's to look at
        moving.change("a_sown", "theirs too")
        installation.settle()
        moving.check()
        assert installation.texts()[new]["a_sown"] == "theirs too"
        assert "a_sown" not in installation.texts()[old]
        quiet(installation)


@pytest.mark.parametrize("move", ["table to table", "path to path", "DynamoDB to SSM"])
def test_a_seed_that_others_change_in_the_last_moment_is_not_removed(install: Install, move: str) -> None:
    moving = Moving(install(), MOVES[move])
    installation, old = moving.installation, moving.move.old("a_")
    written = False

    def meddle(side: Side, request: Request) -> None:
        nonlocal written
        copied = "a_changed" in installation.texts()[moving.move.new("a_")]
        if side is Side.BEFORE and request.operation in READS and copied and not written:
            written = True
            installation.overwrite(old, "a_changed", "theirs too")

    installation.wire.hooks.append(meddle)
    installation.run()
    installation.wire.hooks.clear()
    assert written
    assert installation.texts()[old]["a_changed"] == "theirs too"
    assert "a_changed" not in installation.owned()[old]


def test_what_others_write_between_the_last_read_and_a_removal_stays_in_dynamodb(install: Install) -> None:
    moving = Moving(install(), MOVES["table to table"])
    installation = moving.installation
    last = At(2, Side.BEFORE, lambda: installation.overwrite("A", "a_changed", "theirs too"))
    installation.wire.hooks.append(last)
    (failure,) = installation.run().failures
    assert isinstance(failure, Conflict)
    assert installation.texts()["A"]["a_changed"] == "theirs too"
    installation.wire.hooks.clear()
    installation.settle()
    assert installation.texts()["A"]["a_changed"] == "theirs too"
    assert installation.owned()["A"] == set()


def test_a_seed_that_others_have_changed_moves_there_and_back(install: Install) -> None:
    moving = Moving(install(), MOVES["path to path"])
    installation = moving.installation
    installation.settle()
    installation.overwrite("Q", "a_changed", "theirs too")
    installation.declare("one", "P", "a_")
    installation.seconds += REST_SECONDS
    installation.settle()
    assert installation.texts()["P"]["a_changed"] == "theirs too"
    assert installation.owned()["Q"] == set()


def test_others_values_in_the_new_place_win_over_a_seed(install: Install) -> None:
    moving = Moving(install(), MOVES["path to path"])
    for key in ("a_sown", "a_changed"):
        moving.installation.overwrite("Q", key, "was there before")
    moving.installation.settle()
    texts = moving.installation.texts()
    assert {texts["Q"]["a_sown"], texts["Q"]["a_changed"]} == {"was there before"}
    assert "a_sown" not in texts["P"]
    assert texts["P"]["a_changed"] == "theirs", "and theirs is nobody else's to remove"
    quiet(moving.installation)


def test_an_entry_that_is_observed_from_now_on_stays_where_it_is(install: Install) -> None:
    installation = install()
    installation.declare("one", "P", "a_")
    installation.want(enforced("a_key"))
    installation.settle()
    installation.declare("one", "Q", "a_")
    installation.want(observed("a_key"))
    installation.run()
    assert installation.texts()["P"] == {"a_key": "ours"}
    assert installation.texts()["Q"] == {}
    assert installation.owned()["P"] == set()
    quiet(installation)


# What else may be cut off


def contents(installation: Installation) -> dict[str, dict[str, str]]:
    """What the places that hold something have."""
    return {name: texts for name, texts in installation.texts().items() if texts}


def everything(prefix: str) -> list[Entry]:
    return [
        enforced(f"{prefix}enforced"),
        enforced(f"{prefix}other"),
        sown(f"{prefix}sown"),
        sown(f"{prefix}changed"),
        observed(f"{prefix}observed"),
    ]


def held(prefix: str, **others: str) -> dict[str, str]:
    values = {"enforced": "ours", "other": "ours", "sown": "sown", "changed": "theirs", "observed": "seen"} | others
    return {f"{prefix}{name}": value for name, value in values.items() if value}


def created(install: Install) -> Installation:
    """A resource of every policy for A and P that no pass has seen yet."""
    installation = install()
    for name, place, prefix in (("one", "A", "a_"), ("two", "P", "b_")):
        installation.declare(name, place, prefix)
        installation.overwrite(place, f"{prefix}observed", "seen")
    installation.want(*everything("a_"), *everything("b_"))
    return installation


def settled(install: Install) -> Installation:
    """The same after its passes; others have changed a Seed in either place."""
    installation = created(install)
    installation.settle()
    installation.overwrite("A", "a_changed", "theirs")
    installation.overwrite("P", "b_changed", "theirs")
    installation.settle()
    return installation


def edited(install: Install) -> Installation:
    """The same after values were changed, here and by others, and entries removed and added."""
    installation = settled(install)
    installation.overwrite("A", "a_other", "drifted")
    installation.overwrite("P", "b_other", "drifted")
    wanted = [
        [enforced(f"{prefix}enforced", "new"), enforced(f"{prefix}other"), enforced(f"{prefix}added")]
        for prefix in ("a_", "b_")
    ]
    installation.want(*wanted[0], *wanted[1], observed("a_observed"), observed("b_observed"))
    return installation


def deleted(install: Install, *, retain: bool) -> Installation:
    installation = settled(install)
    installation.delete(retain=retain)
    return installation


def test_a_creation_may_be_cut_off_at_any_write(install: Install) -> None:
    for installation in at_every_write(lambda: created(install)):
        installation.settle()
        assert contents(installation) == {"A": held("a_", changed="sown"), "P": held("b_", changed="sown")}
        assert installation.owned()["A"] == {"a_enforced", "a_other", "a_sown", "a_changed"}
        assert installation.owned()["P"] == {"b_enforced", "b_other", "b_sown", "b_changed"}
        quiet(installation)


def test_an_update_may_be_cut_off_at_any_write(install: Install) -> None:
    now = {"enforced": "new", "added": "ours", "sown": ""}
    for installation in at_every_write(lambda: edited(install)):
        texts = installation.texts()
        assert {texts["A"]["a_changed"], texts["P"]["b_changed"]} == {"theirs"}
        assert {texts["A"]["a_enforced"], texts["P"]["b_enforced"]} <= {"ours", "new"}
        installation.settle()
        assert contents(installation) == {"A": held("a_", **now), "P": held("b_", **now)}
        assert installation.owned()["A"] == {"a_enforced", "a_other", "a_added"}
        assert installation.owned()["P"] == {"b_enforced", "b_other", "b_added"}
        quiet(installation)


@pytest.mark.parametrize("retain", [False, True], ids=["deleted", "retained"])
def test_a_deletion_may_be_cut_off_at_any_write(install: Install, retain: bool) -> None:
    left = {} if retain else {"enforced": "", "other": "", "sown": ""}
    for installation in at_every_write(lambda: deleted(install, retain=retain)):
        installation.settle()
        assert contents(installation) == {"A": held("a_", **left), "P": held("b_", **left)}
        assert not any(installation.owned().values())
        quiet(installation)


@pytest.mark.parametrize("move", ["table to table", "path to path", "table and path exchanged"])
@pytest.mark.parametrize("removed", ["resource", "entries"])
def test_what_is_removed_when_its_move_was_cut_off_is_in_neither_place(
    install: Install, move: str, removed: str
) -> None:
    for moving in at_every_write(lambda: Moving(install(), MOVES[move])):
        installation = moving.installation
        if removed == "resource":
            installation.delete()
        else:
            installation.want(*(each for each in moving.entries if each.key == "b_stays"))
        installation.settle()
        assert {key for keys in installation.owned().values() for key in keys} <= {"b_stays"}
        rest = {key for texts in installation.texts().values() for key in texts} - {"b_stays"}
        assert {key.rpartition("_")[2] for key in rest} <= {"changed", "found", "observed", "nobody-asks-for"}
        moving.check_foreign()
        quiet(installation)


# A place that changes again before the first change has come to its end


def somewhere(install: Install, place: str, *entries: Entry) -> Installation:
    """A resource with `entries`, or one of every policy, is settled at `place`."""
    installation = install()
    installation.declare("old", place, "a_")
    installation.want(*(entries or everything("a_")))
    installation.settle()
    installation.wire.forget()
    return installation


def on_its_way(install: Install, places: str) -> Iterator[Installation]:
    """It is on its way from the first of `places` to the second when the process ends, at each of the writes."""

    def begin() -> Installation:
        installation = somewhere(install, places[0])
        installation.declare("old", places[1], "a_")
        return installation

    yield from at_every_write(begin)


def only_at(installation: Installation, place: str) -> None:
    """Nothing of ours is anywhere else."""
    assert {name for name, keys in installation.owned().items() if keys} == {place}
    assert {name for name, texts in installation.texts().items() if texts} == {place}
    quiet(installation)


@pytest.mark.parametrize("places", ["ABA", "PQP", "ABP", "PQA", "APB", "PAQ"])
def test_a_move_that_is_cut_off_may_go_on_to_another_place(install: Install, places: str) -> None:
    for installation in on_its_way(install, places):
        installation.declare("old", places[2], "a_")
        installation.settle()
        only_at(installation, places[2])


@pytest.mark.parametrize("places", ["ABA", "PQP", "ABP", "PQA"])
def test_a_pass_that_is_refused_does_not_forget_a_move_that_was_cut_off(install: Install, places: str) -> None:
    for installation in on_its_way(install, places):
        installation.declare("old", places[2], "a_")
        installation.want(*everything("a_"), enforced("homeless"))
        for _ in range(2):
            assert isinstance(installation.run().failures[0], Stalled)
            installation.restart()
        installation.want(*everything("a_"))
        installation.settle()
        only_at(installation, places[2])


@pytest.mark.parametrize("places", ["AB", "PQ", "AP", "PA"])
def test_a_creation_that_is_cut_off_may_go_on_at_another_place(install: Install, places: str) -> None:
    def begin() -> Installation:
        installation = install()
        installation.declare("old", places[0], "a_")
        installation.want(*everything("a_"))
        return installation

    for installation in at_every_write(begin):
        installation.declare("old", places[1], "a_")
        installation.settle()
        only_at(installation, places[1])


# One place under several names

ELSEWHERE = "222222222222"


def role(account: str, name: str) -> str:
    return f"arn:aws:iam::{account}:role/{name}"


@pytest.fixture
def installation(install: Install, moto: Moto, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """One with A and P in the account that the controller is in, and others under the same names elsewhere."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)  # it asks AWS in which account it is
    worlds = {name: each.world for name, each in install().places.items()}
    home = [Place(name, worlds[name]) for name in ("A", "P")]
    elsewhere = [Place(name, worlds[other], ELSEWHERE) for name, other in (("A", "B"), ("P", "Q"))]
    return install(*home, *elsewhere)


def settle_at(installation: Installation, place: str, role: str = "") -> None:
    """A resource of every policy is settled at `place`; others have changed a Seed."""
    installation.declare("old", place, "a_", role=role)
    installation.overwrite(place, "a_observed", "seen")
    installation.want(*everything("a_"))
    installation.settle()
    installation.overwrite(place, "a_changed", "theirs")
    installation.settle()
    installation.wire.forget()


@pytest.mark.parametrize("place", ["A", "P"])
def test_a_configstore_that_is_replaced_by_another_one_of_its_place_writes_nothing(
    installation: Installation, place: str
) -> None:
    settle_at(installation, place)
    before, owned = installation.texts(), installation.owned()
    installation.declare("old", place, "a_", deleting=True)
    installation.declare("new", place, "a_")
    installation.settle()
    assert installation.wire.writes() == []
    assert (installation.texts(), installation.owned()) == (before, owned)
    status = installation.resource.status
    assert status.locations == ("new/1",)
    assert {(each.store, each.location) for each in status.entries} == {("new", "new/1")}


@pytest.mark.parametrize("place", ["A", "P"])
def test_an_edit_when_a_configstore_is_replaced_by_another_one_of_its_place_may_be_cut_off(
    install: Install, place: str
) -> None:
    def begin() -> Installation:
        installation = install()
        settle_at(installation, place)
        installation.declare("old", place, "a_", deleting=True)
        installation.declare("new", place, "a_")
        installation.want(enforced("a_enforced", "new"), *everything("a_")[2:])
        return installation

    for installation in at_every_write(begin):
        installation.settle()
        assert contents(installation) == {place: held("a_", enforced="new", other="")}
        assert installation.owned()[place] >= {"a_enforced", "a_sown"}


@pytest.mark.parametrize("place", ["A", "P"])
@pytest.mark.parametrize(
    ("former", "present"),
    [("", role(HOME, "one")), (role(HOME, "one"), ""), (role(HOME, "one"), role(HOME, "two"))],
    ids=["a role is named", "no role any more", "another role"],
)
def test_a_configstore_that_changes_its_role_within_an_account_writes_nothing(
    installation: Installation, place: str, former: str, present: str
) -> None:
    settle_at(installation, place, former)
    before, owned = installation.texts(), installation.owned()
    installation.declare("old", place, "a_", role=present)
    installation.settle()
    assert installation.wire.writes() == []
    assert (installation.texts(), installation.owned()) == (before, owned)
    assert installation.resource.status.locations == ("old/2",)


@pytest.mark.parametrize("place", ["A", "P"])
def test_a_configstore_whose_sessions_get_a_tag_and_lose_it_writes_nothing(
    installation: Installation, place: str
) -> None:
    settle_at(installation, place, role(HOME, "one"))
    before, owned = installation.texts(), installation.owned()
    for tag, location in (("tenant", "old/2"), ("", "old/1")):
        installation.declare("old", place, "a_", role=role(HOME, "one"), tag=tag)
        installation.settle()
        assert installation.opened == {location}
        assert installation.resource.status.locations == (location,)
    assert installation.wire.writes() == []
    assert (installation.texts(), installation.owned()) == (before, owned)


@pytest.mark.parametrize("place", ["A", "P"])
def test_a_place_is_emptied_under_the_role_that_its_configstore_has_now(installation: Installation, place: str) -> None:
    installation.declare("old", place, "a_", role=role(HOME, "one"))
    settle_at(installation, place, role(HOME, "two"))
    installation.declare("old", place, "a_", role=role(HOME, "one"))
    installation.delete()
    installation.settle()
    assert installation.opened == {"old/1"}
    assert contents(installation) == {place: {"a_changed": "theirs", "a_observed": "seen"}}


@pytest.mark.parametrize("place", ["A", "P"])
@pytest.mark.parametrize("former", ["", role(HOME, "one")], ids=["no role", "a role"])
def test_a_configstore_that_changes_to_a_role_of_another_account_moves(
    installation: Installation, place: str, former: str
) -> None:
    settle_at(installation, place, former)
    installation.declare("old", place, "a_", role=role(ELSEWHERE, "one"))
    installation.settle()
    there = f"{place} in {ELSEWHERE}"
    assert contents(installation) == {place: {"a_observed": "seen"}, there: held("a_", observed="")}
    assert installation.owned()[place] == set()
    assert installation.owned()[there] == {"a_enforced", "a_other", "a_sown"}


# What cannot move


def becomes_secret(installation: Installation) -> None:
    installation.remove("P", "a_sown")
    installation.places["P"].world.create_sensitive(installation.resource.scope, "a_sown", "hush")


@pytest.mark.parametrize(
    ("move", "spoil", "said"),
    [
        ("SSM to DynamoDB", becomes_secret, "sensitive"),
        ("DynamoDB to SSM", lambda installation: installation.overwrite("A", "a_sown", "hush" * 2000), "4096 bytes"),
        ("DynamoDB to SSM", lambda installation: installation.overwrite("A", "a_sown", ""), "empty"),
        ("DynamoDB to SSM", lambda installation: installation.overwrite("A", "a_sown", "{{hush}}"), "{{"),
    ],
    ids=["secret", "too large", "empty", "a reference"],
)
def test_a_seed_that_its_new_place_does_not_take_stops_the_move_before_any_write(
    install: Install, move: str, spoil: Callable[[Installation], None], said: str
) -> None:
    moving = Moving(install(), MOVES[move])
    installation = moving.installation
    spoil(installation)
    installation.want(*moving.entries, enforced("b_added"))
    before = installation.texts()
    for _ in range(2):
        (failure,) = installation.run().failures
        assert isinstance(failure, Stalled)
        assert failure.reason is Reason.INVALID
        assert "entry a_sown" in failure.message
        assert said in failure.message
        assert "hush" not in failure.message
    assert installation.wire.writes() == []
    assert installation.texts() == before
    assert {each.location for each in installation.resource.status.entries} == {"one/1", "two/1"}


def test_an_entry_whose_secret_would_go_to_dynamodb_stays_in_ssm(install: Install) -> None:
    installation = install()
    installation.declare("one", "P", "a_")
    installation.secrets["a_secret"] = "hush"
    installation.want(Entry("a_secret", Policy.ENFORCE), Entry("a_seed", Policy.SEED))
    installation.secrets["a_seed"] = "hush"
    installation.settle()
    installation.wire.forget()
    installation.declare("one", "A", "a_")
    (failure,) = installation.run().failures
    assert isinstance(failure, Stalled)
    assert installation.wire.writes() == []
    assert contents(installation) == {"P": {"a_secret": "hush", "a_seed": "hush"}}


def test_what_a_stranger_has_in_the_new_place_stops_the_whole_move(install: Install) -> None:
    moving = Moving(install(), MOVES["paths exchanged"])
    moving.installation.overwrite("Q", "a_enforced-0", "a stranger's")
    before = moving.installation.texts()
    (failure,) = moving.installation.run().failures
    assert isinstance(failure, Stalled)
    assert failure.reason is Reason.NOT_OWNED
    assert moving.installation.wire.writes() == []
    assert moving.installation.texts() == before


def test_a_stranger_who_comes_in_the_middle_of_a_move_loses_nothing(install: Install) -> None:
    moving = Moving(install(), MOVES["paths exchanged"])
    installation = moving.installation

    def replace() -> None:
        installation.remove("P", "b_enforced-0")
        installation.overwrite("P", "b_enforced-0", "a stranger's")

    written: list[Request] = []
    verified: list[Request] = []

    def once_verified(side: Side, request: Request) -> None:
        if side is Side.BEFORE and request.operation in WRITES:
            written.append(request)
        elif side is Side.BEFORE and written and request.operation == "GetParameters":
            verified.append(request)
            if len(verified) == 3:  # both places show what has come; now for what is to leave
                replace()

    installation.wire.hooks.append(once_verified)
    (failure,) = installation.run().failures
    assert failure.reason is Reason.NOT_OWNED
    installation.wire.hooks.clear()
    moving.expected.pop("b_enforced-0")
    moving.check()
    assert installation.texts()["P"]["b_enforced-0"] == "a stranger's"
