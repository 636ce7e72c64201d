"""From the API server's JSON to what the hub says."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from tenantconfig.model import Scope, digest
from tenantconfig.watch.feed import RETENTION_SECONDS, Feed, parse_revision
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.standing import GRACE_SECONDS, AbsentReason, Stale, StaleReason

SCOPE = Scope("acme", "prod", "checkout")
UNTIL = datetime(2026, 1, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def namespace(name: str = "home", tenants: str = "acme", phase: str = "Active", uid: str = "n1") -> dict[str, Any]:
    annotations = {"tenantconfig.dev/tenants": tenants}
    return {"metadata": {"name": name, "uid": uid, "annotations": annotations}, "status": {"phase": phase}}


def configmap(revision: int = 5, *, name: str = "config", uid: str = "c1", **changes: Any) -> dict[str, Any]:
    data = changes.pop("data", {"key": f"value {revision}"})
    annotations = {"tenantconfig.dev/revision": str(revision), "tenantconfig.dev/digest": digest(data)}
    metadata = {
        "name": name,
        "namespace": "home",
        "uid": uid,
        "resourceVersion": f"{uid}-{revision}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": SCOPE.labels(),
        "annotations": annotations | changes.pop("annotations", {}),
    }
    return {"metadata": metadata | changes, "data": data}


def tick(fresh_as_of: str = "2026-01-01T12:00:00.250000Z", stale: str = "[]", **changes: str) -> dict[str, Any]:
    metadata = {"name": "tenantconfig-tick", "namespace": "tenantconfig-system", "uid": "t", "resourceVersion": "9"}
    return {
        "metadata": metadata | {"labels": {"tenantconfig.dev/tenant": ""}} | changes,
        "data": {"freshAsOf": fresh_as_of, "stale": stale},
    }


class World:
    """A feed with its hub and a clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.hub = Hub()
        self.feed = Feed(self.hub, lambda: self.now)
        self.feed.namespaces.replace([namespace()])
        self.feed.configmaps.replace([])
        self.feed.sync()

    @property
    def revision(self) -> int:
        snapshot = self.hub.standing(SCOPE).snapshot
        return snapshot.version.revision if snapshot else 0

    @property
    def stale(self) -> str:
        found = self.hub.stale(SCOPE)
        return found.reason if found else ""

    @property
    def absent(self) -> AbsentReason | None:
        return self.hub.standing(SCOPE).absent


@pytest.fixture
def world() -> World:
    return World()


def test_a_configmap_becomes_a_snapshot(world: World) -> None:
    world.feed.configmaps.apply(configmap())
    snapshot = world.hub.standing(SCOPE).snapshot
    assert snapshot
    assert snapshot.scope == SCOPE
    assert snapshot.entries == {"key": "value 5"}
    assert snapshot.version.digest == digest({"key": "value 5"})


def test_a_configmap_without_data_is_an_empty_snapshot(world: World) -> None:
    body = configmap(data={})
    del body["data"]
    world.feed.configmaps.apply(body)
    assert world.revision == 5


