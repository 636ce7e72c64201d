"""What people and GitOps tools read of a pass."""

from dataclasses import replace

import pytest

from tenantconfig.conditions import MAX_MESSAGE, Findings, judge, settle, store_conditions, worst
from tenantconfig.errors import Conflict, Reason, Stalled, TenantConfigError, Transient
from tenantconfig.model import Condition, EntryStatus, State, Status, Version

NOON, LATER = "2026-01-01T12:00:00Z", "2026-01-01T13:00:00Z"
WELL = Findings(
    generation=7,
    inputs="9ae0",
    version=Version(57, "3f1c"),
    entries=(EntryStatus("a", state=State.SYNCED), EntryStatus("b", state=State.SYNCED)),
    locations=("ssm/1",),
)
STALLED = Stalled(Reason.NO_STORE, "add a ConfigStore")
THROTTLED = Transient(Reason.THROTTLED, "wait")


def shown(findings: Findings) -> dict[str, tuple[bool, str]]:
    """Status and reason by type."""
    status = judge(findings, Status(), NOON)
    assert all(each.observed_generation == 7 for each in status.conditions)
    return {each.type: (each.status, each.reason) for each in status.conditions}


@pytest.mark.parametrize(
    ("findings", "conditions"),
    [
        (
            WELL,
            {"Ready": (True, "Ready"), "StoresSynced": (True, "Ready"), "Projected": (True, "Ready")},
        ),
        (
            replace(WELL, suspended=True),
            {"Ready": (False, "Suspended")},
        ),
        (
            replace(WELL, store_failures=(STALLED,)),
            {
                "Ready": (False, "NoStore"),
                "Stalled": (True, "NoStore"),
                "StoresSynced": (False, "NoStore"),
                "Projected": (False, "NoStore"),
            },
        ),
        (
            replace(WELL, store_failures=(THROTTLED,)),
            {
                "Ready": (False, "Throttled"),
                "Reconciling": (True, "Throttled"),
                "StoresSynced": (False, "Throttled"),
                "Projected": (False, "Throttled"),
            },
        ),
        (
            replace(WELL, store_failures=(THROTTLED, STALLED)),
            {
                "Ready": (False, "NoStore"),
                "Stalled": (True, "NoStore"),
                "StoresSynced": (False, "NoStore"),
                "Projected": (False, "NoStore"),
            },
        ),
        (
            replace(WELL, projection_failure=Stalled(Reason.CONFIGMAP_CONFLICT, "taken")),
            {
                "Ready": (False, "ConfigMapConflict"),
                "Stalled": (True, "ConfigMapConflict"),
                "StoresSynced": (True, "Ready"),
                "Projected": (False, "ConfigMapConflict"),
            },
        ),
        (
            replace(WELL, projection_failure=Conflict("changed")),
            {
                "Ready": (False, "Conflict"),
                "Reconciling": (True, "Conflict"),
                "StoresSynced": (True, "Ready"),
                "Projected": (False, "Conflict"),
            },
        ),
        (
            replace(WELL, entries=(EntryStatus("a", state=State.MISSING), EntryStatus("b", state=State.SYNCED))),
            {"Ready": (False, "Missing"), "StoresSynced": (True, "Ready"), "Projected": (True, "Ready")},
        ),
    ],
    ids=[
        "all well",
        "suspended",
        "stalled",
        "reconciling",
        "a store for a person, another for time",
        "ConfigMap taken",
        "conflict",
        "observed and missing",
    ],
)
def test_the_conditions_for_what_was_found(findings: Findings, conditions: dict[str, tuple[bool, str]]) -> None:
    assert shown(findings) == conditions


def test_a_status_carries_what_was_found() -> None:
    status = judge(WELL, Status(), NOON)
    assert (status.observed_generation, status.inputs, status.version) == (7, "9ae0", Version(57, "3f1c"))
    assert (status.entries, status.locations) == (WELL.entries, ("ssm/1",))


def messages(findings: Findings) -> dict[str, str]:
    return {each.type: each.message for each in judge(findings, Status(), NOON).conditions}


