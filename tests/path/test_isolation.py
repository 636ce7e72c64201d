"""`tenantconfig verify-isolation` on a whole installation: all is refused, and each hole that is opened is found."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from harness.install import BASE, WITH_SECRETS
from harness.processes import local_environment
from harness.system import COMMAND, System
from harness.wait import wait_for

COMPONENT = BASE.parent / "components" / "verify-isolation"
HOME, AWAY = "tenantconfig-canary", "tenantconfig-canary-foreign"
ACCOUNT = "verify-isolation"


@pytest.fixture(scope="module")
def installed(system: System) -> Iterator[System]:
    """The component, and the values that it is about."""
    system.plane.kubectl("apply", "-f", COMPONENT / "canary.yaml")
    for namespace in (HOME, AWAY):
        system.plane.kubectl("wait", "--for=condition=Ready", "tenantconfig/canary", f"-n={namespace}", "--timeout=60s")
    yield system
    system.plane.kubectl("delete", "tenantconfig/canary", f"-n={HOME}")
    system.plane.kubectl("delete", "tenantconfig/canary", f"-n={AWAY}")


def arguments(system: System, **changes: str) -> list[str]:
    """The flags of the CronJob, with the addresses of this installation."""
    (job,) = yaml.safe_load_all((COMPONENT / "cronjob.yaml").read_text())
    (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    own = {
        "server": system.server,
        "ca": str(system.authority.ca_file),
        "token-file": str(system.token_file(HOME, ACCOUNT)),
        **changes,
    }
    named = dict(each.removeprefix("--").split("=", 1) for each in container["args"][1:])
    assert named.keys() >= own.keys() - {"push-gateway", "output"}
    return ["verify-isolation", *(f"--{name}={value}" for name, value in {**named, **own}.items())]


def verify(system: System, **changes: str) -> tuple[int, list[dict[str, str]], str]:
    """Exit code, results and the rest of the output."""
    environment = local_environment({"KUBECONFIG": str(system.plane.kubeconfig_for(HOME, ACCOUNT))})
    command = [str(COMMAND), *arguments(system, **{"output": "json", **changes})]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    results: list[dict[str, str]] = json.loads(done.stdout) if done.stdout.startswith("[") else []
    return done.returncode, results, done.stdout + done.stderr


def breaches(results: list[dict[str, str]]) -> set[str]:
    return {each["attempt"] for each in results if each["outcome"] == "BREACH"}


def test_everything_is_refused(installed: System) -> None:
    code, results, output = verify(installed)
    assert code == 0, output
    outcomes = [each["outcome"] for each in results]
    assert outcomes.count("permitted") == 2
    assert outcomes.count("refused") == len(results) - 2 >= 30
    assert any(each["attempt"] == "data of one's own canary" for each in results)
    assert "out of reach" not in output


def test_it_tells_people_line_by_line(installed: System) -> None:
    code, _, output = verify(installed, output="table")
    assert code == 0
    assert "permitted  snapshot of one's own scope: answered with snapshot" in output
    assert "refused    stream of canary-foreign/_/_ with one's own token: PERMISSION_DENIED" in output
    assert all(line.startswith(("permitted ", "refused ")) for line in output.splitlines())


@contextmanager
def without(system: System, file: Path, kind: str, name: str) -> Iterator[None]:
    """A policy's binding is gone, until the end."""
    system.plane.kubectl("delete", kind, name)
    try:
        yield
    finally:
        system.plane.kubectl("apply", "-f", file)


@contextmanager
def annotated(system: System, name: str, value: str) -> Iterator[None]:
    """The administrator of the canary's namespace makes a mistake."""
    system.plane.kubectl("annotate", "namespace", HOME, f"tenantconfig.dev/{name}={value}", "--overwrite")
    try:
        yield
    finally:
        former = {"tenants": "tenantconfig.dev/tenants=canary"}.get(name, f"tenantconfig.dev/{name}-")
        system.plane.kubectl("annotate", "namespace", HOME, former, "--overwrite")


@contextmanager
def bound(system: System, role: str) -> Iterator[None]:
    """The canary's account has a ClusterRole everywhere."""
    name = f"canary-{role}"
    system.plane.kubectl(
        "create", "clusterrolebinding", name, f"--clusterrole={role}", f"--serviceaccount={HOME}:{ACCOUNT}"
    )
    try:
        yield
    finally:
        system.plane.kubectl("delete", "clusterrolebinding", name)


