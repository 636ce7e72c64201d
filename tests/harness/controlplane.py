"""A real Kubernetes control plane: etcd, kube-apiserver, its controllers, and kubectl, from one binary.

`make setup` builds the binary (tests/controlplane). There is no kubelet: what
would run in pods runs on the host, with the same service accounts' tokens.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from harness.aws import free_port
from harness.processes import Process, children, local_environment
from prepare import controlplane as build

READY_TIMEOUT = 150.0  # beyond the two minutes that the binary gives itself
TOKEN_DURATION = "24h"


class KubectlFailed(Exception):
    """kubectl ended with an error; the message is what it printed."""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One request that a service account made, as the API server logged it."""

    user: str
    verb: str
    resource: str  # plural, with "/" and the subresource if any
    namespace: str
    name: str
    code: int
    uri: str
    user_agent: str

    @property
    def is_write(self) -> bool:
        """Whether it meant to change something."""
        return self.verb in {"create", "update", "patch", "delete", "deletecollection"}

    @classmethod
    def of(cls, event: dict[str, Any]) -> Self:
        """From one line of the audit log."""
        target = event.get("objectRef", {})
        parts = [part for part in (target.get("resource"), target.get("subresource")) if part]
        return cls(
            user=event["user"]["username"],
            verb=event["verb"],
            resource="/".join(parts),
            namespace=target.get("namespace", ""),
            name=target.get("name", ""),
            code=event.get("responseStatus", {}).get("code", 0),
            uri=event["requestURI"],
            user_agent=event.get("userAgent", ""),
        )


