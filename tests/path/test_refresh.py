"""Changes made in AWS come back: by a message in seconds, without one by the sweep; what is enforced is put back."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from harness import cluster
from harness.api import Object
from harness.aws import LocalAws, Moto
from harness.cluster import namespace
from harness.system import TABLE, System, condition, is_ready, running, versions
from harness.wait import wait_for
from path.test_stores import LONG

pytestmark = pytest.mark.timeout(300)

TENANTS = iter(range(1000))
ROTATION = 15.0  # seconds
STALE = 10.0
MAX, URL = "tenant_config_max", "param_config_url"
BOTH = pytest.mark.parametrize("key", [MAX, URL], ids=["dynamodb", "ssm"])


@pytest.fixture(scope="module")
def queue(moto: Moto) -> str:
    sqs = moto.client("sqs")
    dead = sqs.create_queue(QueueName="refresh-dead")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 3})
    return str(sqs.create_queue(QueueName="refresh", Attributes={"RedrivePolicy": redrive})["QueueUrl"])


@pytest.fixture(scope="module")
def refreshed(
    tmp_path_factory: pytest.TempPathFactory, moto: Moto, dynamodb_local: LocalAws, queue: str
) -> Iterator[System]:
    """An installation that hears of changes, and looks at everything every few seconds."""
    directory = tmp_path_factory.mktemp("refreshed")
    options = {"sweep_seconds": ROTATION, "stale_seconds": STALE, "refresh_queue_url": queue}
    with running(directory, moto, dynamodb_local, **options) as system:
        yield system


@pytest.fixture
def tenant(refreshed: System) -> str:
    name = f"refreshed-{next(TENANTS)}"
    refreshed.admin.create(namespace(name, {"tenantconfig.dev/tenants": name}))
    return name


def applied(system: System, tenant: str, *entries: Object) -> Object:
    """A resource with these entries is Ready."""
    body = cluster.tenant_config(tenant, tenantId=tenant, entries=list(entries))
    system.admin.apply(body)
    wait_for(lambda: is_ready(system.admin.get(body)), "Ready")
    return system.admin.get(body)


def write(system: System, tenant: str, key: str, text: str) -> None:
    """Someone else writes, in AWS."""
    if key.startswith("param"):
        name = f"/tenant-config/{tenant}/_/_/{key}"
        system.parameters.put_parameter(Name=name, Value=text, Type="String", Overwrite=True)
    else:
        item = {"pk": {"S": f"TENANT#{tenant}"}, "sk": {"S": f"CONFIG#_#_#{key}"}, "key": {"S": key}}
        system.table.put_item(TableName=TABLE, Item={**item, "value": {"S": text}})


def remove(system: System, tenant: str, key: str) -> None:
    """Someone else deletes, in AWS."""
    if key.startswith("param"):
        system.parameters.delete_parameter(Name=f"/tenant-config/{tenant}/_/_/{key}")
    else:
        name = {"pk": {"S": f"TENANT#{tenant}"}, "sk": {"S": f"CONFIG#_#_#{key}"}}
        system.table.delete_item(TableName=TABLE, Key=name)


def stored(system: System, tenant: str, key: str) -> str | None:
    if key.startswith("param"):
        found = system.parameter_values(tenant).get(f"/tenant-config/{tenant}/_/_/{key}", {})
        return found.get("Value")
    value = system.items(tenant).get(key, {}).get("value", {})
    return value.get("S") if value else None


def tell(system: System, queue: str, tenant: str, key: str, **changes: Any) -> None:
    """The message that the refresh function sends of it."""
    kind, place = ("ssm", "/tenant-config") if key.startswith("param") else ("dynamodb", TABLE)
    message = {
        "store": kind,
        "place": place,
        "tenant": tenant,
        "environment": "",
        "service": "",
        "key": key,
        "time": "",
        **changes,
    }
    system.aws.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(message))


def projected(system: System, tenant: str) -> dict[str, str]:
    return dict(system.admin.get(cluster.projection(tenant)).get("data") or {})


def events(system: System, tenant: str) -> list[str]:
    found = system.admin.request("GET", f"/api/v1/namespaces/{tenant}/events")["items"]
    return [each["message"] for each in found if each["reason"] == "Drifted"]


def metric(system: System, name: str) -> float:
    """A sum over all labels, or of one series if `name` has labels."""
    lines = [line for line in system.metrics("controller").splitlines() if line.startswith(name)]
    return sum(
        float(line.rpartition(" ")[2]) for line in lines if re.match(rf"{re.escape(name)}(\{{| )", line) or "{" in name
    )


def state(system: System, body: Object, key: str) -> dict[str, Any]:
    return next((each for each in system.admin.get(body)["status"]["entries"] if each["key"] == key), {})


def counted(system: System, name: str) -> Callable[[], float]:
    """By how much a metric has grown from now on."""
    before = metric(system, name)
    return lambda: metric(system, name) - before


@BOTH
def test_what_is_enforced_is_put_back_with_an_event(refreshed: System, queue: str, tenant: str, key: str) -> None:
    applied(refreshed, tenant, {"key": key, "value": "ours"})
    client = refreshed.client("watch", tenant, f"--tenant={tenant}", name=tenant)
    client.wait_until(lambda: len(versions(client)) == 1, "the first version")
    put_back = counted(refreshed, "tenantconfig_put_back_total")
    write(refreshed, tenant, key, "theirs")
    tell(refreshed, queue, tenant, key)
    wait_for(lambda: stored(refreshed, tenant, key) == "ours", "put back")
    (event,) = wait_for(lambda: events(refreshed, tenant), "the event")
    assert event.startswith(f"{key}: version ")
    assert "theirs" not in event
    assert put_back() == 1
    assert [each["entries"] for each in versions(client)] == [{key: "ours"}], "pods saw nothing of it"
    client.stop()


@BOTH
@pytest.mark.parametrize("policy", ["Seed", "Observe"])
def test_what_the_store_owns_reaches_pods(refreshed: System, queue: str, tenant: str, key: str, policy: str) -> None:
    write(refreshed, tenant, key, "before")
    entry = {"key": key, "policy": policy} | ({"value": "seed"} if policy == "Seed" else {})
    body = applied(refreshed, tenant, entry)
    client = refreshed.client("watch", tenant, f"--tenant={tenant}", name=tenant)
    client.wait_until(lambda: len(versions(client)) == 1, "the first version")
    write(refreshed, tenant, key, "after")
    tell(refreshed, queue, tenant, key)
    client.wait_until(lambda: versions(client)[-1]["entries"] == {key: "after"}, "the change at a subscriber")
    client.stop()
    assert projected(refreshed, tenant) == {key: "after"}
    wait_for(lambda: is_ready(refreshed.admin.get(body)), "Ready")
    assert events(refreshed, tenant) == []


@BOTH
def test_a_key_that_others_create_under_an_observed_entry(refreshed: System, queue: str, tenant: str, key: str) -> None:
    body = cluster.tenant_config(tenant, tenantId=tenant, entries=[{"key": key, "policy": "Observe"}])
    refreshed.admin.create(body)
    wait_for(lambda: condition(refreshed.admin.get(body), "Ready").get("reason") == "Missing", "Missing")
    write(refreshed, tenant, key, "there")
    tell(refreshed, queue, tenant, key)
    wait_for(lambda: is_ready(refreshed.admin.get(body)), "Ready")
    assert projected(refreshed, tenant) == {key: "there"}


@BOTH
def test_the_messages_of_our_own_writes_cause_no_pass(refreshed: System, queue: str, tenant: str, key: str) -> None:
    applied(refreshed, tenant, {"key": key, "value": "1"})
    own, changed = (
        counted(refreshed, f'tenantconfig_refresh_messages_total{{outcome="{name}"}}') for name in ("own", "changed")
    )
    for _ in range(3):
        tell(refreshed, queue, tenant, key)
    wait_for(lambda: own() == 3, "recognised")
    assert changed() == 0


@BOTH
def test_what_no_message_tells_of_is_found_by_the_sweep(refreshed: System, tenant: str, key: str) -> None:
    applied(refreshed, tenant, {"key": key, "value": "ours"})
    write(refreshed, tenant, key, "theirs")
    wait_for(lambda: stored(refreshed, tenant, key) == "ours", "put back")
    assert metric(refreshed, "tenantconfig_sweep_rotation_seconds") == ROTATION
    assert metric(refreshed, "tenantconfig_scope_verified_age_max_seconds") < 10 * ROTATION


@pytest.mark.parametrize(("kind", "former"), [("String", ""), ("SecureString", ""), ("String", "ours before")])
def test_a_parameter_that_others_make_again_is_put_back_though_it_counts_from_one_again(
    refreshed: System, queue: str, tenant: str, kind: str, former: str
) -> None:
    if former:  # and nobody's, in SSM's eyes: another version than the one that is recorded, and no tags
        applied(refreshed, tenant, {"key": URL, "value": former})
    body = applied(refreshed, tenant, {"key": URL, "value": "ours"})
    changed = counted(refreshed, 'tenantconfig_refresh_messages_total{outcome="changed"}')
    put_back = counted(refreshed, "tenantconfig_put_back_total")
    name = f"/tenant-config/{tenant}/_/_/{URL}"
    refreshed.parameters.delete_parameter(Name=name)
    refreshed.parameters.put_parameter(Name=name, Value="theirs", Type=kind)
    tell(refreshed, queue, tenant, URL)
    wait_for(lambda: stored(refreshed, tenant, URL) == "ours", "put back", timeout=90)  # a type changes after 30 s
    (event,) = wait_for(lambda: events(refreshed, tenant), "the event")
    assert event.startswith(f"{URL}: version 1 ")
    assert (changed(), put_back()) == (1, 1)
    wait_for(lambda: is_ready(refreshed.admin.get(body)), "Ready")


def test_messages_that_mean_nothing_here_are_counted_and_hold_nobody_up(
    refreshed: System, queue: str, tenant: str
) -> None:
    unknown = counted(refreshed, 'tenantconfig_refresh_messages_total{outcome="unknown"}')
    poison = counted(refreshed, 'tenantconfig_refresh_messages_total{outcome="poison"}')
    tell(refreshed, queue, "nobody-declared", MAX)
    sqs = refreshed.aws.client("sqs")
    for text in ("hush-1", json.dumps(["hush-2"]), json.dumps({"store": "ssm", "tenant": 1, "key": "hush-3"})):
        sqs.send_message(QueueUrl=queue, MessageBody=text)
    applied(refreshed, tenant, {"key": MAX, "value": "ours"})
    write(refreshed, tenant, MAX, "theirs")
    tell(refreshed, queue, tenant, MAX)
    wait_for(lambda: stored(refreshed, tenant, MAX) == "ours", "put back")
    wait_for(lambda: (unknown(), poison()) == (1, 3), f"counted, at first {(unknown(), poison())}")
    log = (refreshed.directory / "controller.log").read_text()
    assert "is not understood (received 1 times): it is not JSON" in log
    assert "hush" not in log
    attributes = ["ApproximateNumberOfMessagesNotVisible"]

    def hidden() -> int:
        return int(sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=attributes)["Attributes"][attributes[0]])

    wait_for(lambda: hidden() == 3, "only they are left: they come again, until the redrive policy takes them")


def doublings(seconds: float) -> int:
    """Put-backs in that time: the first at once, the second after 2 s, each of the next after twice as long."""
    return 1 + int(math.log2(seconds / 2 + 1))


@pytest.mark.timeout(600)
def test_a_storm_of_foreign_writes_costs_few_of_ours_and_nobody_else_any(
    refreshed: System, queue: str, tenant: str
) -> None:
    other = f"{tenant}-other"
    refreshed.admin.create(namespace(other, {"tenantconfig.dev/tenants": other}))
    body = applied(refreshed, tenant, {"key": URL, "value": "ours"}, {"key": MAX, "value": "1"})
    applied(refreshed, other, {"key": URL, "value": "one"})
    refreshed.reset()
    began = edited = time.monotonic()
    for number in range(60):
        write(refreshed, tenant, URL, f"theirs {number}")
        tell(refreshed, queue, tenant, URL)
        if number == 30:
            applied(refreshed, other, {"key": URL, "value": "two"})
            entries = [{"key": URL, "value": "ours"}, {"key": MAX, "value": "2"}]
            refreshed.admin.apply(cluster.tenant_config(tenant, tenantId=tenant, entries=entries))
            edited = time.monotonic()
        time.sleep(0.25)  # a process that writes four times a second, for fifteen seconds
    drifted = state(refreshed, body, URL)
    assert drifted["state"] == "Drifted"
    step = r"it (is put back at|was put back, and counts as settled if nobody does until) \d{4}-"
    assert re.match(f"others change it again and again: {step}", drifted["message"])
    assert condition(refreshed.admin.get(body), "Ready")["reason"] == "Drifted"
    assert projected(refreshed, tenant) == {URL: "ours", MAX: "2"}, "what the resource says, all the while"
    writes = [each for each in refreshed.aws.recorded("PutParameter") if f"/{tenant}/" in str(each)]
    most = doublings(edited - began) + doublings(time.monotonic() - edited)
    assert 2 <= len(writes) <= most, "at once, then after 2, 4, 8 seconds, and an edit begins anew"
    wait_for(lambda: stored(refreshed, tenant, URL) == "ours", "put back when they are gone", LONG)
    wait_for(lambda: is_ready(refreshed.admin.get(body)), "Ready once nobody has touched it for that long again", LONG)


def test_a_put_back_that_fails_at_first_holds_off_the_next_one(refreshed: System, queue: str, tenant: str) -> None:
    body = applied(refreshed, tenant, {"key": URL, "value": "ours"})
    put_back = counted(refreshed, "tenantconfig_put_back_total")
    refreshed.aws.fail("PutParameter", "InternalServerError", status=500, times=100)
    write(refreshed, tenant, URL, "theirs")  # past the recorder: it does not fail
    tell(refreshed, queue, tenant, URL)
    wait_for(lambda: condition(refreshed.admin.get(body), "Ready").get("reason") == "StoreFailed", "a failure")
    refreshed.reset()
    wait_for(lambda: stored(refreshed, tenant, URL) == "ours", "put back")
    wait_for(lambda: put_back() == 1, "counted")
    write(refreshed, tenant, URL, "theirs")
    tell(refreshed, queue, tenant, URL)
    wait_for(lambda: state(refreshed, body, URL)["state"] == "Drifted", "held")
    assert projected(refreshed, tenant) == {URL: "ours"}
    wait_for(lambda: is_ready(refreshed.admin.get(body)), "Ready")
    assert (stored(refreshed, tenant, URL), put_back()) == ("ours", 2)


@BOTH
def test_a_seed_that_is_deleted_again_and_again_is_made_again_less_often(
    refreshed: System, queue: str, tenant: str, key: str
) -> None:
    body = applied(refreshed, tenant, {"key": key, "value": "seed", "policy": "Seed"})
    for _ in range(2):
        remove(refreshed, tenant, key)
        tell(refreshed, queue, tenant, key)
        wait_for(lambda: stored(refreshed, tenant, key) == "seed", "made again")
    wait_for(lambda: "it was put back" in state(refreshed, body, key).get("message", ""), "watched")
    remove(refreshed, tenant, key)
    tell(refreshed, queue, tenant, key)
    wait_for(lambda: "it is put back at" in state(refreshed, body, key).get("message", ""), "held")
    assert projected(refreshed, tenant) == {key: "seed"}
    wait_for(lambda: is_ready(refreshed.admin.get(body)), "Ready")
    assert stored(refreshed, tenant, key) == "seed"


def test_a_store_that_is_out_of_reach_makes_scopes_stale_after_a_while_and_a_change_at_once(
    refreshed: System, queue: str, tenant: str
) -> None:
    body = applied(refreshed, tenant, {"key": URL, "value": "1"})
    edited = f"{tenant}-edited"
    refreshed.admin.create(namespace(edited, {"tenantconfig.dev/tenants": edited}))
    other = applied(refreshed, edited, {"key": URL, "value": "1"})
    refreshed.aws.fail("GetParameters", "InternalServerError", status=500, times=100_000)
    try:
        write(refreshed, tenant, URL, "theirs")
        tell(refreshed, queue, tenant, URL)
        wait_for(lambda: condition(refreshed.admin.get(body), "Ready").get("reason") == "StoreFailed", "a failure")
        refreshed.admin.apply(cluster.tenant_config(edited, tenantId=edited, entries=[{"key": URL, "value": "2"}]))
        seen: dict[str, tuple[datetime, dict[str, str]]] = {}

        def both() -> bool:
            fresh_as_of, stale = refreshed.tick()
            for each in stale:
                seen.setdefault(each["tenant"], (fresh_as_of, each))
            return seen.keys() >= {tenant, edited}

        wait_for(both, "stale")
        told, first = seen[tenant]
        assert told - datetime.fromisoformat(first["verifiedAsOf"]) >= timedelta(seconds=STALE)
        assert first["reason"] == "StoreFailed"
        assert next(iter(seen)) == edited
    finally:
        refreshed.reset()
    wait_for(lambda: is_ready(refreshed.admin.get(body)) and is_ready(refreshed.admin.get(other)), "Ready")
    wait_for(lambda: not [each for each in refreshed.tick()[1] if each["tenant"] in {tenant, edited}], "fresh")
