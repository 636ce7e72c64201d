"""Scopes, digests and rights, as every module and every client understands them."""

import hashlib

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantconfig.model import (
    Condition,
    ConfigStore,
    Location,
    NamespaceRights,
    Scope,
    Status,
    Value,
    digest,
    tenants,
)

CONFIGMAP_KEYS = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,40}", fullmatch=True)
# Any text that UTF-8 can carry: the API server passes no lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.dictionaries(CONFIGMAP_KEYS, TEXTS, max_size=12))
def test_the_digest_is_that_of_the_rfc_8785_json(entries: dict[str, str]) -> None:
    assert digest(entries) == hashlib.sha256(rfc8785.dumps(entries)).hexdigest()


def test_the_digest_of_nothing_is_that_of_an_empty_object() -> None:
    assert digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def test_the_digest_is_that_of_a_known_vector() -> None:
    entries = {"b": "2", "a": 'quote " back \\ tab \t é € 😀 \u007f \u2028', "B": "", "a.b": "\x00\x1f"}
    canonical = '{"B":"","a":"quote \\" back \\\\ tab \\t é € 😀 \u007f \u2028","a.b":"\\u0000\\u001f","b":"2"}'
    assert digest(entries) == hashlib.sha256(canonical.encode()).hexdigest()


def test_the_digest_does_not_depend_on_order_and_does_on_content() -> None:
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})
    assert len({digest({"a": "1"}), digest({"a": "2"}), digest({"b": "1"}), digest({"a": "1", "b": ""})}) == 4


@pytest.mark.parametrize(
    ("scope", "text", "labels"),
    [
        (Scope("acme"), "acme/_/_", {"tenantconfig.dev/tenant": "acme"}),
        (
            Scope("acme", "", "checkout"),
            "acme/_/checkout",
            {"tenantconfig.dev/tenant": "acme", "tenantconfig.dev/service": "checkout"},
        ),
        (
            Scope("acme", "prod", "checkout"),
            "acme/prod/checkout",
            {
                "tenantconfig.dev/tenant": "acme",
                "tenantconfig.dev/environment": "prod",
                "tenantconfig.dev/service": "checkout",
            },
        ),
    ],
)
def test_a_scope_is_written_and_labelled_without_its_absent_dimensions(
    scope: Scope, text: str, labels: dict[str, str]
) -> None:
    assert str(scope) == text
    assert scope.labels() == labels
    assert Scope.from_labels({**labels, "app": "other"}) == scope


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", set()), (" , ,", set()), ("acme", {"acme"}), (" acme , globex,", {"acme", "globex"}), ("*", {"*"})],
)
def test_a_list_of_tenants_is_read_leniently(text: str, expected: set[str]) -> None:
    assert tenants(text) == expected


DECLARES, READS = "tenantconfig.dev/tenants", "tenantconfig.dev/readable-tenants"


@pytest.mark.parametrize(
    ("annotations", "declares", "reads"),
    [
        ({}, False, False),
        ({DECLARES: "acme"}, True, True),
        ({DECLARES: "globex"}, False, False),
        ({DECLARES: "acmeplus"}, False, False),
        ({DECLARES: "*"}, True, False),
        ({DECLARES: "*,acme"}, True, True),
        ({DECLARES: "*", READS: "*"}, True, True),
        ({DECLARES: "acme", READS: ""}, True, False),
        ({DECLARES: "acme", READS: "globex"}, True, False),
        ({READS: "acme"}, False, True),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_a_namespace_may_do_with_the_tenant_acme(annotations: dict[str, str], declares: bool, reads: bool) -> None:
    rights = NamespaceRights.from_annotations(annotations)
    assert (rights.may_declare("acme"), rights.may_read("acme")) == (declares, reads)


def test_a_value_does_not_show_its_text() -> None:
    assert "hush" not in repr(Value("hush", sensitive=True))
    assert "hush" not in f"{Value('hush')!s}"


def ready(status: bool) -> Condition:
    return Condition("Ready", status, "Ready", "", 1)


def test_a_status_is_ready_by_its_condition_alone() -> None:
    assert Status(conditions=(Condition("Projected", True, "Ready", "", 1), ready(True))).ready
    assert not Status(conditions=(Condition("Projected", True, "Ready", "", 1), ready(False))).ready
    assert not Status().ready


HERE, THERE = (("tableName", "here"),), (("tableName", "there"),)


@pytest.mark.parametrize(
    ("observed", "conditions", "places", "accepted"),
    [
        (2, (ready(True),), [HERE], True),
        (2, (ready(True),), [THERE, HERE], True),
        (1, (ready(True),), [HERE], False),
        (2, (ready(False),), [HERE], False),
        (2, (), [HERE], False),
        (2, (ready(True),), [THERE], False),
        (2, (ready(True),), [], False),
    ],
    ids=["accepted", "among others", "older generation", "not ready", "no condition", "elsewhere", "unrecorded"],
)
def test_a_store_is_accepted_once_its_generation_is_ready_and_its_place_recorded(
    observed: int, conditions: tuple[Condition, ...], places: list[tuple[tuple[str, str], ...]], accepted: bool
) -> None:
    locations = tuple(Location(f"s/{number}", "dynamodb", place) for number, place in enumerate(places, 1))
    store = ConfigStore(
        "s", "uid", 2, "", ("a_",), "dynamodb", HERE, (), locations, observed_generation=observed, conditions=conditions
    )
    assert store.accepted is accepted
    assert (store.location in locations) is (HERE in places)
