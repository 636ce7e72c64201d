"""The whole way of a change made in AWS: stream or bus, function, queue, controller, watch server, subscriber.

Only the Lambda service is stood in for (harness.lambda_service).
"""

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness import cluster
from harness.aws import LocalAws, Moto
from harness.cluster import namespace
from harness.lambda_service import Faults, LambdaService
from harness.system import TABLE, System, is_ready, running
from harness.wait import wait_for
from path.test_refresh import counted, metric, write
from tenantconfig.client import Change, connect
from tenantconfig.model import Scope

pytestmark = pytest.mark.timeout(600)

SCOPES, KEYS = 10, 20  # in each store as many changes as these make
ROTATION = 10.0  # seconds
DUE_SECONDS = 20.0  # in the place of five minutes
# The controller, for which an event is lost that does not come within DUE_SECONDS.
HASTY = (
    "import sys; from tenantconfig import announcements; announcements.WITHIN_SECONDS = {due}; "
    "from tenantconfig.cli import main; sys.exit(main())"
)


@pytest.fixture(scope="module")
def queue(moto: Moto) -> str:
    return str(moto.client("sqs").create_queue(QueueName="changes")["QueueUrl"])


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory, moto: Moto, dynamodb_local: LocalAws, queue: str
) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("told")
    command = (sys.executable, "-c", HASTY.format(due=DUE_SECONDS))
    options = {"sweep_seconds": ROTATION, "refresh_queue_url": queue, "command": command}
    with running(directory, moto, dynamodb_local, **options) as system:
        yield system


class Subscriber:
    """A client of all scopes, and when it had which value."""

    def __init__(self, system: System, tenants: list[str], home: str) -> None:
        self.seen: dict[tuple[str, str], float] = {}
        self._client = connect(
            system.server,
            [Scope(tenant) for tenant in tenants],
            token_file=system.token_file(home),
            ca_file=system.authority.ca_file,
        )

    def __enter__(self) -> "Subscriber":
        self._client.__enter__()
        self._client.on_change(self._note)
        self._client.wait_ready(60)
        return self

    def __exit__(self, *arguments: Any) -> None:
        self._client.__exit__(*arguments)

    def _note(self, change: Change) -> None:
        config, now = self._client.configs[change.scope], time.monotonic()
        for key in change.keys:
            if key in config:
                self.seen[change.scope.tenant, config[key]] = now


def prepared(system: System, name: str, prefix: str) -> list[str]:
    """Scopes with Seeds of one store that are Ready, readable from the namespace `name`."""
    tenants = [f"{name}-{number}" for number in range(SCOPES)]
    listed = ",".join(tenants)
    system.admin.create(namespace(name, {"tenantconfig.dev/tenants": listed}))
    entries = [{"key": f"{prefix}{number}", "value": "seed", "policy": "Seed"} for number in range(KEYS)]
    for tenant in tenants:
        system.admin.create(cluster.tenant_config(name, tenant, tenantId=tenant, entries=entries))
    for tenant in tenants:
        body = cluster.tenant_config(name, tenant, tenantId=tenant)
        wait_for(lambda body=body: is_ready(system.admin.get(body)), "Ready")  # type: ignore[misc]
    return tenants


@contextmanager
def service(system: System, queue: str, faults: Faults) -> Iterator[LambdaService]:
    assert system.dynamodb
    running = LambdaService(
        aws=system.aws,
        dynamodb=system.dynamodb,
        table=TABLE,
        queue=queue,
        prefix="/tenant-config",
        faults=faults,
        concerns=lambda key: key.startswith(("tenant_config", "param_config")),
    )
    with running:
        yield running


def change_all(
    system: System, functions: LambdaService, tenants: list[str], prefix: str
) -> dict[tuple[str, str], float]:
    """Someone changes every key once, ten a second; returns when which value was written."""
    written: dict[tuple[str, str], float] = {}
    for number in range(KEYS):
        for tenant in tenants:
            key, text = f"{prefix}{number}", f"foreign {number}"
            began = time.monotonic()
            write(system, tenant, key, text)
            if prefix.startswith("param"):
                functions.parameter_changed(f"/tenant-config/{tenant}/_/_/{key}")
            written[tenant, text] = began
            time.sleep(0.1)
    return written


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


STORES = pytest.mark.parametrize("prefix", ["tenant_config_", "param_config_"], ids=["dynamodb", "ssm"])


@STORES
def test_every_change_reaches_a_subscriber_and_how_soon_is_printed(
    told: System, queue: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"quick-{prefix.split('_')[0]}"
    own = counted(told, 'tenantconfig_refresh_messages_total{outcome="own"}')
    with service(told, queue, Faults()) as functions:
        tenants = prepared(told, name, prefix)
        if prefix.startswith("tenant"):  # moto's SSM tells of nothing
            wait_for(lambda: own() == SCOPES * KEYS, "the events of our own writes dealt with")
        with Subscriber(told, tenants, name) as subscriber:
            written = change_all(told, functions, tenants, prefix)
            wait_for(lambda: subscriber.seen.keys() >= written.keys(), "all changes at the subscriber")
    delays = [subscriber.seen[change] - at for change, at in written.items()]
    with capsys.disabled():
        report = f"p50 {percentile(delays, 0.5) * 1000:.0f} ms, p99 {percentile(delays, 0.99) * 1000:.0f} ms"
        print(f"\n{name}: {len(delays)} foreign writes to a subscriber: {report}")


@STORES
def test_events_that_come_thrice_out_of_order_or_not_at_all(
    told: System, queue: str, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"lossy-{prefix.split('_')[0]}"
    tenants = prepared(told, name, prefix)
    before = tally(told)
    faults = Faults(lost=0.2, times=3)
    with service(told, queue, faults) as functions, Subscriber(told, tenants, name) as subscriber:
        written = change_all(told, functions, tenants, prefix)
        wait_for(lambda: subscriber.seen.keys() >= written.keys(), "all changes at the subscriber")
        wait_for(lambda: tally(told)[0] - before[0] >= len(written), "all changes judged")
    seen, lost = (after - former for after, former in zip(tally(told), before, strict=True))
    with capsys.disabled():
        print(f"\n{name}: {seen:.0f} changes seen, {lost:.0f} events lost as published, {faults.lost} lost indeed")
    assert seen == len(written)
    deviation = math.sqrt(seen * 0.2 * 0.8)
    assert abs(lost - faults.lost) <= 2 * deviation


def tally(system: System) -> tuple[float, float]:
    """Changes seen and events lost, as published."""
    return metric(system, "tenantconfig_refresh_changes_total"), metric(system, "tenantconfig_refresh_lost_total")
