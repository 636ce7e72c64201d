"""What goes wrong in the middle: rivals for a scope, edits and crashes during a pass, moves that fail halfway."""

import base64
import json
import os
import random
import re
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness import cluster
from harness.api import Object
from harness.recorder import Fault, parse
from harness.system import NAMESPACE, System, condition, is_ready
from harness.wait import wait_for
from path.test_controller import (
    ENTRIES,
    MAX,
    STORED,
    URL,
    applied,
    configmap,
    gone,
    in_stores,
    parameter_names,
    quiet,
    ready,
    source_secret,
    stalled,
    tenant_config,
)
from path.test_stream import received, watch

A, B, LAST = "param_config_a", "param_config_b", "param_config_last"
SOON = 20.0  # seconds, well below any retry by the clock


class Slow:
    """Calls of one operation whose body has `naming` in it, kept waiting in the proxy before AWS."""

    def __init__(self, operation: str, naming: str, seconds: float) -> None:
        self._operation = operation
        self._naming = naming.encode()
        self._seconds = seconds
        self._going = threading.Event()
        self._cut = False
        self.arrived = 0

    def __call__(self, operation: str, body: bytes) -> bool:
        """Keep a call waiting if it is concerned; whether it may go on then."""
        if operation != self._operation or self._naming not in body:
            return True
        self.arrived += 1
        self._going.wait(self._seconds)
        return not self._cut

    def go(self) -> None:
        """What waits goes on; nothing waits any more."""
        self._going.set()

    def cut(self) -> None:
        """What waits never reaches AWS, as when its sender is gone; what comes later does not wait."""
        self._cut = True
        self._going.set()
        self._naming = b"\0"


Slowing = Callable[..., Slow]


