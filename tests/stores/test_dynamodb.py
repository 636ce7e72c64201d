"""What only the DynamoDB store does: items, the head that fences, transactions and batches."""

from typing import Any

import pytest

from harness.aws import LocalAws
from stores.world import DynamoDBWorld
from tenantconfig.errors import Conflict, Reason, Stalled, Transient
from tenantconfig.model import Format, Scope, Value
from tenantconfig.plan import Changes, Delete, Head, Held, Put
from tenantconfig.stores.dynamodb import MAX_CHANGES, DynamoDBStore, held_from, parts
from tenantconfig.stores.items import Rows, entry_item, etag, item_bytes
from tenantconfig.stores.limits import A_TIME, MAX_ITEM_BYTES
from tenantconfig.testing import LONGEST_SCOPE, Resource, enforce, new_scope, observe, owner, seed


@pytest.fixture
def resource(dynamodb: DynamoDBWorld) -> Resource:
    return Resource(dynamodb.store, new_scope())


def many(count: int, text: str = "1") -> list[Any]:
    return [enforce(f"key-{number:04}", text) for number in range(count)]


def test_the_items_are_laid_out_as_documented(dynamodb: DynamoDBWorld) -> None:
    tenant = new_scope().tenant
    resource = Resource(dynamodb.store, Scope(tenant, "prod", ""))
    resource.bring(enforce("a", "1"), enforce("j", "[1]", Format.JSON))
    items = dynamodb.items(resource.scope)
    assert sorted(items) == ["CONFIG#prod#_#a", "CONFIG#prod#_#j", "HEAD#prod#_"]
    assert {item["pk"]["S"] for item in items.values()} == {f"TENANT#{tenant}"}

    head, entry = items["HEAD#prod#_"], items["CONFIG#prod#_#j"]
    assert head["owner"] == {"S": resource.owner}
    assert (head["epoch"], head["generation"]) == ({"N": "1"}, {"N": "1"})
    assert sorted(head["entries"]["SS"]) == ["a", "j"]
    assert (entry["key"], entry["value"], entry["format"]) == ({"S": "j"}, {"S": "[1]"}, {"S": "json"})
    assert entry["revision"] == {"N": "1"}
    assert entry["etag"] == {"S": etag("[1]", "1")}
    assert entry["updatedAt"]["S"].endswith("Z")


