"""What may go wrong between the operator and AWS: lost requests and answers, refusals, rivals, and SSM's own rules."""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from harness.aws import LocalAws, Moto
from stores.crashes import (
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
    raising,
    refusal,
    sown,
    table,
)
from stores.test_moves import MOVES, Moving, resumed
from stores.world import DynamoDBWorld, SSMWorld
from tenantconfig.errors import Conflict, Reason, Stalled, TenantConfigError, Transient
from tenantconfig.model import Entry, Policy, ResourceRef, Status
from tenantconfig.plan import Changes, owner
from tenantconfig.stores.ssm import REST_SECONDS
from tenantconfig.testing import Resource, enforce, new_scope, seed

_numbers = count(1)
Install = Callable[[], Installation]

LOST = [ReadTimeoutError(endpoint_url="https://aws.example"), ConnectionClosedError(endpoint_url="https://aws.example")]
UNREACHED = EndpointConnectionError(endpoint_url="https://aws.example")


@pytest.fixture
def wire(dynamodb_client: Any, ssm_client: Any) -> Iterator[Wire]:
    wire = Wire(dynamodb_client, ssm_client)
    yield wire
    wire.close()


@pytest.fixture
def install(
    wire: Wire,
    dynamodb_local: LocalAws,
    dynamodb_client: Any,
    dynamodb_direct: Any,
    moto: Moto,
    ssm_client: Any,
    ssm_direct: Any,
) -> Install:
    """Makes installations over the tables A and B and the paths P and Q, each with a scope of its own."""
    tables = {
        name: DynamoDBWorld(dynamodb_local, dynamodb_client, dynamodb_direct, table(dynamodb_direct, f"faults-{name}"))
        for name in "AB"
    }
    paths = {name: SSMWorld(moto, ssm_client, ssm_direct, f"/faults-{next(_numbers)}-{name}") for name in "PQ"}
    places = [Place(name, world) for name, world in (tables | paths).items()]
    return lambda: Installation(wire, dynamodb_client, ssm_client, new_scope(), places)


@pytest.fixture
def installation(install: Install) -> Installation:
    """One whose keys with a_ go to the table A, those with b_ to the path P."""
    installation = install()
    installation.declare("one", "A", "a_")
    installation.declare("two", "P", "b_")
    return installation


def meets(installation: Installation, hook: Callable[[Side, Request], None]) -> TenantConfigError | None:
    """What a pass complains of that meets with `hook`; no later one does."""
    installation.wire.hooks.append(hook)
    failures = installation.run().failures
    installation.wire.hooks.remove(hook)
    assert len(failures) <= 1
    return failures[0] if failures else None


def quiet(installation: Installation) -> None:
    """One more pass writes nothing."""
    installation.wire.forget()
    installation.settle()
    assert installation.wire.writes() == []


# A fault at any request of a move, and the status says so


@pytest.mark.parametrize(
    ("side", "fault"), [(Side.BEFORE, refusal("ThrottlingException")), (Side.AFTER, LOST[0])], ids=["refused", "lost"]
)
@pytest.mark.parametrize("move", ["table to table", "path to path", "table and path exchanged"])
def test_any_write_of_a_move_may_fail(install: Install, move: str, side: Side, fault: Exception) -> None:
    for number in count(1):
        moving = Moving(install(), MOVES[move])
        at = At(number, side, raising(fault))
        failure = meets(moving.installation, at)
        assert bool(failure) is at.happened or "TransactWriteItems" in moving.installation.wire.writes()
        resumed(moving)
        if not at.happened:
            break
    assert number > 2


@pytest.mark.parametrize("move", ["path to path", "table and path exchanged"])
def test_any_read_of_a_move_may_fail(install: Install, move: str) -> None:
    for number in count(1):
        moving = Moving(install(), MOVES[move])
        at = At(number, Side.BEFORE, raising(refusal("ThrottlingException", "GetParameters")), READS)
        failure = meets(moving.installation, at)
        assert bool(failure) is at.happened
        resumed(moving)
        if not at.happened:
            break
    assert number > 4


# DynamoDB: lost requests and answers


def transactions(installation: Installation) -> list[Request]:
    return [each for each in installation.wire.sent if each.operation == "TransactWriteItems"]


def counted(installation: Installation, key: str) -> tuple[str, str]:
    """An item's revision and the epoch of the scope."""
    world, scope = installation.places["A"].world, installation.resource.scope
    assert isinstance(world, DynamoDBWorld)
    head = world.head(scope)
    assert head
    (item,) = (item for item in world.items(scope).values() if item.get("key") == {"S": key})
    return item["revision"]["N"], head["epoch"]["N"]