@pytest.fixture
def slow(system: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slowing]:
    """Has calls of an operation wait: `slow(operation, naming)` until it says so, or `seconds` each."""
    recorder, handle = system.aws.recorder, system.aws.recorder.handle
    all_slow: list[Slow] = []

    def slowly(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        operation = parse(path, headers, body).operation
        if all(each(operation, body) for each in all_slow):
            return handle(method, path, headers, body)
        return Fault(operation, "InternalServerError", 500, 1).answer()

    def make(operation: str, naming: str, seconds: float = 30.0) -> Slow:
        all_slow.append(Slow(operation, naming, seconds))
        return all_slow[-1]

    monkeypatch.setattr(recorder, "handle", slowly)
    yield make
    for each in all_slow:
        each.go()


@pytest.fixture
def restarted(system: System) -> Iterator[System]:
    """The test ends and starts the controller; there is one again after it."""
    yield system
    assert system.controller
    if not system.controller.running:
        system.start_controller()


def soon_ready(system: System, body: Object) -> None:
    wait_for(lambda: is_ready(system.admin.get(body)), "Ready", SOON)


def stalled_for(system: System, body: Object, reason: str) -> dict[str, Any]:
    """The Stalled condition as soon as it has this reason."""

    def check() -> dict[str, Any]:
        found = stalled(system, body)
        assert found["reason"] == reason, found
        return found

    return wait_for(check, reason)


def written(system: System, tenant: str) -> list[str]:
    """Parameters of a tenant that anyone wrote, tagged or deleted through the proxy since the last reset."""
    reads = ("GetParameters", "GetParametersByPath", "ListTagsForResource")
    calls = [each for each in system.aws.recorded() if each.operation not in reads]
    return [each.operation for each in calls if f"/{tenant}/" in json.dumps(each.parameters)]


def value_at(system: System, name: str) -> str:
    """What a parameter holds; empty if it is not there."""
    found = system.parameters.get_parameters(Names=[name], WithDecryption=True)["Parameters"]
    return found[0]["Value"] if found else ""


def test_adopting_from_a_live_owner_moves_the_scope_for_good(system: System, tenant: str) -> None:
    first = tenant_config(tenant, {A: 1}, name="first")
    second = tenant_config(tenant, {A: 2}, name="second")
    applied(system, first)
    system.admin.apply(second)
    message = stalled_for(system, second, "ScopeConflict")["message"]
    named = re.search(r'tenantconfig\.dev/adopt: "([^"]+)"', message)
    assert named, message
    assert in_stores(system, tenant) == {A: "1"}

    system.admin.patch(second, {"metadata": {"annotations": {"tenantconfig.dev/adopt": named[1]}}})
    ready(system, second)
    assert in_stores(system, tenant) == {A: "2"}
    stalled_for(system, first, "ScopeConflict")

    quiet(system)
    system.reset()
    system.admin.apply(tenant_config(tenant, {A: 3}, name="first"))
    stalled_for(system, first, "ScopeConflict")
    quiet(system)
    assert written(system, tenant) == []
    assert in_stores(system, tenant) == {A: "2"}

    system.admin.delete(first)
    gone(system, first)
    quiet(system)
    assert in_stores(system, tenant) == {A: "2"}
    ready(system, second)
    assert system.admin.get(configmap(tenant, "second"))["data"] == {A: "2"}


@pytest.mark.parametrize("apart", [False, True], ids=["one namespace", "two namespaces"])
@pytest.mark.parametrize("keys", [(MAX, URL), (URL, MAX)], ids=["dynamodb first", "ssm first"])
def test_a_scope_has_one_resource_even_when_their_keys_are_disjoint(
    system: System, tenant: str, keys: tuple[str, str], apart: bool
) -> None:
    first = tenant_config(tenant, {keys[0]: 1}, name="first")
    second = tenant_config(tenant, {keys[1]: 2}, name="second")
    if apart:
        second["metadata"]["namespace"] = f"{tenant}-too"
        system.admin.create(cluster.namespace(f"{tenant}-too", {"tenantconfig.dev/tenants": tenant}))
    applied(system, first)
    quiet(system)
    system.reset()
    system.admin.apply(second)
    assert system.admin.get(first)["metadata"]["uid"] in stalled_for(system, second, "ScopeConflict")["message"]
    quiet(system)
    assert written(system, tenant) == []
    assert in_stores(system, tenant) == {keys[0]: "1"}
    assert not system.admin.exists(configmap(second["metadata"]["namespace"], "second"))
    assert is_ready(system.admin.get(first))

    system.admin.delete(first)
    gone(system, first)
    soon_ready(system, second)
    assert in_stores(system, tenant) == {keys[1]: "2"}


@pytest.mark.parametrize("removed", [A, LAST], ids=["written already", "being written"])
@pytest.mark.parametrize("former", [{}, {B: 0}], ids=["created", "changed"])
def test_an_edit_during_a_pass_orphans_nothing(
    system: System, tenant: str, slow: Slowing, former: dict[str, Any], removed: str
) -> None:
    if former:
        applied(system, tenant_config(tenant, former))
    entries = {B: 0, A: 1, LAST: 2}
    held = slow("PutParameter", f"/{tenant}/prod/_/{LAST}")
    body = tenant_config(tenant, entries)
    system.admin.apply(body)
    wait_for(lambda: held.arrived, "the last write of the pass")
    assert in_stores(system, tenant) == {B: "0", A: "1"}
    del entries[removed]
    system.admin.apply(tenant_config(tenant, entries))
    held.go()

    ready(system, body)
    expected = {key: str(value) for key, value in entries.items()}
    assert in_stores(system, tenant) == expected
    assert system.admin.get(configmap(tenant))["data"] == expected


def test_a_lost_status_orphans_nothing(restarted: System, tenant: str) -> None:
    system, body = restarted, tenant_config(tenant, ENTRIES | {A: 1, B: 2})
    applied(system, body)
    system.stop_controller()
    status = dict.fromkeys(system.admin.get(body)["status"])
    system.admin.as_service_account(NAMESPACE, "controller").patch(body, {"status": status}, subresource="status")
    assert not system.admin.get(body).get("status")
    system.admin.apply(tenant_config(tenant, {B: 2}))
    system.start_controller()
    ready(system, body)
    assert in_stores(system, tenant) == {B: "2"}
    assert parameter_names(system, tenant) == [f"/tenant-config/{tenant}/prod/_/{B}"]
    assert system.admin.get(configmap(tenant))["data"] == {B: "2"}


def test_a_crash_between_store_and_status_orphans_nothing(restarted: System, tenant: str, slow: Slowing) -> None:
    system = restarted
    created = tenant_config(tenant, {A: 1, LAST: 2}, name="created", service="created")
    changed = tenant_config(tenant, {B: 0, A: 1, LAST: 2}, name="changed", service="changed")
    applied(system, tenant_config(tenant, {B: 0}, name="changed", service="changed"))
    held = slow("PutParameter", LAST)
    system.admin.apply(created)
    system.admin.apply(changed)
    wait_for(lambda: held.arrived == 2, "the last write of both passes")
    path = f"/tenant-config/{tenant}/prod"
    assert sorted(parameter_names(system, tenant)) == [
        f"{path}/changed/{A}",
        f"{path}/changed/{B}",
        f"{path}/created/{A}",
    ]
    assert system.controller
    system.controller.kill()
    held.cut()

    system.admin.apply(tenant_config(tenant, {LAST: 2}, name="created", service="created"))
    system.admin.apply(tenant_config(tenant, {B: 0, LAST: 2}, name="changed", service="changed"))
    system.start_controller()
    ready(system, created)
    ready(system, changed)
    left = [f"{path}/changed/{B}", f"{path}/changed/{LAST}", f"{path}/created/{LAST}"]
    assert sorted(parameter_names(system, tenant)) == left


def test_deletion_withdraws_what_was_projected_though_the_target_had_changed(
    system: System, tenant: str, slow: Slowing
) -> None:
    theirs = configmap(tenant, "theirs")
    system.admin.create({**theirs, "data": {"theirs": "yes"}})
    body = tenant_config(tenant, ENTRIES, service="web")
    applied(system, body)
    with watch(system, tenant) as client:
        assert received(client, 1)[0]["entries"] == STORED
        system.admin.apply(
            tenant_config(tenant, ENTRIES, service="web", target={"configMapName": "theirs"}),
        )
        stalled_for(system, body, "ConfigMapConflict")
        held = slow("DeleteParameters", f"/{tenant}/")
        system.admin.delete(body)
        wait_for(lambda: held.arrived, "the stores' turn")
        annotations = system.admin.get(configmap(tenant))["metadata"]["annotations"]
        assert annotations["tenantconfig.dev/withdrawn"] == "true"
        held.go()
        assert received(client, 2)[1]["absent"] == "WITHDRAWN"
    gone(system, body)
    assert not system.admin.exists(configmap(tenant))
    assert in_stores(system, tenant) == {}
    found = system.admin.get(theirs)
    assert found["data"] == {"theirs": "yes"}
    assert "annotations" not in found["metadata"]


@pytest.mark.parametrize("unread", ["ssm", "dynamodb"])
def test_a_store_that_cannot_be_read_does_not_hold_up_the_other(system: System, tenant: str, unread: str) -> None:
    applied(system, tenant_config(tenant, ENTRIES))
    quiet(system)
    system.reset()
    if unread == "ssm":
        system.aws.fail("GetParameters", "InternalServerError", status=500, times=1000)
        made = STORED | {MAX: "501"}
    else:
        (system.dynamodb or system.aws).fail("BatchGetItem", "InternalServerError", status=500, times=1000)
        made = STORED | {URL: "https://new.example"}
    body = tenant_config(tenant, ENTRIES | {MAX: 501, URL: "https://new.example"})
    system.admin.apply(body)

    def told() -> bool:
        found = system.admin.get(body)
        reached = condition(found, "Ready").get("observedGeneration") == found["metadata"]["generation"]
        return reached and not is_ready(found)

    wait_for(told, "the failure in the status")
    assert in_stores(system, tenant) == made
    assert system.admin.get(configmap(tenant))["data"] == STORED
    system.reset()
    ready(system, body)
    everything = STORED | {MAX: "501", URL: "https://new.example"}
    assert in_stores(system, tenant) == everything
    assert system.admin.get(configmap(tenant))["data"] == everything


def test_two_configstores_exchange_their_prefixes_and_no_value_is_ever_in_neither(system: System, tenant: str) -> None:
    x, y = f"{tenant}_x_", f"{tenant}_y_"
    stores = {
        name: cluster.config_store(f"{name}-{tenant}", prefixes=[prefix], ssm={"pathPrefix": f"/{tenant}-{name}"})
        for name, prefix in (("sx", x), ("sy", y))
    }
    for store in stores.values():
        system.admin.create(store)
    body = tenant_config(tenant, {f"{x}key": "of x", f"{y}key": "of y"})
    applied(system, body)
    places = {
        value: (f"/{tenant}-{old}/{tenant}/prod/_/{key}", f"/{tenant}-{new}/{tenant}/prod/_/{key}")
        for value, key, old, new in (("of x", f"{x}key", "sx", "sy"), ("of y", f"{y}key", "sy", "sx"))
    }
    assert sorted(parameter_names(system, tenant)) == sorted(old for old, _ in places.values())
    quiet(system)
    system.reset()
    system.aws.fail("PutParameter", "ThrottlingException", times=3)
    lost: list[str] = []

    def exchanged() -> bool:
        for value, (old, new) in places.items():  # the old first: what has left it since must be in the new
            if value_at(system, old) != value and value_at(system, new) != value:
                lost.append(value)
        return sorted(parameter_names(system, tenant)) == sorted(new for _, new in places.values())

    system.admin.patch(stores["sx"], {"spec": {"prefixes": [y]}})
    system.admin.patch(stores["sy"], {"spec": {"prefixes": [x]}})
    wait_for(exchanged, "exchanged")
    assert lost == []
    assert system.aws_calls()["PutParameter"] >= 5
    ready(system, body)
    assert {value: value_at(system, new) for value, (_, new) in places.items()} == {"of x": "of x", "of y": "of y"}
    assert system.admin.get(configmap(tenant))["data"] == {f"{x}key": "of x", f"{y}key": "of y"}
    remove(system, body, *stores.values())


def remove(system: System, *bodies: Object) -> None:
    for body in bodies:
        system.admin.delete(body)
        gone(system, body)


def test_a_seed_that_was_changed_in_its_store_moves_as_it_is(system: System, tenant: str) -> None:
    store = cluster.config_store(f"seed-{tenant}", prefixes=[f"{tenant}_"], ssm={"pathPrefix": f"/{tenant}-one"})
    system.admin.create(store)
    entry = {"key": f"{tenant}_key", "value": "ours", "policy": "Seed"}
    body = cluster.tenant_config(tenant, tenantId=tenant, environment="prod", entries=[entry])
    applied(system, body)
    old, new = (f"/{tenant}-{number}/{tenant}/prod/_/{tenant}_key" for number in ("one", "two"))
    system.parameters.put_parameter(Name=old, Value="theirs", Type="String", Overwrite=True)
    system.admin.patch(store, {"spec": {"ssm": {"pathPrefix": f"/{tenant}-two"}}})

    def moved() -> bool:
        return bool(system.admin.get(configmap(tenant))["data"] == {f"{tenant}_key": "theirs"})

    wait_for(lambda: value_at(system, new), "the new place")
    assert value_at(system, new) == "theirs"
    wait_for(moved, "projected")
    remove(system, body, store)


def test_a_secret_that_is_not_text_is_named_and_nothing_is_written(system: System, tenant: str) -> None:
    secret = source_secret(tenant, "")
    del secret["stringData"]
    system.admin.create({**secret, "data": {"api": base64.b64encode(b"\xff\xfe\x00").decode()}})
    source = {"key": "param_config_api_key", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}}
    body = cluster.tenant_config(tenant, tenantId=tenant, entries=[source, {"key": MAX, "value": 1}])
    system.admin.apply(body)
    message = stalled_for(system, body, "Invalid")["message"]
    assert re.search(r"\bSecret keys\b", message)
    assert re.search(r"\bkey api\b", message)
    assert in_stores(system, tenant) == {}
    assert system.items(tenant) == {}
    assert not system.admin.exists(configmap(tenant))