@contextmanager
def allowed(system: System, namespace: str, resources: str, verbs: str, name: str = "canary-hole") -> Iterator[None]:
    """The canary's account has a Role in a namespace."""
    kubectl = system.plane.kubectl
    kubectl("create", "role", name, f"-n={namespace}", f"--resource={resources}", f"--verb={verbs}")
    kubectl("create", "rolebinding", name, f"-n={namespace}", f"--role={name}", f"--serviceaccount={HOME}:{ACCOUNT}")
    try:
        yield
    finally:
        kubectl("delete", "rolebinding,role", name, f"-n={namespace}")


BINDING = "validatingadmissionpolicybinding"
HOLES: dict[str, tuple[Callable[[System], Any], set[str]]] = {
    "the policy of TenantConfigs is not bound": (
        lambda system: without(system, BASE / "admission.yaml", BINDING, "tenantconfigs.tenantconfig.dev"),
        {"TenantConfig of canary-foreign/_/_"},
    ),
    "the policy of ConfigMaps is not bound": (
        lambda system: without(system, BASE / "admission.yaml", BINDING, "configmaps.tenantconfig.dev"),
        {
            "ConfigMap that claims to be of canary-foreign/_/_",
            "data of one's own canary",
            "revision of one's own canary",
            "another tenant's label on one's own canary",
            "no label on one's own canary",
            "another tenant's label on one's own unlabelled",
        },
    ),
    "the policy of statuses is not bound": (
        lambda system: without(system, BASE / "admission.yaml", BINDING, "status.tenantconfig.dev"),
        {"status of one's own canary"},
    ),
    "the namespace may read every tenant": (
        lambda system: annotated(system, "readable-tenants", "*"),
        {
            "snapshot of canary-foreign/_/_ with one's own token",
            "stream of canary-foreign/_/_ with one's own token",
            "canary-foreign/_/_ on a stream of one's own",
        },
    ),
    "the namespace may declare both tenants": (
        lambda system: annotated(system, "tenants", "canary,canary-foreign"),
        {
            "TenantConfig of canary-foreign/_/_",
            "snapshot of canary-foreign/_/_ with one's own token",
            "stream of canary-foreign/_/_ with one's own token",
            "canary-foreign/_/_ on a stream of one's own",
        },
    ),
    "the account may read everywhere": (
        lambda system: bound(system, "tenantconfig-watch-server"),
        {"read ConfigMaps of all namespaces", f"read ConfigMaps of namespace {AWAY}"},
    ),
    "the account has the controller's rights": (
        lambda system: bound(system, "tenantconfig-controller-secrets"),
        {f"read Secrets of namespace {AWAY}"},
    ),
    "the account may ask for tokens in the other's namespace": (
        lambda system: allowed(system, AWAY, "serviceaccounts/token", "create"),
        {f"new token in namespace {AWAY}"},
    ),
    "the account may write in the other's namespace": (
        lambda system: allowed(system, AWAY, "configmaps,tenantconfigs.tenantconfig.dev", "create,patch"),
        {
            f"{how} {what} in namespace {AWAY}"
            for how in ("new", "change of a")
            for what in ("ConfigMap", "TenantConfig")
        },
    ),
}


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_that_is_opened_is_found(installed: System, hole: str) -> None:
    opened, expected = HOLES[hole]
    found: list[tuple[int, set[str]]] = []

    def seen() -> bool:  # policies, rights and annotations take a moment to take effect
        code, results, _ = verify(installed)
        found.append((code, breaches(results)))
        return found[-1] == (1, expected)

    with opened(installed):
        wait_for(seen, f"the breaches {sorted(expected)}, last {found[-1:]}")
    wait_for(lambda: verify(installed)[0] == 0, "the hole to be closed")


def test_what_cannot_be_tried_is_not_taken_for_refused(installed: System) -> None:
    code, results, _ = verify(installed, server="127.0.0.1:9")
    assert code == 3
    assert {
        each["outcome"] for each in results if "canary-foreign" in each["attempt"] and "stream" in each["attempt"]
    } == {"untried"}
    code, results, _ = verify(installed, tenant="nobodys")
    assert code == 3, "while one's own is refused, refusals prove nothing"