@pytest.fixture
def idempotent(dynamodb_local: LocalAws) -> None:
    if isinstance(dynamodb_local, Moto):
        pytest.skip("moto knows no ClientRequestToken")


@pytest.mark.usefixtures("idempotent")
@pytest.mark.parametrize("fault", LOST, ids=["timed out", "closed"])
def test_a_lost_answer_of_dynamodb_is_asked_for_again_under_the_same_token(
    installation: Installation, fault: Exception
) -> None:
    for expected in ("1", "2"):
        installation.want(enforced("a_key", f"value {expected}"))
        installation.wire.forget()
        assert meets(installation, At(1, Side.AFTER, raising(fault))) is None
        first, second = transactions(installation)
        assert first.parameters == second.parameters
        assert counted(installation, "a_key") == (expected, expected)
        assert installation.resource.status.entries[0].version == expected
        quiet(installation)


def test_a_request_that_dynamodb_did_not_get_is_made_again(installation: Installation) -> None:
    installation.want(enforced("a_key"))
    assert meets(installation, At(1, Side.BEFORE, raising(LOST[0]))) is None
    assert counted(installation, "a_key") == ("1", "1")
    quiet(installation)


@pytest.mark.usefixtures("idempotent")
def test_a_lost_answer_of_the_second_of_two_transactions_is_asked_for_again(installation: Installation) -> None:
    installation.want(*(enforced(f"a_{number}") for number in range(150)))
    assert meets(installation, At(2, Side.AFTER, raising(LOST[0]))) is None
    assert len(transactions(installation)) == 3
    assert counted(installation, "a_149") == ("1", "2")
    quiet(installation)


@pytest.mark.usefixtures("idempotent")
@pytest.mark.parametrize("arrived", [True, False])
def test_what_dynamodb_does_not_answer_twice_is_found_by_the_next_pass(
    installation: Installation, arrived: bool
) -> None:
    installation.want(enforced("a_key"), enforced("b_key"))
    lost = At(1, Side.AFTER if arrived else Side.BEFORE, raising(LOST[0]), {"TransactWriteItems"}, times=2)
    failure = meets(installation, lost)
    assert isinstance(failure, Transient)
    assert failure.reason is Reason.STORE_FAILED
    assert installation.texts()["A"] == ({"a_key": "ours"} if arrived else {})
    assert installation.texts()["P"] == {"b_key": "ours"}, "one place does not hold up the other"
    if not arrived:
        installation.settle()
    quiet(installation)
    assert counted(installation, "a_key") == ("1", "1")


def test_a_connection_that_cannot_be_made_is_not_tried_again_at_once(installation: Installation) -> None:
    installation.want(enforced("a_key"))
    failure = meets(installation, At(1, Side.BEFORE, raising(UNREACHED), times=2))
    assert isinstance(failure, Transient)
    assert transactions(installation) == []
    installation.settle()
    quiet(installation)


@pytest.mark.parametrize("code", ["TransactionInProgressException", "IdempotentParameterMismatchException"])
def test_an_answer_that_says_no_more_of_the_same_token_leaves_it_to_the_next_pass(
    installation: Installation, code: str
) -> None:
    installation.want(enforced("a_key"))
    again = At(2, Side.BEFORE, raising(refusal(code, "TransactWriteItems")))
    installation.wire.hooks.append(again)
    failure = meets(installation, At(1, Side.AFTER, raising(LOST[0])))
    assert again.happened
    assert isinstance(failure, Transient)
    assert code in failure.message
    quiet(installation)
    assert counted(installation, "a_key") == ("1", "1")


@pytest.mark.usefixtures("idempotent")
def test_dynamodb_refuses_another_request_under_a_token(installation: Installation, dynamodb_direct: Any) -> None:
    """So the request that is made again has to be the same to the letter."""
    installation.want(enforced("a_key"))
    installation.settle()
    (request,) = transactions(installation)
    dynamodb_direct.transact_write_items(**request.parameters)
    other = {**request.parameters, "TransactItems": request.parameters["TransactItems"][:1]}
    with pytest.raises(dynamodb_direct.exceptions.IdempotentParameterMismatchException):
        dynamodb_direct.transact_write_items(**other)


# SSM: lost answers


