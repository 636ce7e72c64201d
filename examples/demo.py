"""The main job before the reader's eyes: from `kubectl apply` to both stores, a ConfigMap and a running client.

Everything is real but AWS, which is moto: a control plane, the controller and a
watch server as their own processes with their service accounts' tokens. Each step
is checked, and the first that did not happen ends the demo with exit code 1.

    make demo            runs it and leaves nothing behind
    make demo KEEP=1     leaves everything running, and prints how to go on by hand
    make demo-stop       ends what was left running
"""

import os
import shutil
import stat
import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from textwrap import indent
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from harness.aws import Moto  # noqa: E402
from harness.controlplane import ControlPlane  # noqa: E402
from harness.processes import Process, ProcessEnded, stop_kept  # noqa: E402
from harness.system import NAMESPACE, TABLE, System, is_ready, versions  # noqa: E402
from harness.wait import NotInTime, wait_for  # noqa: E402
from prepare import controlplane as build  # noqa: E402

DIRECTORY = ROOT / ".demo"
EXAMPLES = ROOT / "examples"
SCOPE = ("--tenant=acme", "--environment=prod", "--service=checkout")
RESOURCE = {
    "apiVersion": "tenantconfig.dev/v1alpha1",
    "kind": "TenantConfig",
    "metadata": {"namespace": "acme", "name": "checkout-prod"},
}
CONFIGMAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "acme", "name": "checkout-prod"}}
RESOURCES = "/apis/tenantconfig.dev/v1alpha1/tenantconfigs"
REST_SECONDS = 30.0  # between a parameter's deletion and its next creation
PATIENCE = 30.0  # seconds for what takes milliseconds


class Failed(Exception):
    """A step did not happen."""


def main() -> int:
    """Runs the demo, or ends a kept one; returns the exit code."""
    stopped = stop_kept(DIRECTORY)
    if "--stop" in sys.argv:
        print(f"Ended: {', '.join(stopped)}." if stopped else "Nothing was left running.")
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        return 0
    keep = os.environ.get("KEEP", "") not in ("", "0")
    shutil.rmtree(DIRECTORY, ignore_errors=True)
    with ExitStack() as ending:
        try:
            show(start(keep, ending))
        except (Failed, NotInTime, ProcessEnded) as error:
            print(f"\nThe demo failed: {error}\nLogs are in {DIRECTORY.relative_to(ROOT)}/.", file=sys.stderr)
            return 1
        if keep:
            ending.pop_all()
    return 0


def start(keep: bool, ending: ExitStack) -> System:
    """Starts every process; what is not kept ends with `ending`."""
    began = time.monotonic()
    step("A control plane, AWS (moto), the controller and a watch server")
    plane = ControlPlane.start(DIRECTORY / "control-plane", keep=keep)
    ending.callback(plane.stop)
    aws = Moto.start(DIRECTORY, keep=keep)
    ending.callback(aws.stop)
    system = System(DIRECTORY, plane, aws, keep=keep)
    ending.callback(system.stop)
    system.start_controller()
    system.start_watch_server()
    version = plane.kubectl("version").stdout.splitlines()[-1].removeprefix("Server Version: ")
    say(f"kube-apiserver {version} at {plane.server}, with crds/ and manifests/overlays/secrets applied")
    say(f"controller     as service account {NAMESPACE}/controller, leading")
    say(f"watch server   as service account {NAMESPACE}/watch-server, at {system.server}, TLS by a local CA")
    say(f"up in {time.monotonic() - began:.1f} s")
    return system


def show(system: System) -> None:
    """The steps that a user would take."""
    apply_examples(system)
    show_stores(system)
    client = subscribe(system)
    change(system, client)
    delete(system, client)
    client.stop()
    if system.keep:
        hand_over(system)
    else:
        print("\nEverything above really happened. `make demo KEEP=1` leaves it running for you.")


def apply_examples(system: System) -> None:
    """The manifests of two tenants."""
    run(system, "apply", "-f", "examples/")
    wait_for(lambda: all_ready(system), "both TenantConfigs Ready", PATIENCE)
    run(system, "get", "configstores")
    run(system, "get", "tenantconfigs", "--all-namespaces")


def all_ready(system: System) -> bool:
    """Whether both TenantConfigs are Ready."""
    found = system.admin.request("GET", RESOURCES)["items"]
    return len(found) == 2 and all(is_ready(each) for each in found)


def show_stores(system: System) -> None:
    """What landed in AWS and in the ConfigMap, and that it is the same."""
    step(f"What landed in the DynamoDB table {TABLE} for tenant acme")
    items = system.items("acme")
    for _, item in sorted(items.items()):
        what = item["value"]["S"] if "value" in item else f"owner {item['owner']['S']}"
        say(f"{item['sk']['S']:<54} {what}")
    step("What landed in SSM Parameter Store")
    parameters = system.parameter_values("acme")
    for name, parameter in sorted(parameters.items()):
        say(f"{name:<72} {parameter['Value']}")
    run(system, "get", "configmap", "checkout-prod", "-n", "acme", "-o", "yaml", "--show-managed-fields=false")
    stored = {key: item["value"]["S"] for key, item in items.items() if "value" in item}
    stored |= {name.rpartition("/")[2]: each["Value"] for name, each in parameters.items()}
    require(system.admin.get(CONFIGMAP)["data"] == stored, "the ConfigMap shows what the stores hold")