class ControlPlane:
    """One control plane, its files in a directory of its own."""

    def __init__(self, directory: Path, process: Process) -> None:
        self.directory = directory
        self.process = process
        self._tokens = 0

    @classmethod
    def start(cls, directory: Path, *, keep: bool = False) -> Self:
        """Starts it and returns once the API server and the controllers work (2 to 3 seconds)."""
        directory.mkdir(parents=True, exist_ok=True)
        if not build.binary().exists():
            raise FileNotFoundError("the control plane is not built: run `make setup`")
        log = directory / "controlplane.log"
        log.unlink(missing_ok=True)
        process = Process.start([build.binary(), "serve", "--dir", directory], log=log, keep=keep)
        try:
            process.wait_until(lambda: "ready\n" in process.output(), "ready", READY_TIMEOUT)
        except BaseException:
            process.stop()
            raise
        return cls(directory, process)

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator."""
        return self.directory / "kubeconfig"

    @property
    def ca_file(self) -> Path:
        """The certificates that the API server's own is verified against."""
        return self.directory / "apiserver.crt"

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._cluster()["server"])

    def kubectl(
        self, *arguments: str | Path, input: str | None = None, check: bool = True, kubeconfig: Path | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Runs kubectl of the same version, as an administrator unless a kubeconfig says otherwise."""
        result = subprocess.run(
            [str(part) for part in self._kubectl(arguments, kubeconfig or self.kubeconfig)],
            input=input,
            capture_output=True,
            text=True,
            env=local_environment(),
            timeout=300,
            check=False,
        )
        if check and result.returncode:
            raise KubectlFailed(f"kubectl {' '.join(str(part) for part in arguments)}: {result.stderr.strip()}")
        return result

    def start_kubectl(self, log: Path, *arguments: str) -> Process:
        """A kubectl that goes on, such as one that watches, as an administrator; its output goes to `log`."""
        return Process.start(self._kubectl(arguments, self.kubeconfig), log=log)

    def apply(self, *objects: dict[str, Any], kubeconfig: Path | None = None) -> None:
        """Applies objects as `kubectl apply --server-side` does."""
        manifest = yaml.safe_dump_all(objects)
        self.kubectl("apply", "--server-side", "-f", "-", input=manifest, kubeconfig=kubeconfig)

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any] | None:
        """One object, or None if there is none of that name."""
        found = self.kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found").stdout
        return dict(json.loads(found)) if found else None

    def token_for(
        self,
        namespace: str,
        service_account: str,
        audience: str | None = None,
        duration: str = TOKEN_DURATION,
    ) -> str:
        """A token of a service account, for the API server unless an audience says otherwise (10 minutes at least)."""
        audiences = ["--audience", audience] if audience else []
        created = self.kubectl("create", "token", service_account, "-n", namespace, "--duration", duration, *audiences)
        return created.stdout.strip()

    def kubeconfig_for(self, namespace: str, service_account: str, audience: str | None = None) -> Path:
        """A kubeconfig that acts as a service account, as a pod with it would."""
        token = self.token_for(namespace, service_account, audience)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": self._cluster()}],
            "users": [{"name": service_account, "user": {"token": token}}],
            "contexts": [
                {"name": "local", "context": {"cluster": "local", "user": service_account, "namespace": namespace}}
            ],
            "current-context": "local",
        }
        file = self.directory / f"{namespace}-{service_account}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(config))
        return file

    def audit_mark(self) -> int:
        """The present end of the audit log, for `audit(since=…)`."""
        log = self.directory / "audit.log"
        return log.stat().st_size if log.exists() else 0

    def audit(self, user: str | None = None, since: int = 0) -> list[AuditEvent]:
        """What service accounts asked of the API server since a mark, oldest first.

        `user` is NAMESPACE/NAME of one service account. Requests of
        administrators and of accounts in kube-system are not logged.
        """
        username = f"system:serviceaccount:{user.replace('/', ':')}" if user else None
        # A watch is logged when it begins and again when it ends: one request all the same.
        requests: dict[str, AuditEvent] = {}
        for line in self._audit_lines(since):
            event = json.loads(line)
            requests.setdefault(event["auditID"], AuditEvent.of(event))
        return [request for request in requests.values() if username in (None, request.user)]

    def _audit_lines(self, since: int) -> list[str]:
        log = self.directory / "audit.log"
        if not log.exists():
            return []
        with log.open("rb") as file:
            file.seek(since)
            # The last line may be half written.
            return file.read().rpartition(b"\n")[0].decode().splitlines()

    def stop(self) -> None:
        """Ends it; the files stay."""
        self.process.stop()

    def _cluster(self) -> dict[str, str]:
        config = yaml.safe_load(self.kubeconfig.read_text())
        return dict(config["clusters"][0]["cluster"])

    def _kubectl(self, arguments: Sequence[str | Path], kubeconfig: Path) -> list[str | Path]:
        # Not ~/.kube/cache: what it knows of an earlier server on the same port is wrong for this one.
        own: list[str | Path] = ["--kubeconfig", kubeconfig, "--cache-dir", self.directory / "kubectl-cache"]
        return [build.binary(), "kubectl", *own, *arguments]


class ApiServer(ControlPlane):
    """One more API server over the etcd of a control plane, which can be ended and started again on its own.

    Those who are to notice get kubeconfigs of it; the plane's own API server goes on for those who look on.
    """

    def __init__(self, directory: Path, command: list[str | Path]) -> None:
        self._command = command
        self._log = directory / "kube-apiserver.log"
        super().__init__(directory, Process.start(command, log=self._log))

    @classmethod
    def over(cls, plane: ControlPlane, directory: Path) -> Self:
        """Starts it, with the keys and rights of the plane's own, and returns once it is ready."""
        directory.mkdir()
        shutil.copy(plane.ca_file, directory)
        port = free_port()
        config = yaml.safe_load(plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
        (directory / "kubeconfig").write_text(yaml.safe_dump(config))
        (original,) = (each for each in children(plane.process.pid) if each[1] == "kube-apiserver")
        own = {"--secure-port": port, "--audit-log-path": directory / "audit.log", "--cert-dir": directory}
        server = cls(directory, [*original, *(f"{flag}={value}" for flag, value in own.items())])  # the last one counts
        server.process.wait_until(server.ready, "ready")
        return server

    def start_again(self) -> None:
        """On the same port, after it has ended."""
        self.process = Process.start(self._command, log=self._log)

    def ready(self) -> bool:
        """Whether it answers requests."""
        return self.kubectl("get", "--raw=/readyz", check=False).returncode == 0
