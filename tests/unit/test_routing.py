"""Which ConfigStore a key belongs to."""

from dataclasses import replace

import pytest

from tenantconfig.errors import Reason, Stalled, Transient
from tenantconfig.model import Condition, ConfigStore, Location
from tenantconfig.routing import Router, duplicates, listed, same_place

PLACE = (("tableName", "t"),)


def store(
    name: str, *prefixes: str, created: str = "2026-01-01T00:00:00Z", uid: str = "", accepted: bool = True
) -> ConfigStore:
    return ConfigStore(
        name=name,
        uid=uid or f"uid-{name}",
        generation=1,
        created=created,
        prefixes=prefixes,
        kind="dynamodb",
        place=PLACE,
        locations=(Location(f"{name}/1", "dynamodb", PLACE),),
        observed_generation=1,
        conditions=(Condition("Ready", accepted, "Ready", "", 1),),
    )


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("tenant_config_max", "tables"),
        ("tenant_config_", "tables"),
        ("tenant_config", None),
        ("tenant_config_secret_x", "parameters"),
        ("tenant_config_secret", "tables"),
        ("param_x", "parameters"),
        ("Tenant_config_max", None),
        ("x_tenant_config_max", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_the_longest_prefix_wins_whatever_the_order(key: str, name: str | None, backwards: bool) -> None:
    stores = [store("tables", "tenant_config_"), store("parameters", "param_", "tenant_config_secret_")]
    found = Router(stores[::-1] if backwards else stores).find(key)
    assert (found.name if found else None) == name


def test_of_two_with_the_same_prefix_the_older_has_it() -> None:
    younger = store("a", "x_", "y_", created="2026-01-02T00:00:00Z")
    older = store("b", "x_", created="2026-01-01T23:59:59Z")
    router = Router([younger, older])
    assert router.route(["x_1", "y_1"]) == {"x_1": older, "y_1": younger}
    assert duplicates(younger, [younger, older]) == {"x_": "b"}
    assert duplicates(older, [younger, older]) == {}


def test_of_two_made_in_the_same_second_the_uid_decides() -> None:
    one, other = store("b", "x_", uid="1"), store("a", "x_", uid="2")
    assert Router([other, one]).find("x_1") == one
    assert duplicates(other, [one, other]) == {"x_": "b"}
    assert duplicates(one, [one, other]) == {}


def test_a_longer_prefix_is_no_duplicate() -> None:
    assert duplicates(store("b", "x_y_", created="2027"), [store("a", "x_")]) == {}


def test_keys_without_a_store_are_named_with_the_known_prefixes() -> None:
    with pytest.raises(Stalled) as caught:
        Router([store("a", "b_", "a_")]).route(["z", "a_1", "y"])
    assert caught.value.reason is Reason.NO_STORE
    assert caught.value.message == "no ConfigStore has a prefix of y, z; known prefixes: a_, b_"


def test_without_any_configstore_the_message_says_so() -> None:
    with pytest.raises(Stalled, match=r"known prefixes: none: there is no ConfigStore$"):
        Router([]).route(["a"])


def test_no_keys_need_no_store() -> None:
    assert Router([]).route([]) == {}


def test_a_store_that_is_not_accepted_is_waited_for_by_name() -> None:
    stores = [store("a", "a_", accepted=False), store("b", "b_"), store("c", "c_", accepted=False)]
    with pytest.raises(Transient, match=r"^ConfigStore a is not Ready$") as caught:
        Router(stores).route(["a_1", "a_2", "b_1"])
    assert caught.value.reason is Reason.STORE_NOT_READY
    assert Router(stores).route(["b_1"]) == {"b_1": stores[1]}


def test_a_key_without_a_store_is_said_before_a_store_that_is_not_accepted() -> None:
    with pytest.raises(Stalled):
        Router([store("a", "a_", accepted=False)]).route(["a_1", "z"])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a"], "a"),
        (["a", "b", "c", "d", "e"], "a, b, c, d, e"),
        (["a", "b", "c", "d", "e", "f", "g"], "a, b, c, d, e and 2 more"),
    ],
)
def test_long_lists_are_cut(names: list[str], text: str) -> None:
    assert listed(names) == text


ROLE = ("assumeRoleArn", "arn:aws:iam::111111111111:role/one")


@pytest.mark.parametrize(
    ("elders", "youngers", "one_place"),
    [
        ((), (), True),
        ((), (("sessionTagKey", "tenant"),), True),
        ((ROLE,), (ROLE, ("sessionTagKey", "tenant")), True),
        ((ROLE,), (("assumeRoleArn", "arn:aws:iam::111111111111:role/two"),), True),
        ((ROLE,), (("assumeRoleArn", "arn:aws:iam::222222222222:role/one"),), False),
        ((), (ROLE,), False),  # it may be: nothing here tells in whose account the controller is
        ((), (("region", "eu-west-3"),), False),
    ],
)
def test_a_place_is_one_by_whatever_role_of_its_account_one_gets_there(
    elders: tuple[tuple[str, str], ...], youngers: tuple[tuple[str, str], ...], one_place: bool
) -> None:
    elder = replace(store("elder", "a_"), place=(*elders, *PLACE))
    younger = replace(store("younger", "b_", created="2026-02-01T00:00:00Z"), place=(*youngers, *PLACE))
    assert same_place(younger, [elder, younger]) == (elder if one_place else None)
    assert same_place(elder, [elder, younger]) is None
