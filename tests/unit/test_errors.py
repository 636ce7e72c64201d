"""Which errors are worth a retry, and what they carry."""

import pytest

from tenantconfig.errors import (
    AlreadyExists,
    Conflict,
    Missing,
    Reason,
    Stalled,
    TenantConfigError,
    Transient,
)


def test_every_error_is_either_for_a_person_or_for_time() -> None:
    kinds = {Stalled, Transient, Missing, Conflict, AlreadyExists}
    assert {kind for kind in kinds if issubclass(kind, Stalled)} == {Stalled}
    assert {kind for kind in kinds if issubclass(kind, Transient)} == kinds - {Stalled}
    assert all(issubclass(kind, TenantConfigError) for kind in kinds)


def test_what_exists_already_is_a_conflict_and_what_is_missing_is_none() -> None:
    assert isinstance(AlreadyExists("x"), Conflict)
    assert not isinstance(Missing("x"), Conflict)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Stalled(Reason.NO_STORE, "text"), "NoStore"),
        (Transient(Reason.THROTTLED, "text"), "Throttled"),
        (Conflict("text"), "Conflict"),
        (AlreadyExists("text"), "Conflict"),
        (Missing("text"), "KubernetesFailed"),
    ],
)
def test_an_error_carries_its_reason_and_message(error: TenantConfigError, reason: str) -> None:
    assert (error.reason.value, error.message, str(error)) == (reason, "text", "text")


def test_reasons_are_what_the_api_server_takes_for_a_condition() -> None:
    assert len({each.value for each in Reason}) == len(Reason)
    assert all(each.value.isalpha() and each.value[0].isupper() for each in Reason)