def test_data_that_is_not_what_the_digest_says_is_not_published(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.feed.configmaps.apply(configmap())
    body = configmap(6)
    body["data"] = {"key": "secret-sauce"}
    with caplog.at_level(logging.WARNING):
        world.feed.configmaps.apply(body)
    assert (world.revision, world.stale) == (5, StaleReason.DIGEST_MISMATCH)
    assert "home/config" in caplog.text
    assert "secret-sauce" not in caplog.text
    world.feed.configmaps.apply(configmap(6))
    assert (world.revision, world.stale) == (6, "")


@pytest.mark.parametrize("revision", ["", "x", "-1", "0", "1.5", "٣", "9" * 19, "9" * 30])
def test_a_revision_that_is_none(world: World, revision: str) -> None:
    assert parse_revision(revision) == 0
    world.feed.configmaps.apply(configmap(annotations={"tenantconfig.dev/revision": revision}))
    assert (world.revision, world.stale) == (0, StaleReason.INVALID)


def test_labels_that_name_no_tenant_are_no_scope(world: World) -> None:
    world.feed.configmaps.apply(configmap(labels={"tenantconfig.dev/tenant": ""}))
    assert not world.hub._slots


def test_a_configmap_that_changes_scope_leaves_the_former(world: World) -> None:
    world.feed.configmaps.apply(configmap())
    world.feed.configmaps.apply(configmap(6, labels=Scope("acme").labels()))
    assert world.stale == StaleReason.DISAPPEARED
    assert world.hub.standing(Scope("acme")).revision == 6


def test_marked_and_deleted_is_withdrawn(world: World) -> None:
    world.feed.configmaps.apply(configmap())
    marked = configmap(annotations={"tenantconfig.dev/withdrawn": "true"})
    world.feed.configmaps.apply(marked)
    assert world.absent is AbsentReason.WITHDRAWN
    world.feed.configmaps.delete(marked)
    assert world.absent is AbsentReason.WITHDRAWN


def test_deleted_unmarked_is_served_on_for_the_grace(world: World) -> None:
    world.feed.configmaps.apply(configmap())
    world.feed.configmaps.delete(configmap())
    world.now = GRACE_SECONDS - 1
    world.feed.expire()
    assert (world.revision, world.stale) == (5, StaleReason.DISAPPEARED)
    world.now = GRACE_SECONDS
    world.feed.expire()
    assert (world.absent, world.stale) == (AbsentReason.NOT_FOUND, "")


def test_what_a_full_list_lacks_has_disappeared(world: World) -> None:
    world.feed.configmaps.apply(configmap())
    world.feed.configmaps.replace([])
    assert world.stale == StaleReason.DISAPPEARED


def test_a_full_list_brings_what_was_missed(world: World) -> None:
    world.feed.configmaps.apply(configmap())
    world.feed.configmaps.replace([configmap(9, uid="c2")])
    assert (world.revision, world.stale) == (9, "")


def test_the_tick_of_a_full_list_comes_after_the_rest_of_it(world: World) -> None:
    seen: list[int] = []
    world.hub.on_freshness = lambda: seen.append(world.revision)
    world.feed.configmaps.replace([tick(), configmap(7)])
    assert seen == [7]


def test_absent_scopes_are_forgotten_in_the_end(world: World) -> None:
    world.feed.configmaps.apply(configmap(annotations={"tenantconfig.dev/withdrawn": ""}))
    world.feed.configmaps.delete(configmap())
    world.now = RETENTION_SECONDS - 1
    world.feed.expire()
    assert world.absent is AbsentReason.WITHDRAWN
    world.now = RETENTION_SECONDS
    world.feed.expire()
    assert not world.hub._slots


def test_the_right_to_declare_comes_and_goes(world: World) -> None:
    world.feed.namespaces.apply(namespace(tenants="globex"))
    world.feed.configmaps.apply(configmap())
    assert (world.revision, world.stale) == (0, StaleReason.NOT_PERMITTED)
    world.feed.namespaces.apply(namespace(tenants="globex, acme"))
    assert (world.revision, world.stale) == (5, "")
    world.feed.namespaces.apply(namespace(tenants=""))
    world.feed.configmaps.apply(configmap(6))
    assert (world.revision, world.stale) == (5, StaleReason.NOT_PERMITTED)


def test_a_configmap_that_comes_before_its_namespace_waits_for_it(world: World) -> None:
    world.feed.namespaces.delete(namespace())
    world.feed.configmaps.apply(configmap())
    assert (world.revision, world.absent) == (0, None)
    world.feed.namespaces.apply(namespace())
    assert world.revision == 5


@pytest.mark.parametrize("deleted_first", [True, False])
def test_a_terminating_namespace_withdraws_in_whatever_order_the_news_come(world: World, deleted_first: bool) -> None:
    world.feed.configmaps.apply(configmap())
    if deleted_first:
        world.feed.configmaps.delete(configmap())
    world.feed.namespaces.apply(namespace(phase="Terminating"))
    assert world.absent is AbsentReason.WITHDRAWN
    world.feed.configmaps.delete(configmap())
    world.feed.namespaces.delete(namespace())
    assert world.absent is AbsentReason.WITHDRAWN


def test_a_namespace_that_a_full_list_lacks_is_gone(world: World) -> None:
    world.feed.configmaps.apply(configmap())
    world.feed.namespaces.replace([])
    assert world.absent is AbsentReason.WITHDRAWN
    assert world.feed.rights("home") is None


def test_rights_that_change_are_announced(world: World) -> None:
    announced: list[str] = []
    world.feed.on_rights = announced.append
    world.feed.namespaces.apply(namespace())
    assert announced == []
    world.feed.namespaces.apply(namespace(tenants="acme,globex"))
    assert announced == ["home"]
    rights = world.feed.rights("home")
    assert rights
    assert rights.may_read("globex")


def test_the_tick_tells_time_and_stale_scopes(world: World) -> None:
    stale = (
        '[{"tenant": "acme", "environment": "prod", "service": "checkout", '
        '"verifiedAsOf": "2026-01-01T12:00:00.250000Z", "reason": "Throttled"}]'
    )
    world.feed.configmaps.apply(tick(stale=stale))
    assert world.hub.fresh_as_of == UNTIL
    assert world.hub.stale(SCOPE) == Stale("Throttled", UNTIL)


@pytest.mark.parametrize("elsewhere", [{"namespace": "home"}, {"name": "another"}])
def test_only_the_operators_tick_counts(world: World, elsewhere: dict[str, str]) -> None:
    world.feed.configmaps.apply(tick(**elsewhere))
    assert world.hub.fresh_as_of is None


@pytest.mark.parametrize(
    "body",
    [
        tick(fresh_as_of="yesterday"),
        tick(fresh_as_of="2026-01-01T12:00:00"),
        tick(stale="{"),
        tick(stale="[1]"),
        tick(stale='[{"environment": "prod"}]'),
        {**tick(), "data": {}},
        {**tick(), "data": None},
    ],
)
def test_a_tick_that_cannot_be_read_changes_nothing(world: World, body: dict[str, Any]) -> None:
    world.feed.configmaps.apply(tick())
    world.feed.configmaps.apply(body)
    assert world.hub.fresh_as_of == UNTIL