def test_a_scope_without_entries_has_no_head(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    resource.bring(observe("a"))
    assert dynamodb.items(resource.scope) == {}
    resource.bring(enforce("a", "1"))
    assert dynamodb.head(resource.scope)
    resource.bring()
    assert dynamodb.items(resource.scope) == {}


def test_an_unchanged_read_is_one_call(dynamodb_local: LocalAws, dynamodb: DynamoDBWorld, resource: Resource) -> None:
    resource.bring(*many(10))
    dynamodb_local.reset_calls()
    assert not resource.plan(*many(10))
    assert dynamodb_local.calls() == ["BatchGetItem"]


def test_one_changed_key_of_ten_is_one_read_and_one_write_of_one_item(
    dynamodb_local: LocalAws, dynamodb: DynamoDBWorld, resource: Resource
) -> None:
    resource.bring(*many(10))
    dynamodb_local.reset_calls()
    resource.bring(*many(9), enforce("key-0009", "2"))
    assert dynamodb_local.calls() == ["BatchGetItem", "TransactWriteItems"]
    (write,) = dynamodb_local.recorded("TransactWriteItems")
    rows = [next(iter(each.values())) for each in write.parameters["TransactItems"]]
    assert [row["Item"]["sk"]["S"].split("#")[0] for row in rows] == ["CONFIG", "HEAD"]


def test_reads_are_strongly_consistent_and_a_hundred_at_a_time(
    dynamodb_local: LocalAws, dynamodb: DynamoDBWorld, resource: Resource
) -> None:
    resource.read(*many(150))
    reads = [call.parameters["RequestItems"][dynamodb.table] for call in dynamodb_local.recorded()]
    assert [len(read["Keys"]) for read in reads] == [100, 51]
    assert all(read["ConsistentRead"] for read in reads)


def test_what_the_head_lists_beside_the_asked_keys_is_read_too(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    resource.bring(*many(3))
    forgetful = Resource(dynamodb.store, resource.scope)
    assert forgetful.read(enforce("key-0000", "1")).held.keys() == {"key-0000", "key-0001", "key-0002"}


def test_the_entries_of_a_strangers_head_are_not_read(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    resource.bring(*many(3))
    stranger = Resource(dynamodb.store, resource.scope, owner("stranger"))
    contents = stranger.read(enforce("key-0000", "1"))
    assert contents.held.keys() == {"key-0000"}
    assert contents.head is not None
    assert contents.head.owner == resource.owner


def test_answers_that_come_in_parts_are_read_to_their_end(
    monkeypatch: pytest.MonkeyPatch, dynamodb: DynamoDBWorld, resource: Resource
) -> None:
    resource.bring(*many(20))
    whole = dynamodb.store._client.batch_get_item  # type: ignore[attr-defined]
    sizes: list[int] = []

    def in_parts(RequestItems: dict[str, Any]) -> Any:  # noqa: N803
        asked = RequestItems[dynamodb.table]
        sizes.append(len(asked["Keys"]))
        answer = whole(RequestItems={dynamodb.table: {**asked, "Keys": asked["Keys"][:8]}})
        rest = asked["Keys"][8:]
        return {**answer, "UnprocessedKeys": {dynamodb.table: {**asked, "Keys": rest}} if rest else {}}

    monkeypatch.setattr(dynamodb.store._client, "batch_get_item", in_parts)  # type: ignore[attr-defined]
    assert len(resource.read(*many(20)).held) == 20
    assert sizes == [21, 13, 5]


def test_a_table_that_processes_nothing_is_throttled_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch, dynamodb: DynamoDBWorld, resource: Resource
) -> None:
    def nothing(RequestItems: dict[str, Any]) -> Any:  # noqa: N803
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    monkeypatch.setattr(dynamodb.store._client, "batch_get_item", nothing)  # type: ignore[attr-defined]
    with pytest.raises(Transient) as caught:
        resource.read(enforce("a", "1"))
    assert caught.value.reason is Reason.THROTTLED


# Transactions and the fence


def test_250_keys_are_three_transactions_and_three_epochs(
    dynamodb_local: LocalAws, dynamodb: DynamoDBWorld, resource: Resource
) -> None:
    dynamodb_local.reset_calls()
    resource.bring(*many(250))
    writes = dynamodb_local.recorded("TransactWriteItems")
    assert [len(write.parameters["TransactItems"]) for write in writes] == [100, 100, 53]
    head = dynamodb.head(resource.scope)
    assert head is not None
    assert head["epoch"] == {"N": "3"}
    assert len(head["entries"]["SS"]) == 250
    assert not resource.plan(*many(250))

    resource.bring()
    assert dynamodb.items(resource.scope) == {}


def test_of_two_writers_with_the_same_head_the_second_changes_nothing(
    dynamodb: DynamoDBWorld, resource: Resource
) -> None:
    deposed = Resource(dynamodb.store, resource.scope)
    stale = deposed.plan(*many(150))
    resource.bring(enforce("other", "1"))
    applied = deposed.apply(stale)
    assert isinstance(applied.error, Conflict)
    assert (applied.held, applied.deleted) == ({}, frozenset())
    assert dynamodb.texts(resource.scope) == {"other": "1"}


def test_a_writer_that_is_deposed_between_two_transactions_stops_there(
    dynamodb_local: LocalAws, dynamodb: DynamoDBWorld, resource: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = resource.plan(*many(150))
    write, calls = dynamodb.store._client.transact_write_items, []  # type: ignore[attr-defined]

    def deposed_after_the_first(**request: Any) -> Any:
        calls.append(request)
        answer = write(**request)
        if len(calls) == 1:
            head = dynamodb.head(resource.scope)
            assert head is not None
            dynamodb.direct.put_item(TableName=dynamodb.table, Item={**head, "epoch": {"N": "2"}})
        return answer

    monkeypatch.setattr(dynamodb.store._client, "transact_write_items", deposed_after_the_first)  # type: ignore[attr-defined]
    applied = resource.apply(changes)
    assert isinstance(applied.error, Conflict)
    assert len(calls) == 2
    assert applied.held.keys() == {f"key-{number:04}" for number in range(MAX_CHANGES)}
    assert dynamodb.texts(resource.scope).keys() == applied.held.keys()

    monkeypatch.undo()
    resource.bring(*many(150))
    assert len(dynamodb.texts(resource.scope)) == 150


def test_a_head_of_another_owner_at_the_same_epoch_is_a_conflict(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    stale = resource.plan(enforce("a", "2"))
    head = dynamodb.head(resource.scope)
    assert head is not None
    dynamodb.direct.put_item(TableName=dynamodb.table, Item={**head, "owner": {"S": "someone"}})
    assert isinstance(resource.apply(stale).error, Conflict)
    assert dynamodb.texts(resource.scope) == {"a": "1"}


def test_changes_are_split_by_size_too() -> None:
    puts = tuple(Put(f"key-{number}", Value("x" * 380_000)) for number in range(20))
    sizes = [
        sum(len(each.value.text) for each in part if isinstance(each, Put)) for part in parts(Changes("o", puts=puts))
    ]
    assert sum(sizes) == 20 * 380_000
    assert max(sizes) <= 3_500_000
    assert len(sizes) == 3


def test_large_values_that_need_several_transactions_arrive(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    large = [enforce(f"key-{number}", "x" * 350_000) for number in range(12)]
    resource.bring(*large)
    assert not resource.plan(*large)
    head = dynamodb.head(resource.scope)
    assert head is not None
    assert head["epoch"] == {"N": "2"}


def test_deletes_and_puts_share_transactions() -> None:
    held = Held("1", "1")
    changes = Changes(
        "owner",
        puts=tuple(Put(f"put-{number}", Value("1")) for number in range(98)),
        deletes=tuple(Delete(f"delete-{number}", held) for number in range(3)),
    )
    assert [len(part) for part in parts(changes)] == [99, 2]


def test_a_change_of_ownership_alone_is_one_transaction_and_none_is_none() -> None:
    assert [len(part) for part in parts(Changes("owner", claims=(Put("a", Value("1")),)))] == [0]
    assert [len(part) for part in parts(Changes("owner", releases=("a",)))] == [0]
    assert list(parts(Changes("owner", head=Head("owner", 1)))) == []


# Others' writes


def test_a_foreign_update_shows_in_the_etag(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    assert resource.read(enforce("a", "1")).held["a"].intact
    dynamodb.overwrite(resource.scope, "a", "theirs")
    assert not resource.read(enforce("a", "1")).held["a"].intact


def test_a_foreign_update_to_what_is_wanted_is_still_written_over(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    dynamodb.overwrite(resource.scope, "a", "2")
    assert resource.bring(enforce("a", "2"))["a"].intact


def test_another_format_is_another_value(resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    assert resource.bring(enforce("a", "1", Format.JSON))["a"].format is Format.JSON
    assert not resource.plan(enforce("a", "1", Format.JSON))


def test_a_damaged_revision_counts_from_one_again(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    dynamodb.direct.update_item(
        TableName=dynamodb.table,
        Key=dynamodb.row(resource.scope, "a"),
        UpdateExpression="SET revision = :half",
        ExpressionAttributeValues={":half": {"N": "1.5"}},
    )
    assert resource.bring(enforce("a", "2"))["a"].version == "1"
    assert not resource.plan(enforce("a", "2"))


def test_a_seed_that_was_written_again_with_the_same_text_is_still_pristine(
    dynamodb: DynamoDBWorld, resource: Resource
) -> None:
    resource.bring(seed("a", "1"))
    dynamodb.overwrite(resource.scope, "a", "1")
    assert resource.read(seed("a", "1")).held["a"].pristine


@pytest.mark.parametrize(
    "attributes",
    [
        {"value": {"S": "theirs"}},
        {"value": {"S": "theirs"}, "key": {"S": "a"}, "format": {"S": "yaml"}},
        {"value": {"S": "theirs"}, "key": {"S": "another"}},
    ],
    ids=["no key attribute", "unknown format", "another key's name"],
)
def test_an_item_that_someone_made_by_hand_is_observed_under_its_sort_key(
    dynamodb: DynamoDBWorld, resource: Resource, attributes: dict[str, Any]
) -> None:
    item = {**dynamodb.row(resource.scope, "a"), **attributes}
    dynamodb.direct.put_item(TableName=dynamodb.table, Item=item)
    assert resource.bring(observe("a"))["a"].text == "theirs"


def test_a_value_of_another_type_is_not_read_as_an_empty_text() -> None:
    item = {"sk": {"S": "CONFIG#_#_#a"}, "value": {"N": "500"}}
    assert held_from(item, None).text == "500"


def test_an_item_without_a_value_is_not_read_as_an_empty_text() -> None:
    item = {"sk": {"S": "CONFIG#_#_#a"}}
    with pytest.raises(Stalled, match="the item of a has no attribute value: give it one"):
        held_from(item, None)
    assert not held_from(item, None, shown=False).intact


# Refusals

LARGEST = MAX_ITEM_BYTES - item_bytes(entry_item(Rows(LONGEST_SCOPE), Put("key", Value("")), A_TIME))


@pytest.mark.parametrize(
    ("value", "refused"),
    [
        (Value(""), False),
        (Value("{{"), False),
        (Value("x" * LARGEST), False),
        (Value("x" * (LARGEST + 1)), True),
        (Value("ü" * (MAX_ITEM_BYTES // 2)), True),
        (Value("hush", sensitive=True), True),
    ],
    ids=["empty", "braces", "largest", "a byte more", "bytes, not characters", "sensitive"],
)
def test_what_is_refused_before_any_write(dynamodb: DynamoDBWorld, value: Value, refused: bool) -> None:
    assert bool(dynamodb.store.refuses(LONGEST_SCOPE, "key", value)) is refused


def test_an_empty_value_and_the_largest_under_the_longest_names_are_stored(dynamodb: DynamoDBWorld) -> None:
    resource = Resource(dynamodb.store, LONGEST_SCOPE)
    wishes = (enforce("key", "x" * LARGEST), enforce("k" * 200, "1"), enforce("empty", ""))
    resource.bring(*wishes)
    assert not resource.plan(*wishes)
    resource.bring()


def test_a_thousand_keys_of_the_longest_names_fit(dynamodb: DynamoDBWorld, resource: Resource) -> None:
    wishes = [enforce(f"{number:04}" + "k" * 196, "1") for number in range(1000)]
    resource.bring(*wishes)
    assert not resource.plan(*wishes)
    head = dynamodb.head(resource.scope)
    assert head is not None
    assert head["epoch"] == {"N": "11"}


# Faults


def test_a_table_that_is_not_there_is_named(dynamodb: DynamoDBWorld) -> None:
    store = DynamoDBStore(dynamodb.store._client, "nowhere")  # type: ignore[attr-defined]
    for ask in (store.probe, lambda: Resource(store, new_scope()).read(enforce("a", "1"))):
        with pytest.raises(Transient, match="DynamoDB table nowhere does not exist") as caught:
            ask()
        assert caught.value.reason is Reason.STORE_FAILED


FAULTS = [
    ("ProvisionedThroughputExceededException", 400, Transient, Reason.THROTTLED),
    ("ThrottlingException", 400, Transient, Reason.THROTTLED),
    ("RequestLimitExceeded", 400, Transient, Reason.THROTTLED),
    ("AccessDeniedException", 400, Transient, Reason.ACCESS_DENIED),
    ("UnrecognizedClientException", 400, Transient, Reason.ACCESS_DENIED),
    ("ExpiredTokenException", 400, Transient, Reason.ACCESS_DENIED),
    ("ValidationException", 400, Stalled, Reason.STORE_FAILED),
    ("ResourceNotFoundException", 400, Transient, Reason.STORE_FAILED),
    ("InternalServerError", 500, Transient, Reason.STORE_FAILED),
    ("TransactionConflictException", 400, Conflict, Reason.CONFLICT),
]


@pytest.mark.parametrize(("code", "status", "kind", "reason"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_of_a_write_is_in_the_result(
    dynamodb_local: LocalAws, resource: Resource, code: str, status: int, kind: type[Exception], reason: Reason
) -> None:
    resource.bring(enforce("a", "before"))
    changes = resource.plan(enforce("a", "hush"))
    dynamodb_local.reset_calls()
    dynamodb_local.fail("TransactWriteItems", code, status=status)
    applied = resource.apply(changes)
    assert type(applied.error) is kind
    assert isinstance(applied.error, (Stalled, Transient))
    assert applied.error.reason is reason
    assert "hush" not in applied.error.message
    assert "stores" in applied.error.message
    assert applied.held == {}
    assert dynamodb_local.calls() == ["TransactWriteItems"], "the pass repeats, not the client"


@pytest.mark.parametrize(("code", "status", "kind", "reason"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_of_a_read_is_raised(
    dynamodb_local: LocalAws, resource: Resource, code: str, status: int, kind: type[Exception], reason: Reason
) -> None:
    dynamodb_local.fail("BatchGetItem", code, status=status)
    with pytest.raises((Stalled, Transient)) as caught:
        resource.read(enforce("a", "1"))
    assert type(caught.value) is kind
    assert caught.value.reason is reason


def test_what_was_acknowledged_before_a_fault_is_in_the_result(
    dynamodb_local: LocalAws, dynamodb: DynamoDBWorld, resource: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = dynamodb.store._client.transact_write_items, []  # type: ignore[attr-defined]

    def fails_the_second_time(**request: Any) -> Any:
        calls.append(request)
        if len(calls) == 2:
            dynamodb_local.fail("TransactWriteItems", "ThrottlingException")
        return write(**request)

    changes = resource.plan(*many(250))
    monkeypatch.setattr(dynamodb.store._client, "transact_write_items", fails_the_second_time)  # type: ignore[attr-defined]
    applied = resource.apply(changes)
    assert applied.error is not None
    assert applied.error.reason is Reason.THROTTLED
    assert len(calls) == 2
    assert applied.held.keys() == dynamodb.texts(resource.scope).keys()
    assert len(applied.held) == MAX_CHANGES
