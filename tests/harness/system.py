"""The whole system on real parts: control plane, AWS, the controller and a watch server as their own processes.

The processes run on the host, because there is no kubelet, with the tokens of
exactly the service accounts that their Deployments name.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from harness.api import Api, Refused
from harness.aws import LocalAws, create_table, free_port
from harness.certificates import CertificateAuthority
from harness.controlplane import AuditEvent, ControlPlane
from harness.install import BASE, install
from harness.processes import Process

NAMESPACE = "tenantconfig-system"
TABLE = "tenant-config"
AUDIENCE = "tenantconfig"
HOST = "127.0.0.1"
SERVING = ": serving\n"  # what a watch server prints when it does
COMMAND = Path(sys.executable).with_name("tenantconfig")


@dataclass
class System:
    """An installation; `aws` answers for everything, `dynamodb`, if given, in its place for DynamoDB."""

    directory: Path
    plane: ControlPlane
    aws: LocalAws
    dynamodb: LocalAws | None = None
    keep: bool = False  # let the processes outlive this one
    requests_per_second: int | None = None  # of SSM; None: as the manifests have it
    sweep_seconds: float = 0  # a look in between would be counted by tests that count
    stale_seconds: float = 0
    refresh_queue_url: str = ""
    command: tuple[str | Path, ...] = (COMMAND,)  # what is started
    controller: Process | None = field(default=None, init=False)
    watch_server: Process | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.table = (self.dynamodb or self.aws).client("dynamodb")
        self.parameters = self.aws.client("ssm")
        if TABLE not in self.table.list_tables()["TableNames"]:  # another installation may be there before
            create_table(self.table, TABLE)
        install(self.plane)
        self.admin = Api.of_administrator(self.plane)
        if rate := self.requests_per_second:
            ssm = {"apiVersion": "tenantconfig.dev/v1alpha1", "kind": "ConfigStore", "metadata": {"name": "ssm"}}
            self.admin.patch(ssm, {"spec": {"ssm": {"writesPerSecond": rate, "readsPerSecond": rate}}})
        self.authority = CertificateAuthority(self.directory / "tls")
        self.port = free_port()
        self.metrics_ports = {name: free_port() for name in ("controller", "watch-server")}

    @property
    def server(self) -> str:
        """Where the watch server listens."""
        return f"{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """The variables with which a process finds AWS."""
        override = {"AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb.endpoint} if self.dynamodb else {}
        # A long poll that is cut off at the end would fill the recorder's log.
        override |= {"AWS_ENDPOINT_URL_SQS": self.aws.direct_endpoint}
        return self.aws.environment() | override

    def start_controller(self) -> Process:
        """Starts it and returns once it leads, has seen what there is, and its ConfigStores are Ready."""
        began = datetime.now(UTC)
        settings = [f"--sweep-seconds={self.sweep_seconds}", f"--stale-seconds={self.stale_seconds}"]
        settings += [f"--refresh-queue-url={self.refresh_queue_url}"]
        self.controller = self._start("controller", self.environment(), "controller", *settings)
        self.controller.wait_until(lambda: self.fresh_as_of() > began, "a tick of its own")
        self.controller.wait_until(self.stores_ready, "ConfigStores Ready")
        return self.controller

    def stop_controller(self) -> None:
        """Ends it as a Deployment does."""
        assert self.controller
        self.controller.stop()

    def start_watch_server(self) -> Process:
        """Starts it and returns once it serves."""
        certificate = self.authority.issue("watch-server")
        arguments = [f"--listen={self.server}", f"--issuers={BASE / 'issuers.yaml'}"]
        arguments += [f"--tls-cert={certificate.certificate_file}", f"--tls-key={certificate.key_file}"]
        earlier = self.watch_server_log().count(SERVING)
        self.watch_server = self._start("watch-server", {}, "watch-server", *arguments)
        self.watch_server.wait_until(lambda: self.watch_server_log().count(SERVING) > earlier, "serving")
        return self.watch_server

    def watch_server_log(self) -> str:
        """What watch servers have printed so far."""
        log = self.directory / "watch-server.log"
        return log.read_text() if log.exists() else ""

    def metrics(self, name: str) -> str:
        """What the process of that name tells Prometheus."""
        with urlopen(f"http://{HOST}:{self.metrics_ports[name]}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def stop(self) -> None:
        """Ends the processes."""
        for process in (self.watch_server, self.controller):
            if process and process.running:
                process.stop()

    def token_file(self, namespace: str, service_account: str = "default") -> Path:
        """A token as a pod's projected volume has it."""
        file = self.directory / f"{namespace}-{service_account}.token"
        file.touch(mode=0o600)
        file.write_text(self.plane.token_for(namespace, service_account, AUDIENCE))
        return file

    def client(self, command: str, namespace: str, *scope: str, name: str = "client") -> Process:
        """A client process with the token of a service account in `namespace`; `scope` are its flags."""
        arguments = [f"--server={self.server}", f"--ca={self.authority.ca_file}", "--output=json"]
        arguments.append(f"--token-file={self.token_file(namespace)}")
        log = self.directory / f"{name}.log"
        log.unlink(missing_ok=True)
        return Process.start([COMMAND, command, *arguments, *scope], log=log)

    def fresh_as_of(self) -> datetime:
        """The tick's time: what was changed before is projected."""
        try:
            return self.tick()[0]
        except Refused:
            return datetime.min.replace(tzinfo=UTC)

    def tick(self) -> tuple[datetime, list[dict[str, str]]]:
        """Up to when all is projected, and the stale scopes, as the controller says. Raises Refused without one."""
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/tenantconfig-tick"
        data = self.admin.request("GET", path)["data"]
        return datetime.fromisoformat(data["freshAsOf"]), json.loads(data["stale"])

    def stores_ready(self) -> bool:
        """Whether the controller has accepted every ConfigStore."""
        stores = self.admin.request("GET", "/apis/tenantconfig.dev/v1alpha1/configstores")["items"]
        return all(is_ready(store) for store in stores)

    def items(self, tenant: str) -> dict[str, Any]:
        """What DynamoDB holds of a tenant: values by key, and the head under its sk."""
        answer = self.table.query(
            TableName=TABLE,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"TENANT#{tenant}"}},
            ConsistentRead=True,
        )
        return {item["key"]["S"] if "key" in item else item["sk"]["S"]: item for item in answer["Items"]}

    def parameter_values(self, tenant: str) -> dict[str, dict[str, Any]]:
        """What SSM holds of a tenant, by name."""
        pages = self.parameters.get_paginator("get_parameters_by_path")
        answer = pages.paginate(Path=f"/tenant-config/{tenant}", Recursive=True, WithDecryption=True)
        return {each["Name"]: each for page in answer for each in page["Parameters"]}

    def aws_calls(self) -> dict[str, int]:
        """AWS operations since `reset`, by name."""
        counts = self.aws.call_counts()
        if self.dynamodb:
            counts += self.dynamodb.call_counts()
        return dict(counts)

    def writes(self, since: int) -> list[AuditEvent]:
        """What the controller wrote to the API server since an audit mark, its Lease and tick aside."""
        events = self.plane.audit(f"{NAMESPACE}/controller", since)
        own = {"tenantconfig-tick", "tenantconfig-controller"}
        return [each for each in events if each.is_write and each.name not in own and each.resource != "leases"]

    def reset(self) -> int:
        """Forget AWS calls; returns the audit mark."""
        self.aws.reset_calls()
        if self.dynamodb:
            self.dynamodb.reset_calls()
        return self.plane.audit_mark()

    def _start(self, name: str, environment: Mapping[str, str], *arguments: str) -> Process:
        kubeconfig = self.plane.kubeconfig_for(NAMESPACE, name)
        variables = {"KUBECONFIG": str(kubeconfig), **environment}
        return Process.start(
            [*self.command, *arguments, f"--metrics-port={self.metrics_ports[name]}"],
            log=self.directory / f"{name}.log",
            environment=variables,
            keep=self.keep,
        )


@contextmanager
def running(directory: Path, aws: LocalAws, dynamodb: LocalAws, **options: Any) -> Iterator[System]:
    """Controller and watch server over a control plane of their own, until the end; `options` are System's."""
    plane = ControlPlane.start(directory / "control-plane")
    try:
        system = System(directory, plane, aws, dynamodb, requests_per_second=1000, **options)
        try:
            system.start_controller()
            system.start_watch_server()
            yield system
        finally:
            system.stop()
    finally:
        plane.stop()


def is_ready(body: Mapping[str, Any]) -> bool:
    """Whether an object's Ready condition is true for its present generation."""
    ready = condition(body, "Ready")
    return (
        (ready["status"], ready["observedGeneration"]) == ("True", body["metadata"]["generation"]) if ready else False
    )


def condition(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """One condition of an object; empty if there is none of that type."""
    conditions = body.get("status", {}).get("conditions", ())
    return next((dict(each) for each in conditions if each["type"] == kind), {})


def versions(client: Process) -> list[dict[str, Any]]:
    """The lines that a client printed so far."""
    # Not splitlines(): values may hold what Unicode takes for the end of a line.
    return [json.loads(line) for line in client.output().split("\n") if line.startswith("{")]