def test_a_creation_whose_answer_was_lost_is_recognised_by_its_tag(installation: Installation) -> None:
    installation.want(*(enforced(f"b_{number}") for number in range(3)))
    failure = meets(installation, At(2, Side.AFTER, raising(LOST[0])))
    assert isinstance(failure, Transient)
    assert installation.texts()["P"].keys() == {"b_0", "b_1"}
    installation.wire.forget()
    installation.settle()
    (write,) = (each for each in installation.wire.sent if each.operation in WRITES)
    assert write.parameters["Name"].endswith("/b_2")
    assert versions(installation) == {"b_0": 1, "b_1": 1, "b_2": 1}
    quiet(installation)


def test_an_update_whose_answer_was_lost_is_not_made_again(installation: Installation) -> None:
    installation.want(enforced("b_key"))
    installation.settle()
    installation.want(enforced("b_key", "new"))
    assert isinstance(meets(installation, At(1, Side.AFTER, raising(LOST[0]))), Transient)
    quiet(installation)
    assert versions(installation) == {"b_key": 2}
    assert installation.texts()["P"] == {"b_key": "new"}


@pytest.mark.parametrize("value", ["theirs", "ours"], ids=["equal", "different"])
@pytest.mark.parametrize("side", Side)
def test_an_adoption_whose_mark_was_lost_is_finished_by_the_next_pass(
    installation: Installation, side: Side, value: str
) -> None:
    installation.overwrite("P", "b_key", "theirs")
    installation.resource = replace(installation.resource, adopt="unowned")
    installation.want(enforced("b_key", value))
    failure = meets(installation, At(1, side, raising(LOST[0]), {"AddTagsToResource"}))
    assert isinstance(failure, Transient)
    installation.settle()
    assert installation.owned()["P"] == {"b_key"}
    assert installation.texts()["P"] == {"b_key": value}
    installation.resource = replace(installation.resource, adopt="")
    quiet(installation)


def versions(installation: Installation) -> dict[str, int]:
    world = installation.places["P"].world
    assert isinstance(world, SSMWorld)
    return {key: each["Version"] for key, each in world.parameters(installation.resource.scope).items()}


# SSM: others at the same time


def test_a_creation_that_another_owner_makes_first_is_theirs(installation: Installation, moto: Moto) -> None:
    world = installation.places["P"].world
    assert isinstance(world, SSMWorld)
    them = Resource(world.store, installation.resource.scope, "cluster-1/acme/other/uid-9")
    installation.want(enforced("a_key"), enforced("b_1"), enforced("b_2"))

    def first() -> None:
        installation.wire.hooks.clear()
        them.bring(enforce("b_1", "theirs"))

    installation.wire.hooks.append(At(1, Side.BEFORE, first, {"PutParameter"}))
    (failure,) = installation.run().failures
    assert isinstance(failure, Conflict)
    assert installation.texts()["P"]["b_1"] == "theirs"
    (failure,) = installation.run().failures
    assert isinstance(failure, Stalled)
    assert failure.reason is Reason.SCOPE_CONFLICT
    assert them.owner in failure.message
    assert installation.texts()["P"] == {"b_1": "theirs"}


def test_too_many_updates_are_repeated_from_a_fresh_read(installation: Installation) -> None:
    installation.want(enforced("b_1"), enforced("b_2"))
    failure = meets(installation, At(2, Side.BEFORE, raising(refusal("TooManyUpdates"))))
    assert isinstance(failure, Conflict)
    assert installation.texts()["P"] == {"b_1": "ours"}
    installation.settle()
    assert versions(installation) == {"b_1": 1, "b_2": 1}
    quiet(installation)


@pytest.mark.parametrize("side", Side)
def test_a_deposed_writers_last_write_is_detected_and_repaired(installation: Installation, side: Side) -> None:
    installation.want(enforced("b_1"), enforced("b_2"))
    installation.settle()
    installation.want(enforced("b_1", "new"), enforced("b_2", "new"))
    late = At(1, side, lambda: installation.overwrite("P", "b_1", "a deposed writer's"))
    failure = meets(installation, late)
    assert late.happened
    assert isinstance(failure, Conflict) is (side is Side.BEFORE), "what comes after our write is seen by a later read"
    installation.settle()
    assert installation.texts()["P"] == {"b_1": "new", "b_2": "new"}
    quiet(installation)