def subscribe(system: System) -> Process:
    """A client with the token of a pod of namespace acme."""
    step(f"tenantconfig watch {' '.join(SCOPE)}, with a token of the pods of namespace acme")
    client = system.client("watch", "acme", *SCOPE)
    first = client.wait_until(lambda: versions(client), "the first snapshot", PATIENCE)[0]
    status = system.admin.get(RESOURCE)["status"]
    told = (first["revision"], first["digest"])
    require(told == (status["revision"], status["digest"]), "status and stream name one version")
    say(f"received revision {first['revision']}, {len(first['entries'])} entries, digest {first['digest'][:12]}…")
    say("the digest is the one in the status and in the ConfigMap, and the client has verified it")
    return client


def change(system: System, client: Process) -> None:
    """A changed manifest, and how soon the client has it."""
    before = versions(client)[-1]
    began = time.time()
    run(system, "apply", "-f", "examples/changed/")
    returned = time.time()
    now = client.wait_until(lambda: versions(client)[1:], "the change on the stream", PATIENCE)[0]
    received = datetime.fromisoformat(now["receivedAt"]).timestamp()
    require(now["revision"] == before["revision"] + 1, "the revision grew by one")
    step("The stream, without a restart or a poll")
    for key, value in now["entries"].items():
        if before["entries"].get(key) != value:
            say(f"received revision {now['revision']}: {key} {before['entries'].get(key)} → {value}")
    say(f"{1000 * (received - began):.0f} ms from the start of kubectl to the receipt in the client,")
    say(f"of which kubectl itself ran {1000 * (returned - began):.0f} ms")


def delete(system: System, client: Process) -> None:
    """Nothing is left of a deleted resource."""
    run(system, "delete", "-f", "examples/changed/")
    last = client.wait_until(lambda: [each for each in versions(client) if "absent" in each], "its end", PATIENCE)[-1]
    require(last["absent"] == "WITHDRAWN", "the stream says that the scope was withdrawn")
    wait_for(lambda: not system.admin.exists(CONFIGMAP), "the ConfigMap gone", PATIENCE)
    items, parameters = system.items("acme"), system.parameter_values("acme")
    require(not items and not parameters, "the stores hold nothing of tenant acme")
    step("Gone everywhere")
    say("stream     Absent, WITHDRAWN: the client drops the values")
    say(f"DynamoDB   {len(items)} items of acme;  SSM {len(parameters)} parameters of acme;  no ConfigMap")


def hand_over(system: System) -> None:
    """How a person goes on by hand."""
    run(system, "apply", "-f", "examples/")
    say("Ready in half a minute: AWS wants 30 s before the name of a deleted parameter is used again")
    wait_for(lambda: all_ready(system), "both TenantConfigs Ready again", PATIENCE + REST_SECONDS)
    assert system.controller
    assert system.watch_server
    variables = {
        "KUBECONFIG": system.plane.kubeconfig,
        **dict(sorted(system.aws.environment().items())),
        "TENANTCONFIG_SERVER": system.server,
        "TENANTCONFIG_CA": system.authority.ca_file,
        "TENANTCONFIG_TOKEN_FILE": system.token_file("acme"),
        "CONTROLLER_PID": system.controller.pid,
        "WATCH_SERVER_PID": system.watch_server.pid,
        "CONTROLLER_KUBECONFIG": system.plane.kubeconfig_for(NAMESPACE, "controller"),
    }
    lines = [f"{name}={value}" for name, value in variables.items()]
    (DIRECTORY / "env").write_text("".join(f"{line}\n" for line in lines))
    kubectl = write_kubectl()
    step("Still running; the examples are applied again. Go on by hand")
    print(indent("\n".join(f"export {line}" for line in lines), "   "))
    say("")
    say("set -a; . .demo/env; set +a      # the same variables")
    say(f"{kubectl.relative_to(ROOT)} get tc -A         # or your own kubectl")
    say(f".venv/bin/tenantconfig watch {' '.join(SCOPE)}")
    say("make demo-stop                   # ends it")
    say("")
    say("To replace the controller: kill $CONTROLLER_PID, and then, since the policies let nobody else write,")
    say("KUBECONFIG=$CONTROLLER_KUBECONFIG .venv/bin/tenantconfig controller")


def write_kubectl() -> Path:
    """A kubectl for those who have none."""
    script = DIRECTORY / "kubectl"
    script.write_text(f'#!/bin/sh\nexec "{build.binary()}" kubectl "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def run(system: System, *arguments: str) -> None:
    """Runs kubectl, as the reader would, and shows what it prints."""
    step(f"kubectl {' '.join(arguments)}")
    paths: list[Any] = [ROOT / each if each.startswith("examples/") else each for each in arguments]
    result = system.plane.kubectl(*paths, check=False)
    say((result.stdout + result.stderr).rstrip())
    require(result.returncode == 0, f"kubectl {arguments[0]} succeeds")


def require(happened: bool, what: str) -> None:
    if not happened:
        raise Failed(f"not true: {what}")


def step(title: str) -> None:
    print(f"\n── {title}", flush=True)


def say(text: str) -> None:
    print(indent(text, "   "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