def test_messages_count_entries_and_name_the_revision() -> None:
    assert messages(WELL) == {
        "Ready": "2 of 2 entries are in their stores; revision 57 is projected",
        "StoresSynced": "2 of 2 entries are in their stores",
        "Projected": "revision 57 is projected",
    }


def test_a_failure_says_how_to_mend_it_and_what_stays() -> None:
    said = messages(replace(WELL, store_failures=(STALLED,)))
    assert said["Ready"] == said["Stalled"] == "add a ConfigStore"
    assert said["Projected"] == "revision 57 stays"
    assert messages(replace(WELL, version=None, store_failures=(STALLED,)))["Projected"] == "nothing is projected yet"


def test_missing_keys_are_named_in_order() -> None:
    entries = tuple(EntryStatus(key, state=State.MISSING) for key in "cab")
    assert messages(replace(WELL, entries=entries))["Ready"] == "observed, but not in the store: a, b, c"


def test_messages_are_cut() -> None:
    long = Stalled(Reason.INVALID, "x" * 5000)
    assert len(messages(replace(WELL, store_failures=(long,)))["Ready"]) == MAX_MESSAGE
    assert [len(each.message) for each in store_conditions(long, 1)] == [MAX_MESSAGE] * 2


# When a condition is dated


def test_the_date_moves_with_the_status_alone() -> None:
    before = judge(WELL, Status(), NOON)
    same = judge(replace(WELL, version=Version(58, "x"), generation=8), before, LATER)
    assert {each.last_transition_time for each in same.conditions} == {NOON}
    assert {each.observed_generation for each in same.conditions} == {8}

    failed = judge(replace(WELL, store_failures=(THROTTLED,)), same, LATER)
    assert {each.type: each.last_transition_time for each in failed.conditions} == {
        "Ready": LATER,
        "Reconciling": LATER,
        "StoresSynced": LATER,
        "Projected": LATER,
    }
    other_reason = judge(replace(WELL, store_failures=(STALLED,)), failed, "2026-01-01T14:00:00Z")
    dates = {each.type: each.last_transition_time for each in other_reason.conditions}
    assert dates == {
        "Ready": LATER,
        "Stalled": "2026-01-01T14:00:00Z",
        "StoresSynced": LATER,
        "Projected": LATER,
    }


def test_a_status_judged_again_from_the_same_findings_is_equal() -> None:
    for findings in (WELL, replace(WELL, store_failures=(STALLED,)), replace(WELL, suspended=True)):
        once = judge(findings, Status(), NOON)
        assert judge(findings, once, LATER) == once


def test_a_condition_of_a_new_type_is_dated_now() -> None:
    condition = Condition("Ready", True, "Ready", "", 1)
    assert settle([condition], [replace(condition, type="Other", last_transition_time=NOON)], LATER) == (
        replace(condition, last_transition_time=LATER),
    )


@pytest.mark.parametrize(
    ("failures", "heard"),
    [([], None), ([THROTTLED], THROTTLED), ([THROTTLED, STALLED], STALLED), ([STALLED, THROTTLED], STALLED)],
)
def test_a_person_hears_first_of_what_only_a_person_can_mend(
    failures: list[TenantConfigError], heard: TenantConfigError | None
) -> None:
    assert worst(failures) is heard


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (None, [("Ready", True, "Ready")]),
        (THROTTLED, [("Ready", False, "Throttled"), ("Reconciling", True, "Throttled")]),
        (
            Stalled(Reason.AMBIGUOUS_PREFIX, "x"),
            [("Ready", False, "AmbiguousPrefix"), ("Stalled", True, "AmbiguousPrefix")],
        ),
    ],
)
def test_the_conditions_of_a_configstore(
    failure: TenantConfigError | None, expected: list[tuple[str, bool, str]]
) -> None:
    made = store_conditions(failure, 4)
    assert [(each.type, each.status, each.reason) for each in made] == expected
    assert {each.observed_generation for each in made} == {4}