@pytest.mark.parametrize(
    ("resource", "verbs", "untried"),
    [
        ("configmaps", "get,list,patch", {"ConfigMap that claims to be of canary-foreign/_/_"}),
        ("tenantconfigs.tenantconfig.dev", "get,list,patch", {"TenantConfig of canary-foreign/_/_"}),
        (
            "configmaps",
            "get,create,patch",
            {
                "data of one's own",
                "revision of one's own",
                "another tenant's label on one's own",
                "no label on one's own",
            },
        ),
        ("tenantconfigs.tenantconfig.dev", "get,list,create", {"another tenant in one's own canary"}),
    ],
)
def test_what_is_refused_for_a_lack_of_rights_proves_nothing(
    installed: System, resource: str, verbs: str, untried: set[str]
) -> None:
    rights = {
        "configmaps": "get,list,create,patch",
        "tenantconfigs.tenantconfig.dev": "get,list,create,patch",
        "tenantconfigs.tenantconfig.dev/status": "patch",
    } | {resource: verbs}
    kubectl = installed.plane.kubectl
    kubectl("delete", "rolebinding", ACCOUNT, f"-n={HOME}")
    with ExitStack() as stack:
        stack.callback(kubectl, "apply", "-f", COMPONENT / "canary.yaml")
        for number, (each, granted) in enumerate(rights.items()):
            stack.enter_context(allowed(installed, HOME, each, granted, name=f"canary-{number}"))

        def seen() -> bool:
            code, results, output = verify(installed)
            found = {each["attempt"] for each in results if each["outcome"] == "untried"}
            assert (code, found) == (3, untried), output
            assert "give this account what the tenant's team has there" in output
            return True

        wait_for(seen, "what could not be tried")
    wait_for(lambda: verify(installed)[0] == 0, "all rights again")


def test_the_outcome_is_pushed_as_metrics(installed: System) -> None:
    pushed: list[tuple[str, str]] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            pushed.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        thread = Thread(target=gateway.serve_forever)
        thread.start()
        code, results, _ = verify(installed, **{"push-gateway": f"127.0.0.1:{gateway.server_port}"})
        gateway.shutdown()
        thread.join()
    assert code == 0
    ((path, metrics),) = pushed
    assert path == "/metrics/job/tenantconfig-verify-isolation"
    assert f'tenantconfig_isolation_attempts{{outcome="refused"}} {len(results) - 2}.0' in metrics
    assert 'tenantconfig_isolation_attempts{outcome="breach"} 0.0' in metrics
    assert "tenantconfig_isolation_finished_timestamp_seconds" in metrics


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"foreign-scope": "canary"}, "another tenant's"),
        ({"foreign-namespace": HOME}, "another tenant's"),
        ({"foreign-scope": "a/b/c/d"}, "is not TENANT[/ENVIRONMENT[/SERVICE]]"),
        ({"token-file": "/nowhere"}, "token file /nowhere cannot be read"),
        ({"push-gateway": "127.0.0.1:9"}, "--push-gateway 127.0.0.1:9 takes no metrics"),
    ],
)
def test_what_is_wrong_with_a_call_is_one_line(installed: System, changes: dict[str, str], message: str) -> None:
    code, _, output = verify(installed, **changes)
    assert code in {1, 2}
    last = output.splitlines()[-1]
    assert last.startswith("tenantconfig: ")
    assert message in last
    assert "Traceback" not in output


def test_the_component_joins_either_overlay(installed: System, tmp_path: Path) -> None:
    for base in (BASE, WITH_SECRETS):
        overlay = BASE.parent / f".{tmp_path.name}"
        overlay.mkdir()
        try:
            components = [f"../components/{name}" for name in ("verify-isolation", "token-review")]
            content = {"resources": [f"../{base.relative_to(BASE.parent)}"], "components": components}
            (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
            made = installed.plane.kubectl("kustomize", overlay).stdout
        finally:
            (overlay / "kustomization.yaml").unlink()
            overlay.rmdir()
        kinds = [(each["kind"], each["metadata"]["name"]) for each in yaml.safe_load_all(made)]
        assert ("CronJob", "verify-isolation") in kinds
        assert ("ClusterRole", "tenantconfig-watch-server-token-review") in kinds
