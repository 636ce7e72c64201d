"""What Kubernetes shall show, its version, and how it gets there."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tenantconfig.errors import Reason, Stalled
from tenantconfig.model import ResourceRef, Scope, TenantConfig, Version, digest
from tenantconfig.plan import Held
from tenantconfig.projection import (
    MAX_BYTES,
    Projected,
    Projection,
    Write,
    configmap_body,
    next_version,
    project,
    refuse_large,
    secret_body,
    write_needed,
)

NOW = 1_770_000_000_000
OLD, NEW = {"a": "1"}, {"a": "2"}
REVISION, DIGEST = "tenantconfig.dev/revision", "tenantconfig.dev/digest"


def annotated(revision: str, digest: str) -> Projected:
    return Projected("uid-cm", "1", "uid-1", {}, annotations={REVISION: revision, DIGEST: digest})


@pytest.mark.parametrize(
    ("recorded", "actual", "expected"),
    [
        (None, None, NOW),
        (None, Projected("uid-cm", "1", "uid-1", {}), NOW),
        (None, annotated("words", digest(NEW)), NOW),
        (None, annotated("-5", digest(NEW)), NOW),
        (Version(57, digest(OLD)), None, 58),
        (Version(57, digest(NEW)), None, 57),
        (None, annotated("57", digest(OLD)), 58),
        (None, annotated("57", digest(NEW)), 57),
        (Version(57, digest(OLD)), annotated("57", digest(OLD)), 58),
        (Version(57, digest(NEW)), annotated("57", digest(NEW)), 57),
        (Version(57, digest(OLD)), annotated("58", digest(NEW)), 58),
        (Version(57, digest(NEW)), annotated("58", digest(OLD)), 59),
        (Version(58, digest(NEW)), annotated("57", digest(OLD)), 58),
        (Version(58, digest(OLD)), annotated("57", digest(NEW)), 59),
        (Version(57, digest(NEW)), annotated("57", "tampered"), 57),
        (Version(57, digest(OLD)), annotated("57", digest(NEW)), 58),
    ],
    ids=[
        "nothing is known",
        "no annotations",
        "an annotation that is no number",
        "a negative annotation",
        "status alone, changed",
        "status alone, unchanged",
        "annotation alone, changed",
        "annotation alone, unchanged",
        "both, changed",
        "both, unchanged",
        "annotation ahead of the status, with this digest",
        "annotation ahead of the status, with another",
        "status ahead, with this digest",
        "status ahead, with another",
        "tampered annotation",
        "annotation says new though the status does not",
    ],
)
def test_the_next_revision(recorded: Version | None, actual: Projected | None, expected: int) -> None:
    assert next_version(NEW, recorded, actual, NOW) == Version(expected, digest(NEW))


def test_a_scope_made_again_is_newer_than_what_a_pod_remembers() -> None:
    first = next_version(OLD, None, None, NOW)
    later = next_version(NEW, first, None, NOW + 1)
    again = next_version(NEW, None, None, NOW + 60_000)
    assert first.revision < later.revision < again.revision


def test_sensitive_values_are_kept_apart() -> None:
    held = [("a", Held("1", "1")), ("b", Held("hush", "1", sensitive=True)), ("c", Held("", "1"))]
    projection = project(held)
    assert projection == Projection({"a": "1", "c": ""}, {"b": "hush"})
    assert "hush" not in repr(projection)


@pytest.mark.parametrize(
    ("entries", "sensitive", "what"),
    [
        ({"k": "x" * (MAX_BYTES - 1)}, {"k": "x" * (MAX_BYTES - 1)}, ""),
        ({"k": "x" * MAX_BYTES}, {}, "ConfigMap"),
        ({}, {"k": "x" * MAX_BYTES}, "Secret"),
        ({"k": "ü" * (MAX_BYTES // 2)}, {}, "ConfigMap"),
        ({f"k{number}": "x" * 2048 for number in range(512)}, {}, "ConfigMap"),
    ],
    ids=["the largest of both", "ConfigMap", "Secret", "bytes, not characters", "keys count"],
)
def test_what_no_object_holds_is_refused(entries: dict[str, str], sensitive: dict[str, str], what: str) -> None:
    if not what:
        refuse_large(Projection(entries, sensitive))
        return
    with pytest.raises(Stalled, match=f"a {what} holds {MAX_BYTES}") as caught:
        refuse_large(Projection(entries, sensitive))
    assert caught.value.reason is Reason.SNAPSHOT_TOO_LARGE


# How it is written

RESOURCE = TenantConfig(
    ref=ResourceRef("team", "checkout"),
    uid="uid-1",
    resource_version="5",
    generation=3,
    created="2026-01-01",
    scope=Scope("acme", "prod"),
    entries=(),
    configmap_name="config",
    secret_name="secrets",
)
WANTED = configmap_body(RESOURCE, {"a": "1", "b": "2"}, Version(57, digest({"a": "1", "b": "2"})))


def actual(wanted: Mapping[str, Any] = WANTED) -> Projected:
    """What the API server has after `wanted` was written."""
    metadata = wanted["metadata"]
    return Projected("uid-cm", "9", "uid-1", wanted["data"], metadata["labels"], metadata["annotations"])


def with_label(label: str, value: str) -> Projected:
    return replace(actual(), labels=actual().labels | {label: value})  # type: ignore[operator]


def without_label(label: str) -> Projected:
    return replace(actual(), labels={each: value for each, value in actual().labels.items() if each != label})


@pytest.mark.parametrize(
    ("found", "write"),
    [
        (None, Write.CREATE),
        (actual(), Write.NONE),
        (with_label("team", "x"), Write.NONE),
        (replace(actual(), annotations={**actual().annotations, "note": "x"}), Write.NONE),
        (replace(actual(), data={"a": "1", "b": "other"}), Write.APPLY),
        (replace(actual(), data={"a": "1"}), Write.APPLY),
        (replace(actual(), data={}), Write.APPLY),
        (replace(actual(), data={"a": "1", "b": "2", "foreign": ""}), Write.REPLACE),
        (replace(actual(), data={"foreign": "1"}), Write.REPLACE),
        (replace(actual(), annotations={**actual().annotations, REVISION: "1"}), Write.APPLY),
        (replace(actual(), annotations={}), Write.APPLY),
        (replace(actual(), owner=""), Write.APPLY),
        (without_label("tenantconfig.dev/tenant"), Write.APPLY),
        (without_label("app.kubernetes.io/managed-by"), Write.APPLY),
        (with_label("tenantconfig.dev/tenant", "globex"), Write.APPLY),
        (with_label("tenantconfig.dev/service", "checkout"), Write.REPLACE),
        (replace(with_label("tenantconfig.dev/service", "checkout"), data={"a": "1"}), Write.REPLACE),
    ],
    ids=[
        "absent",
        "right",
        "a label of others",
        "an annotation of others",
        "another value",
        "a key less",
        "no keys",
        "a key more",
        "other keys",
        "another revision",
        "no annotations",
        "no owner",
        "no tenant",
        "no manager",
        "another tenant",
        "a dimension more",
        "a dimension more and a key less",
    ],
)
def test_how_a_configmap_gets_right(found: Projected | None, write: Write) -> None:
    assert write_needed(WANTED, found) is write


def test_a_withdrawal_mark_does_not_stay_on_what_is_in_use() -> None:
    marked = replace(actual(), annotations={**actual().annotations, "tenantconfig.dev/withdrawn": "true"})
    assert write_needed(WANTED, marked) is not Write.NONE


def test_a_secret_that_is_right_needs_no_write() -> None:
    wanted = secret_body(RESOURCE, {"k": "hush"})
    assert write_needed(wanted, actual(wanted)) is Write.NONE
    assert write_needed(wanted, replace(actual(wanted), data={"k": "other"})) is Write.APPLY


def test_the_configmap_is_as_documented() -> None:
    body = configmap_body(RESOURCE, {"a": "1"}, Version(57, "3f1c"))
    assert body == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "config",
            "namespace": "team",
            "labels": {
                "tenantconfig.dev/tenant": "acme",
                "tenantconfig.dev/environment": "prod",
                "app.kubernetes.io/managed-by": "tenantconfig",
            },
            "annotations": {REVISION: "57", DIGEST: "3f1c"},
            "ownerReferences": [
                {
                    "apiVersion": "tenantconfig.dev/v1alpha1",
                    "kind": "TenantConfig",
                    "name": "checkout",
                    "uid": "uid-1",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": {"a": "1"},
    }


def test_the_secret_carries_no_digest_and_is_no_source() -> None:
    body = secret_body(RESOURCE, {"k": "hush"})
    assert (body["kind"], body["type"], body["data"]) == ("Secret", "Opaque", {"k": "hush"})
    assert body["metadata"]["name"] == "secrets"
    assert body["metadata"]["annotations"] == {}
    assert body["metadata"]["labels"]["tenantconfig.dev/source"] == "false"