def test_a_key_that_is_deleted_between_our_read_and_our_write_is_ours_again(installation: Installation) -> None:
    for text in ("old", "older"):
        installation.want(enforced("b_key", text))
        installation.settle()
    installation.want(enforced("b_key", "new"))
    failure = meets(installation, At(1, Side.BEFORE, lambda: installation.remove("P", "b_key")))
    assert isinstance(failure, Conflict)
    installation.settle()
    assert installation.texts()["P"] == {"b_key": "new"}
    assert installation.owned()["P"] == {"b_key"}
    quiet(installation)
    installation.delete()
    installation.settle()
    assert installation.texts()["P"] == {}


def test_a_writer_that_is_deposed_makes_no_further_request(install: Install) -> None:
    for number in count(1):
        installation = deposable(install())
        before = versions(installation)
        asked = count(1)

        def may_write(number: int = number, asked: "count[int]" = asked) -> None:
            if next(asked) >= number:
                raise Transient(Reason.NOT_LEADING, "another controller leads")

        installation.may_write = may_write
        failures = installation.run().failures
        installation.may_write = lambda: None
        if not failures:
            break
        assert failures[0].reason is Reason.NOT_LEADING
        assert len(installation.wire.writes()) == number - 1
        if number == 1:
            assert versions(installation) == before
        installation.settle()
        assert installation.texts()["P"] == {"b_changed": "theirs", "b_new": "ours", "b_updated": "new"}
        assert installation.owned()["P"] == {"b_new", "b_updated"}
        quiet(installation)
    assert number == 5, "a creation, an update, a deletion and a release"


def deposable(installation: Installation) -> Installation:
    """What needs a creation, an update, a deletion and a release in SSM."""
    installation.declare("two", "P", "b_")
    installation.want(enforced("b_updated"), enforced("b_removed"), sown("b_changed"))
    installation.settle()
    installation.overwrite("P", "b_changed", "theirs")
    installation.settle()
    installation.want(enforced("b_updated", "new"), enforced("b_new"))
    installation.wire.forget()
    return installation


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError"])
def test_what_ssm_acknowledged_before_a_refusal_is_what_is_there(ssm: SSMWorld, wire: Wire, code: str) -> None:
    for number in count(1):
        resource, changes = varied(ssm)
        before = ssm.parameters(resource.scope)
        at = At(number, Side.BEFORE, raising(refusal(code)))
        wire.hooks.append(at)
        applied = resource.apply(changes)
        wire.hooks.clear()
        there = ssm.parameters(resource.scope)
        assert {key: (each["Value"], str(each["Version"])) for key, each in there.items() if key in applied.held} == {
            key: (held.text, held.version) for key, held in applied.held.items()
        }
        assert applied.deleted == before.keys() - there.keys()
        written = {key for key, each in there.items() if each["Version"] != before.get(key, {}).get("Version")}
        assert len(written - applied.held.keys()) <= 1, "what was written and could not be marked"
        assert bool(applied.error) is at.happened
        if not at.happened:
            break
    assert number > 8


def varied(ssm: SSMWorld) -> tuple[Resource, Changes]:
    """Creations, updates, adoptions, deletions in two batches and releases that are planned for a resource."""
    resource = Resource(ssm.store, new_scope())
    removed = [enforce(f"removed-{number}", "1") for number in range(12)]
    resource.bring(enforce("updated", "1"), seed("changed", "1"), *removed)
    for key in ("changed", "adopted", "equal"):
        ssm.overwrite(resource.scope, key, "theirs")
    resource.adopt = "unowned"
    return resource, resource.plan(
        enforce("created", "1"), enforce("updated", "2"), enforce("adopted", "1"), enforce("equal", "theirs")
    )


# Several places: refused in one, nothing is written in any


def other_owner(installation: Installation, place: str, key: str, who: str) -> Resource:
    other = Resource(installation.places[place].world.store, installation.resource.scope, who)
    other.bring(enforce(key, "theirs"))
    return other


@pytest.mark.parametrize(("place", "key"), [("A", "a_key"), ("P", "b_key")])
def test_what_another_cluster_owns_in_one_place_stops_both(installation: Installation, place: str, key: str) -> None:
    theirs = owner("cluster-2", "acme", "checkout", "uid-1")
    other_owner(installation, place, key, theirs)
    installation.want(enforced("a_key"), enforced("b_key"))
    installation.wire.forget()
    (failure,) = installation.run().failures
    assert isinstance(failure, Stalled)
    assert failure.reason is Reason.SCOPE_CONFLICT
    assert theirs in failure.message
    assert installation.wire.writes() == []
    installation.resource = replace(installation.resource, adopt=theirs)
    installation.settle()
    assert installation.texts() == {"A": {"a_key": "ours"}, "B": {}, "P": {"b_key": "ours"}, "Q": {}}