def test_a_prefix_that_is_given_up_is_the_younger_configstores_at_once(system: System, tenant: str) -> None:
    elder = cluster.config_store(f"elder-{tenant}", prefixes=[f"{tenant}_"], ssm={"pathPrefix": f"/{tenant}-elder"})
    younger = cluster.config_store(f"late-{tenant}", prefixes=[f"{tenant}_"], ssm={"pathPrefix": f"/{tenant}-late"})
    system.admin.create(elder)
    created = datetime.fromisoformat(ready(system, elder)["metadata"]["creationTimestamp"])
    wait_for(lambda: datetime.now(UTC) > created + timedelta(seconds=1), "a later second: age is told in seconds")
    system.admin.create(younger)
    stalled_for(system, younger, "AmbiguousPrefix")
    assert is_ready(system.admin.get(elder))
    system.admin.patch(elder, {"spec": {"prefixes": [f"{tenant}_else_"]}})
    soon_ready(system, younger)
    soon_ready(system, elder)
    remove(system, elder, younger)


def test_a_controller_that_is_asked_to_end_writes_nothing_after_its_lease(
    restarted: System, tenant: str, slow: Slowing
) -> None:
    system, entries = restarted, {f"param_config_{number:02}": number for number in range(40)}
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": NAMESPACE, "name": "tenantconfig-controller"},
    }
    puts = slow("PutParameter", f"/{tenant}/", seconds=0.4)
    body = tenant_config(tenant, entries)
    system.admin.apply(body)
    wait_for(lambda: puts.arrived >= 5, "writes")
    former = system.controller
    assert former
    os.kill(former.pid, signal.SIGTERM)
    wait_for(lambda: not system.admin.get(lease)["spec"].get("holderIdentity"), "the Lease given up")
    at_release = puts.arrived
    assert former.wait() == 0
    assert puts.arrived == at_release < len(entries)
    assert len(in_stores(system, tenant)) == at_release

    puts.go()
    system.start_controller()
    ready(system, body)
    assert in_stores(system, tenant) == {key: str(value) for key, value in entries.items()}


