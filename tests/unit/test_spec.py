"""From the API server's JSON to values, and back for the status."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenantconfig import spec
from tenantconfig.model import (
    Condition,
    ConfigStore,
    Entry,
    EntryStatus,
    Format,
    Location,
    Policy,
    ResourceRef,
    Scope,
    SecretKeyRef,
    State,
    Status,
    Value,
    Version,
)


def body(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """A TenantConfig with all that the API server sets."""
    meta = {"namespace": "team", "name": "checkout", "uid": "uid-1", "resourceVersion": "5", "generation": 3}
    return {
        "metadata": meta | metadata,
        "spec": {"tenantId": "acme", **(spec or {})},
        **({"status": status} if status is not None else {}),
    }


# TenantConfig


def test_the_least_that_the_crd_lets_through() -> None:
    read = spec.tenant_config(body())
    assert (read.ref, read.uid, read.resource_version, read.generation) == (
        ResourceRef("team", "checkout"),
        "uid-1",
        "5",
        3,
    )
    assert read.scope == Scope("acme")
    assert read.entries == ()
    assert (read.configmap_name, read.secret_name) == ("checkout", "checkout")
    assert (read.retain, read.suspend, read.deleting, read.finalized) == (False, False, False, False)
    assert read.adopt == ""
    assert read.status == Status()


def test_every_field_that_is_there_is_read() -> None:
    read = spec.tenant_config(
        body(
            {
                "environment": "prod",
                "service": "checkout",
                "entries": [{"key": "a", "value": "1"}],
                "target": {"configMapName": "config", "secretName": "secrets"},
                "deletionPolicy": "Retain",
                "suspend": True,
            },
            {"observedGeneration": 2},
            annotations={"tenantconfig.dev/adopt": "unowned"},
            finalizers=["other", "tenantconfig.dev/finalizer"],
            deletionTimestamp="2026-01-01T00:00:00Z",
        )
    )
    assert read.scope == Scope("acme", "prod", "checkout")
    assert read.entries == (Entry("a", Policy.ENFORCE, Value("1")),)
    assert (read.configmap_name, read.secret_name) == ("config", "secrets")
    assert (read.retain, read.suspend, read.deleting, read.finalized) == (True, True, True, True)
    assert read.adopt == "unowned"
    assert read.status.observed_generation == 2


@pytest.mark.parametrize(
    ("metadata", "finalized"),
    [({}, False), ({"finalizers": None}, False), ({"finalizers": ["foregroundDeletion"]}, False)],
)
def test_another_finalizer_is_not_ours(metadata: dict[str, Any], finalized: bool) -> None:
    assert spec.tenant_config(body(**metadata)).finalized is finalized


@pytest.mark.parametrize("empty", [{"entries": None, "target": None}, {"deletionPolicy": "Delete", "suspend": False}])
def test_nulls_and_defaults_written_out_are_as_if_absent(empty: dict[str, Any]) -> None:
    assert spec.tenant_config(body(empty)) == spec.tenant_config(body())
    assert spec.tenant_config(body(annotations=None, finalizers=None)) == spec.tenant_config(body())


# Entries


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("text", Value("text")),
        ("", Value("")),
        ("500", Value("500")),
        ("null", Value("null")),
        (500, Value("500", Format.JSON)),
        (0, Value("0", Format.JSON)),
        (False, Value("false", Format.JSON)),
        (True, Value("true", Format.JSON)),
        (1.1, Value("1.1", Format.JSON)),
        (-0.0, Value("0", Format.JSON)),
        (1e30, Value("1e+30", Format.JSON)),
        (1e-7, Value("1e-7", Format.JSON)),
        (2**53 - 1, Value("9007199254740991", Format.JSON)),
        ([], Value("[]", Format.JSON)),
        ({}, Value("{}", Format.JSON)),
        ([1, None, "x"], Value('[1,null,"x"]', Format.JSON)),
        ({"b": 1, "a": {"d": [], "c": "ü"}}, Value('{"a":{"c":"ü","d":[]},"b":1}', Format.JSON)),
        # The vectors of RFC 8785, 3.2.2 and 3.2.3.
        (
            {
                "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
                "string": '\u20ac$\u000f\nA\'B"\\\\"/',
                "literals": [None, True, False],
            },
            Value(
                '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
                '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
                Format.JSON,
            ),
        ),
        (
            {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\u0080": 6, "ö": 7},
            Value('{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}', Format.JSON),
        ),
    ],
    ids=lambda value: "" if isinstance(value, Value) else json.dumps(value)[:30],
)
def test_text_is_stored_as_it_is_and_anything_else_as_canonical_json(value: Any, stored: Value) -> None:
    assert spec.entry({"key": "a", "value": value}) == Entry("a", Policy.ENFORCE, stored)


@pytest.mark.parametrize("value", [{"key": "a"}, {"key": "a", "value": None}], ids=["absent", "null"])
@pytest.mark.parametrize("policy", ["Enforce", "Seed"])
def test_an_entry_without_a_value_is_a_problem_not_a_failure(value: dict[str, Any], policy: str) -> None:
    read = spec.entry({**value, "policy": policy})
    assert read.value is None
    assert "has no value" in read.problem
    assert read.policy == policy


@pytest.mark.parametrize(
    "value", [2**53, -(2**53), 10**30, [[2**60]], {"a": {"b": 2**53 + 1}}, float("inf"), float("nan")]
)
def test_a_number_that_not_every_reader_keeps_is_a_problem_that_does_not_repeat_it(value: Any) -> None:
    read = spec.entry({"key": "a", "value": value})
    assert read.value is None
    assert "quote it" in read.problem
    assert not any(character.isdigit() for character in read.problem)


def test_a_large_number_in_quotes_is_none() -> None:
    assert spec.entry({"key": "a", "value": str(2**60)}).problem == ""


def test_an_entry_from_a_secret_has_a_source_and_no_value() -> None:
    read = spec.entry({"key": "a", "policy": "Seed", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}})
    assert read == Entry("a", Policy.SEED, source=SecretKeyRef("keys", "api"))


def test_an_observed_entry_has_neither_and_is_no_problem() -> None:
    assert spec.entry({"key": "a", "policy": "Observe"}) == Entry("a", Policy.OBSERVE)


SOURCE = {"secretKeyRef": {"name": "keys", "key": "api"}}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"policy": "Observe", "value": 1}, "is observed"),
        ({"policy": "Observe", "value": ""}, "is observed"),
        ({"policy": "Observe", "valueFrom": SOURCE}, "is observed"),
        ({"value": "hush", "valueFrom": SOURCE}, "a value and a valueFrom"),
        ({"value": "", "valueFrom": SOURCE}, "a value and a valueFrom"),
        ({"value": None, "valueFrom": SOURCE}, ""),
        ({"policy": "Observe", "value": None}, ""),
    ],
)
def test_an_entry_that_says_two_things_is_a_problem(fields: dict[str, Any], problem: str) -> None:
    read = spec.entry({"key": "a", **fields})
    assert bool(read.problem) is bool(problem)
    assert problem in read.problem
    assert "hush" not in read.problem


@pytest.mark.parametrize(("finalizers", "orphaning"), [(["orphan"], True), (["foregroundDeletion"], False)])
def test_a_deletion_that_leaves_the_dependents_is_told_by_its_finalizer(finalizers: list[str], orphaning: bool) -> None:
    assert spec.tenant_config(body(finalizers=finalizers)).orphaning is orphaning


def test_one_bad_entry_does_not_hide_the_others() -> None:
    entries = [{"key": "a", "value": 2**60}, {"key": "b", "value": 1}]
    read = spec.tenant_config(body({"entries": entries})).entries
    assert [bool(each.problem) for each in read] == [True, False]


# Status

TEXT = st.text(max_size=8)
FULL = st.builds(
    Status,
    observed_generation=st.integers(-1, 9),
    conditions=st.lists(st.builds(Condition, TEXT, st.booleans(), TEXT, TEXT, st.integers(0, 9), TEXT), max_size=3).map(
        tuple
    ),
    version=st.none() | st.builds(Version, st.integers(1), st.text(min_size=1, max_size=8)),
    entries=st.lists(
        st.builds(EntryStatus, TEXT, TEXT, TEXT, st.sampled_from(Policy), st.sampled_from(State), TEXT, TEXT),
        max_size=3,
    ).map(tuple),
    locations=st.lists(TEXT, max_size=3).map(tuple),
    inputs=TEXT,
)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(FULL)
def test_a_status_survives_the_api_server(status: Status) -> None:
    written = json.loads(json.dumps(spec.status_body(status)))
    kept = {name: field for name, field in written.items() if field is not None}  # null removes: a merge patch
    for entry in kept["entries"]:
        entry.setdefault("key", "")  # required, and never empty there
    assert spec.status(kept) == status


def test_a_status_says_null_for_what_shall_go() -> None:
    written = spec.status_body(Status(observed_generation=2))
    assert written == {
        "observedGeneration": 2,
        "conditions": [],
        "revision": None,
        "digest": None,
        "entries": [],
        "locations": [],
        "inputs": None,
    }


def test_the_fields_of_a_status_are_those_of_the_crd() -> None:
    written = spec.status_body(
        Status(
            observed_generation=7,
            conditions=(Condition("Ready", True, "Ready", "fine", 7, "2026-01-01T00:00:00Z"),),
            version=Version(57, "3f1c"),
            entries=(EntryStatus("a", "ssm", "ssm/1", Policy.SEED, State.MISSING, "4", "words"),),
            locations=("ssm/1",),
            inputs="9ae0",
        )
    )
    assert written == {
        "observedGeneration": 7,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Ready",
                "message": "fine",
                "observedGeneration": 7,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
        "revision": 57,
        "digest": "3f1c",
        "entries": [
            {
                "key": "a",
                "store": "ssm",
                "location": "ssm/1",
                "policy": "Seed",
                "state": "Missing",
                "version": "4",
                "message": "words",
            }
        ],
        "locations": ["ssm/1"],
        "inputs": "9ae0",
    }


def test_what_the_crd_defaults_at_creation_is_a_generation_never_observed() -> None:
    assert spec.status({"observedGeneration": -1}) == Status()
    assert spec.status({}) == Status()


# ConfigStore


def store(spec: dict[str, Any], status: dict[str, Any] | None = None) -> dict[str, Any]:
    metadata = {"name": "s", "uid": "uid-1", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"prefixes": ["a_", "b_"], **spec}, **({"status": status} if status else {})}


def test_a_configstore_separates_its_place_from_its_options() -> None:
    place = {"pathPrefix": "/x", "region": "eu-west-1", "assumeRoleArn": "arn:x", "sessionTagKey": "tenant"}
    options = {"tier": "Standard", "kmsKeyId": "alias/x", "writesPerSecond": 3}
    read = spec.config_store(store({"ssm": place | options}))
    assert read == ConfigStore(
        name="s",
        uid="uid-1",
        generation=2,
        created="2026-01-01T00:00:00Z",
        prefixes=("a_", "b_"),
        kind="ssm",
        place=(
            ("assumeRoleArn", "arn:x"),
            ("pathPrefix", "/x"),
            ("region", "eu-west-1"),
            ("sessionTagKey", "tenant"),
        ),
        options=(("kmsKeyId", "alias/x"), ("tier", "Standard"), ("writesPerSecond", "3")),
    )


def test_a_plugins_name_and_its_configuration_as_canonical_json_are_its_place() -> None:
    read = spec.config_store(store({"plugin": {"name": "memory", "config": {"b": 1, "a": [True]}}}))
    assert (read.kind, read.options) == ("plugin", ())
    assert read.place == (("config", '{"a":[true],"b":1}'), ("plugin", "memory"))


def test_an_aws_place_without_a_region_is_in_the_controllers_own() -> None:
    for place in ({"dynamodb": {"tableName": "t"}}, {"ssm": {"pathPrefix": "/t"}}):
        body = store(place, {"locations": [{"id": "x/1", **next(iter(place.values()))}]})
        read = spec.config_store(body, "eu-west-1")
        assert dict(read.place)["region"] == "eu-west-1"
        assert read.location == read.locations[0]
    named = spec.config_store(store({"ssm": {"pathPrefix": "/t", "region": "eu-west-3"}}), "eu-west-1")
    assert dict(named.place)["region"] == "eu-west-3"
    assert spec.config_store(store({"plugin": {"name": "memory"}}), "eu-west-1").place == (("plugin", "memory"),)


def test_a_configstores_status_is_read() -> None:
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "Ready",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 2,
    }
    locations = [{"id": "s/1", "tableName": "t"}]
    status = {"observedGeneration": 2, "conditions": [condition], "locations": locations}
    read = spec.config_store(store({"dynamodb": {"tableName": "t"}}, status))
    assert read.accepted
    assert read.location == Location("s/1", "dynamodb", (("tableName", "t"),))


@pytest.mark.parametrize(
    "location",
    [
        Location("d/1", "dynamodb", (("region", "eu-west-1"), ("tableName", "t"))),
        Location("s/2", "ssm", (("assumeRoleArn", "arn:x"), ("pathPrefix", "/x"), ("sessionTagKey", "tenant"))),
        Location("p/3", "plugin", (("plugin", "memory"),)),
    ],
    ids=lambda location: str(location.kind),
)
def test_a_recorded_location_reads_back(location: Location) -> None:
    assert spec.location(spec.location_body(location)) == location