@pytest.mark.parametrize(("place", "key"), [("A", "a_key"), ("P", "b_key")])
def test_what_nobody_owns_in_one_place_stops_both_until_it_is_adopted(
    installation: Installation, place: str, key: str
) -> None:
    installation.overwrite(place, key, "theirs")
    installation.want(enforced("a_key"), enforced("b_key"))
    (failure,) = installation.run().failures
    assert isinstance(failure, Stalled)
    assert failure.reason is Reason.NOT_OWNED
    assert installation.wire.writes() == []
    installation.resource = replace(installation.resource, adopt="unowned")
    installation.settle()
    assert installation.texts() == {"A": {"a_key": "ours"}, "B": {}, "P": {"b_key": "ours"}, "Q": {}}
    assert installation.owned() == {"A": {"a_key"}, "B": set(), "P": {"b_key"}, "Q": set()}


def test_a_resource_that_is_made_again_takes_over_all_places(installation: Installation) -> None:
    installation.want(enforced("a_key"), enforced("b_key"), enforced("b_gone"), sown("a_seed"))
    installation.settle()
    installation.overwrite("A", "a_seed", "theirs")
    installation.resource = replace(installation.resource, uid="uid-2", generation=0, status=Status())
    installation.want(enforced("a_key", "new"), enforced("b_key"), sown("a_seed"))
    installation.settle()
    assert installation.texts()["A"] == {"a_key": "new", "a_seed": "theirs"}
    owners = [installation.places[name].world.owners(installation.resource.scope) for name in "AP"]
    assert owners[0]["a_key"] == owners[1]["b_key"] == owner(installation.cluster, "acme", "checkout", "uid-2")
    quiet(installation)


# The longest names


@pytest.mark.parametrize(("place", "key"), [("A", "a_key"), ("P", "b_key")])
def test_resources_of_the_longest_names_tell_each_other_apart(installation: Installation, place: str, key: str) -> None:
    installation.cluster = str(uuid.uuid4())
    names = [ResourceRef("n" * 63, "r" * 252 + end) for end in "xy"]
    uids = [str(uuid.uuid4()) for _ in names]
    owners = [owner(installation.cluster, ref.namespace, ref.name, uid) for ref, uid in zip(names, uids, strict=True)]
    first, second = (replace(installation.resource, ref=ref, uid=uid) for ref, uid in zip(names, uids, strict=True))
    installation.resource = first
    installation.want(enforced(key))
    installation.settle()
    world, scope = installation.places[place].world, installation.resource.scope
    assert world.owners(scope)[key] == owners[0]
    assert len(owners[0]) <= 256

    installation.resource = second
    installation.want(enforced(key, "second"))
    (failure,) = installation.run().failures
    assert failure.reason is Reason.SCOPE_CONFLICT
    shown = re.search(r'tenantconfig.dev/adopt: "([^"]+)"', failure.message)
    assert shown
    assert shown[1] == owners[0]
    installation.resource = replace(installation.resource, adopt=shown[1])
    installation.settle()
    assert world.owners(scope)[key] == owners[1]
    assert installation.texts()[place] == {key: "second"}


# SSM's rules for types and names


class Rules:
    """A hook that refuses as AWS does: another type than the stored one, and a name deleted less than 30 s ago."""

    def __init__(self, installation: Installation) -> None:
        self.refused: list[str] = []
        self._installation = installation
        self._types: dict[str, str] = {}
        self._deleted: dict[str, float] = {}
        installation.wire.hooks.append(self)

    def __call__(self, side: Side, request: Request) -> None:
        if request.operation == "DeleteParameters" and side is Side.AFTER:
            for name in request.parameters["Names"]:
                self._deleted[name] = self._installation.seconds
                self._types.pop(name, None)
        if request.operation == "PutParameter":
            name, kind = request.parameters["Name"], request.parameters["Type"]
            if side is Side.AFTER:
                self._types[name] = kind
            elif name in self._types and self._types[name] != kind:
                self._refuse("HierarchyTypeMismatchException")
            elif self._installation.seconds - self._deleted.get(name, -REST_SECONDS) < REST_SECONDS:
                self._refuse("ParameterAlreadyExists")  # AWS does not say how it refuses

    def _refuse(self, code: str) -> None:
        self.refused.append(code)
        raise refusal(code)