# Edits without a pause


@pytest.mark.parametrize("seed", range(3))
def test_keys_that_leave_and_return_in_quick_edits_are_never_taken_for_anothers(
    system: System, tenant: str, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311  a shuffle
    keys = [f"tenant_config_{number}" for number in range(280)] + [f"param_config_{number}" for number in range(20)]
    body, chosen = cluster.tenant_config(tenant, tenantId=tenant, entries=[]), keys
    system.admin.create(body)
    for number in range(60):
        chosen = chance.sample(keys, 200)
        system.admin.patch(body, {"spec": {"entries": [{"key": key, "value": str(number)} for key in chosen]}})
    wait_for(lambda: is_ready(system.admin.get(body)), "Ready")
    assert in_stores(system, tenant) == dict.fromkeys(chosen, "59")


def test_a_controller_vouches_for_nothing_before_it_has_answered_what_it_missed(
    restarted: System, tenant: str, slow: Slowing
) -> None:
    system = restarted
    body = cluster.tenant_config(tenant, tenantId=tenant, entries=[{"key": URL, "value": "old"}])
    applied(system, body)
    system.stop_controller()
    system.admin.patch(body, {"spec": {"entries": [{"key": URL, "value": "new"}]}})
    edited = datetime.now(UTC)
    reading = slow("GetParameters", tenant, 2.0)
    starting = threading.Thread(target=system.start_controller)
    starting.start()
    said: list[tuple[datetime, str]] = []

    def vouched() -> bool:
        said.append((system.fresh_as_of(), system.admin.get(configmap(tenant))["data"][URL]))
        return said[-1][0] > edited

    wait_for(vouched, "the edit vouched for")
    starting.join()
    assert reading.arrived
    assert len(said) > 10, "it took a while"
    assert said[-1][1] == "new"
