"""From `kubectl apply` to a subscriber with a pod's token, over TLS: the controller's work as a client sees it."""

import time
from datetime import datetime
from typing import Any

from harness import cluster
from harness.api import Object
from harness.processes import Process
from harness.system import System, is_ready, versions
from harness.wait import wait_for

MAX, URL = "tenant_config_max", "param_config_url"


def tenant_config(tenant: str, **values: Any) -> Object:
    entries = [{"key": key, "value": value} for key, value in values.items()]
    return cluster.tenant_config(tenant, tenantId=tenant, environment="prod", service="web", entries=entries)


def watch(system: System, tenant: str, of: str | None = None) -> Process:
    """`tenantconfig watch` with the token of namespace `tenant`, for the scope of tenant `of`."""
    scope = (f"--tenant={of or tenant}", "--environment=prod", "--service=web")
    return system.client("watch", tenant, *scope, name=f"watch-{tenant}-{time.monotonic_ns()}")


def received(client: Process, count: int) -> list[dict[str, Any]]:
    """The first `count` lines that a client prints."""
    return client.wait_until(lambda: len(versions(client)) >= count and versions(client), f"{count} versions")[:count]


def test_status_configmap_and_stream_have_one_version(system: System, tenant: str) -> None:
    body = tenant_config(tenant, **{MAX: 1, URL: "https://one.example"})
    system.admin.apply(body)
    wait_for(lambda: is_ready(system.admin.get(body)), "Ready")
    with watch(system, tenant) as client:
        (first,) = received(client, 1)
        status = system.admin.get(body)["status"]
        assert (first["revision"], first["digest"]) == (status["revision"], status["digest"])
        assert first["entries"] == {MAX: "1", URL: "https://one.example"}
        assert first["scope"] == {"tenant": tenant, "environment": "prod", "service": "web"}

        sent = time.time()
        system.admin.apply(tenant_config(tenant, **{MAX: 2, URL: "https://one.example"}))
        second = received(client, 2)[1]
        assert second["revision"] == first["revision"] + 1
        assert second["entries"] == {MAX: "2", URL: "https://one.example"}
        took = datetime.fromisoformat(second["receivedAt"]).timestamp() - sent
        print(f"apply to receipt: {1000 * took:.0f} ms")

        system.admin.delete(body)
        assert received(client, 3)[2]["absent"] == "WITHDRAWN"
        wait_for(lambda: not system.admin.exists(body), "gone")
        system.admin.apply(tenant_config(tenant, **{MAX: 3}))
        fourth = received(client, 4)[3]
        assert fourth["revision"] > second["revision"]
        assert fourth["entries"] == {MAX: "3"}


def test_an_invalid_change_does_not_reach_the_stream(system: System, tenant: str) -> None:
    body = tenant_config(tenant, **{MAX: 1})
    system.admin.apply(body)
    with watch(system, tenant) as client:
        (first,) = received(client, 1)
        system.admin.apply(tenant_config(tenant, **{MAX: 2, "unknown": 1}))
        wait_for(lambda: not is_ready(system.admin.get(body)), "Stalled")
        system.admin.apply(tenant_config(tenant, **{MAX: 3}))
        second = received(client, 2)[1]
        assert second["entries"] == {MAX: "3"}
        assert second["revision"] == first["revision"] + 1


def test_a_stream_outlives_the_controller(system: System, tenant: str) -> None:
    system.admin.apply(tenant_config(tenant, **{MAX: 1}))
    with watch(system, tenant) as client:
        received(client, 1)
        system.stop_controller()
        system.start_controller()
        system.admin.apply(tenant_config(tenant, **{MAX: 2}))
        assert received(client, 2)[1]["entries"] == {MAX: "2"}
        assert len(versions(client)) == 2


def test_a_token_of_one_tenant_does_not_watch_another_nor_learn_whether_it_is_there(
    system: System, tenant: str
) -> None:
    existing, absent = f"{tenant}-other", f"{tenant}-empty"
    for other in (existing, absent):
        system.admin.create(cluster.namespace(other, {"tenantconfig.dev/tenants": other}))
    body = tenant_config(existing, **{MAX: 1})
    system.admin.apply(body)
    wait_for(lambda: is_ready(system.admin.get(body)), "Ready")
    answers = []
    for other in (existing, absent):
        client = watch(system, tenant, of=other)
        assert client.wait() == 1
        assert versions(client) == []
        answers.append(client.output().replace(other, "OTHER"))
    assert "OTHER" in answers[0]
    assert answers[0] == answers[1]