def typed(installation: Installation, *, secret: bool, other: str) -> None:
    """The resource wants b_typed as a secret or not, and `other` of another key."""
    installation.secrets = {"b_typed": "hush"} if secret else {}
    installation.want(
        Entry("b_typed", Policy.ENFORCE) if secret else enforced("b_typed", "plain"), enforced("b_other", other)
    )


@pytest.mark.parametrize("secret", [True, False], ids=["to SecureString", "to String"])
def test_a_changed_type_waits_half_a_minute_and_holds_up_nothing(installation: Installation, secret: bool) -> None:
    rules = Rules(installation)
    typed(installation, secret=not secret, other="old")
    installation.settle()
    typed(installation, secret=secret, other="new")
    for seconds in (0.0, 10.0, 29.5):
        installation.seconds = seconds
        (failure,) = installation.run().failures
        assert isinstance(failure, Transient)
        assert failure.reason is Reason.PROGRESSING
        assert failure.after == pytest.approx(REST_SECONDS - seconds)
        assert installation.texts()["P"] == {"b_other": "new"}
    installation.seconds = REST_SECONDS
    installation.settle()
    assert installation.texts()["P"] == {"b_other": "new", "b_typed": "hush" if secret else "plain"}
    assert installation.sensitive() == ({"b_typed"} if secret else set())
    assert installation.owned()["P"] == {"b_other", "b_typed"}
    assert rules.refused == []
    quiet(installation)


def test_a_type_that_changes_back_within_half_a_minute_waits_as_well(installation: Installation) -> None:
    rules = Rules(installation)
    typed(installation, secret=False, other="old")
    installation.settle()
    typed(installation, secret=True, other="old")
    installation.run()
    installation.seconds = 10
    typed(installation, secret=False, other="new")
    (failure,) = installation.run().failures
    assert isinstance(failure, Transient)
    assert failure.after == pytest.approx(20)
    assert installation.texts()["P"] == {"b_other": "new"}
    installation.seconds = REST_SECONDS
    installation.settle()
    assert installation.texts()["P"] == {"b_other": "new", "b_typed": "plain"}
    assert rules.refused == []


def test_a_name_that_was_deleted_is_made_again_half_a_minute_later(installation: Installation) -> None:
    rules = Rules(installation)
    installation.want(enforced("b_key"), enforced("b_other"))
    installation.settle()
    installation.want(enforced("b_other"))
    installation.settle()
    installation.seconds = 5
    installation.want(enforced("b_key"), enforced("b_other"), enforced("b_third"))
    (failure,) = installation.run().failures
    assert isinstance(failure, Transient)
    assert failure.after == pytest.approx(25)
    assert installation.texts()["P"] == {"b_other": "ours", "b_third": "ours"}
    installation.seconds = REST_SECONDS
    installation.settle()
    assert installation.texts()["P"] == {"b_key": "ours", "b_other": "ours", "b_third": "ours"}
    assert rules.refused == []
    quiet(installation)


@pytest.mark.parametrize("secret", [True, False], ids=["to SecureString", "to String"])
def test_a_change_of_type_may_be_cut_off_at_any_write(install: Install, secret: bool) -> None:
    """A new controller does not know of the deletion: AWS refuses it, and it is tried again until AWS takes it."""
    values = {"plain" if secret else "hush", "hush" if secret else "plain"}
    for number in count():
        installation = install()
        installation.declare("two", "P", "b_")
        typed(installation, secret=not secret, other="old")
        installation.settle()
        typed(installation, secret=secret, other="new")
        rules = Rules(installation)
        end = At(number, Side.AFTER, installation.wire.crash) if number else At(1, Side.BEFORE, installation.wire.crash)
        installation.wire.hooks.append(end)
        failures: tuple[TenantConfigError, ...] = ()
        for _ in range(8):
            deleted = "DeleteParameters" in installation.wire.writes()
            text = installation.texts()["P"].get("b_typed")
            assert text in values or (deleted and text is None)
            try:
                failures = installation.run().failures
            except Crash:
                installation.restart()
                installation.wire.hooks.append(rules)
                continue
            assert all(isinstance(each, Transient) for each in failures)
            if not failures:
                break
            installation.seconds += 10
        assert failures == ()
        assert installation.texts()["P"] == {"b_other": "new", "b_typed": "hush" if secret else "plain"}
        assert installation.sensitive() == ({"b_typed"} if secret else set())
        quiet(installation)
        if not end.happened:
            break
    assert number > 3
