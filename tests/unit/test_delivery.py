"""Who has which version."""

from tenantconfig.model import Scope, Snapshot, Version
from tenantconfig.watch.delivery import behind, deliveries
from tenantconfig.watch.hub import Hub, Watcher
from tenantconfig.watch.standing import AbsentReason, Standing

ACME, GLOBEX = Scope("acme", "prod"), Scope("globex")


def serving(scope: Scope, revision: int) -> Standing:
    version = Version(revision, f"digest-{revision}")
    return Standing(snapshot=Snapshot(scope, version, {"key": "hush"}), version=version)


def watcher(hub: Hub, scope: Scope, subscriber: str, known: Version | None = None) -> Watcher:
    made = Watcher(hub, lambda: None)
    made.subscribe(scope, known, subscriber)
    made.next_reply()
    return made


def test_each_subscriber_shows_with_what_it_was_told_and_what_became_of_it() -> None:
    hub = Hub()
    hub.settle(ACME, serving(ACME, 1))
    applies, refuses, resumes = (
        watcher(hub, ACME, "applies"),
        watcher(hub, ACME, "refuses"),
        watcher(hub, ACME, "resumes", Version(1, "digest-1")),
    )
    applies.acknowledge(ACME, Version(1, "digest-1"), "")
    refuses.acknowledge(ACME, Version(1, "digest-1"), "not a number")
    (found,) = deliveries(hub)
    one = {"revision": 1, "digest": "digest-1"}
    assert found == {
        "scope": {"tenant": "acme", "environment": "prod", "service": ""},
        "version": one,
        "absent": None,
        "subscribers": [
            {"subscriber": "applies", "told": one, "acknowledged": one, "error": ""},
            {"subscriber": "refuses", "told": one, "acknowledged": None, "error": "not a number"},
            {"subscriber": "resumes", "told": one, "acknowledged": one, "error": ""},
        ],
    }
    assert behind(hub) == 1
    assert "hush" not in str(found)

    hub.settle(ACME, serving(ACME, 2))
    assert behind(hub) == 3
    for each in (applies, refuses, resumes):
        each.next_reply()
        each.acknowledge(ACME, Version(2, "digest-2"), "")
    assert behind(hub) == 0
    assert {each["error"] for each in next(deliveries(hub))["subscribers"]} == {""}


def test_a_refusal_outlives_the_subscription_that_follows_from_it() -> None:
    hub = Hub()
    hub.settle(ACME, serving(ACME, 1))
    one = watcher(hub, ACME, "one")
    one.acknowledge(ACME, Version(1, "digest-1"), "the digest does not match")
    one.subscribe(ACME, None, "one")
    one.next_reply()
    assert [each["error"] for each in next(deliveries(hub))["subscribers"]] == ["the digest does not match"]
    one.acknowledge(ACME, Version(1, "digest-1"), "")
    assert [each["error"] for each in next(deliveries(hub))["subscribers"]] == [""]


def test_a_tenant_may_be_picked_and_scopes_without_subscribers_are_left_out() -> None:
    hub = Hub()
    hub.settle(ACME, serving(ACME, 1))
    hub.settle(GLOBEX, Standing(absent=AbsentReason.WITHDRAWN, version=Version(1, "digest-1"), since=0.0))
    assert list(deliveries(hub)) == []
    watcher(hub, ACME, "one")
    watcher(hub, GLOBEX, "two")
    assert [each["scope"]["tenant"] for each in deliveries(hub)] == ["acme", "globex"]
    (found,) = deliveries(hub, "globex")
    assert (found["absent"], found["subscribers"][0]["told"]) == ("WITHDRAWN", None)
    assert behind(hub) == 1
