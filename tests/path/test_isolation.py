"""`tenantconfig verify-isolation` on a whole installation: all is refused, and each hole that is opened is found."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from harness.install import BASE, WITH_SECRETS
from harness.processes import local_environment
from harness.system import COMMAND, System
from harness.system import NAMESPACE as SYSTEM
from harness.wait import wait_for

COMPONENT = BASE.parent / "components" / "verify-isolation"
HOME, AWAY = "tenantconfig-canary", "tenantconfig-canary-foreign"
ACCOUNT = "verify-isolation"
CONTROLS = 7  # what has to be permitted


@pytest.fixture(scope="module")
def installed(system: System) -> Iterator[System]:
    """The component, and the values that it is about."""
    system.plane.kubectl("apply", "-f", COMPONENT / "canary.yaml")
    system.plane.kubectl("create", "configmap", "tenantconfig-ca", f"-n={HOME}")  # the CronJob mounts it
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
    assert outcomes.count("permitted") == CONTROLS
    assert outcomes.count("refused") == len(results) - CONTROLS >= 50
    assert len({each["attempt"] for each in results}) == len(results)
    assert "out of reach" not in output


def test_it_tells_people_line_by_line(installed: System) -> None:
    code, _, output = verify(installed, output="table")
    assert code == 0
    assert "permitted  snapshot of one's own scope: answered with snapshot" in output
    assert "refused    stream of canary-foreign/_/_ with one's own token: PERMISSION_DENIED" in output
    assert all(line.startswith(("permitted ", "refused ")) for line in output.splitlines())


@contextmanager
def without(system: System, file: Path, *what: str) -> Iterator[None]:
    """Something of a manifest is gone, until the end."""
    system.plane.kubectl("delete", *what)
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
def permitted(system: System, verb: str, resource: str, namespace: str = "") -> Iterator[None]:
    """The canary's account has one right more, in a namespace or everywhere."""
    kind, where = ("role", [f"-n={namespace}"]) if namespace else ("clusterrole", [])
    system.plane.kubectl("create", kind, "more", f"--verb={verb}", f"--resource={resource}", *where)
    account = f"--serviceaccount={HOME}:{ACCOUNT}"
    system.plane.kubectl("create", f"{kind}binding", "more", f"--{kind}=more", account, *where)
    try:
        yield
    finally:
        system.plane.kubectl("delete", f"{kind},{kind}binding", "more", *where)


def role() -> dict[str, Any]:
    """What the component lets its account do."""
    (found,) = (each for each in yaml.safe_load_all((COMPONENT / "canary.yaml").read_text()) if each["kind"] == "Role")
    return dict(found)


@contextmanager
def lacking(system: System, verb: str, resource: str) -> Iterator[None]:
    """The canary's account has one right less."""
    less = role()
    for rule in less["rules"]:
        if resource in rule["resources"]:
            rule["verbs"].remove(verb)
    less["rules"] = [rule for rule in less["rules"] if rule["verbs"]]
    system.plane.kubectl("replace", "-f", "-", input=yaml.safe_dump(less))
    try:
        yield
    finally:
        system.plane.kubectl("replace", "-f", "-", input=yaml.safe_dump(role()))


def rights(verbs: str, resources: str, *namespaces: str) -> set[str]:
    """How the attempts are called that ask for rights."""
    return {
        f"right to {verb} {resource} in namespace {namespace}"
        for verb in verbs.split()
        for resource in resources.split()
        for namespace in namespaces
    }


FOREIGN = "canary-foreign/_/_"
NEW_CONFIG = f"TenantConfig of {FOREIGN}"
NONE = "(none found)"


def changed_maps(projected: str, other: str) -> set[str]:
    """How the attempts are called that change a ConfigMap of one's own."""
    return {
        f"projected ConfigMap {projected} with other data",
        f"projected ConfigMap {projected} with a later revision",
        f"projected ConfigMap {projected} labelled as of {FOREIGN}",
        f"projected ConfigMap {projected} without its label",
        f"ConfigMap {other} labelled as of {FOREIGN}",
    }


NEW_MAP, CHANGED_MAPS = f"ConfigMap that claims to be of {FOREIGN}", changed_maps("canary", "tenantconfig-ca")
FORGED_MAPS = {NEW_MAP, *CHANGED_MAPS}
READ = {
    f"snapshot of {FOREIGN} with one's own token",
    f"stream of {FOREIGN} with one's own token",
    f"{FOREIGN} on a stream of one's own",
}
LISTED = {"read ConfigMaps of all namespaces", f"read ConfigMaps of namespace {AWAY}"}
POLICY, BINDING = "validatingadmissionpolicy", "validatingadmissionpolicybinding"


def unguarded(kind: str, resource: str) -> Callable[[System], Any]:
    """A policy, or its binding, is not installed."""
    return lambda system: without(system, BASE / "admission.yaml", kind, f"{resource}.tenantconfig.dev")


def with_right(verb: str, resource: str, namespace: str = "") -> Callable[[System], Any]:
    """The account may do one thing more."""
    return lambda system: permitted(system, verb, resource, namespace)


HOLES: dict[str, tuple[Callable[[System], Any], set[str]]] = {
    "the policy of TenantConfigs is not bound": (unguarded(BINDING, "tenantconfigs"), {NEW_CONFIG}),
    "the policy of TenantConfigs is not there": (unguarded(POLICY, "tenantconfigs"), {NEW_CONFIG}),
    "the policy of ConfigMaps is not bound": (unguarded(BINDING, "configmaps"), FORGED_MAPS),
    "the policy of ConfigMaps is not there": (unguarded(POLICY, "configmaps"), FORGED_MAPS),
    "the policy of statuses is not bound": (unguarded(BINDING, "status"), {"status of TenantConfig canary"}),
    "the namespace may read every tenant": (lambda system: annotated(system, "readable-tenants", "*"), READ),
    "the namespace may declare both tenants": (
        lambda system: annotated(system, "tenants", "canary,canary-foreign"),
        {NEW_CONFIG, *READ},
    ),
    "the account may read everywhere": (
        lambda system: bound(system, "tenantconfig-watch-server"),
        LISTED | rights("watch", "configmaps", AWAY, SYSTEM),
    ),
    "the account has the controller's rights on Secrets": (
        lambda system: bound(system, "tenantconfig-controller-secrets"),
        {f"read Secrets of namespace {AWAY}"} | rights("get watch", "secrets", AWAY, SYSTEM),
    ),
    "the account may take tokens of the other namespace": (
        with_right("create", "serviceaccounts/token", AWAY),
        rights("create", "serviceaccounts/token", AWAY),
    ),
    "the account may write ConfigMaps of the other namespace": (
        with_right("create,patch", "configmaps", AWAY),
        {f"ConfigMap in namespace {AWAY}", f"change of a ConfigMap in namespace {AWAY}"},
    ),
    "the account may write TenantConfigs of the other namespace": (
        with_right("create,patch", "tenantconfigs.tenantconfig.dev", AWAY),
        {f"TenantConfig in namespace {AWAY}", f"change of a TenantConfig in namespace {AWAY}"},
    ),
    "the account may write namespaces": (
        with_right("create,patch", "namespaces"),
        {"one's own namespace's rights", "namespace with the foreign tenant's rights"},
    ),
    "the account may change ConfigStores": (
        with_right("patch", "configstores.tenantconfig.dev"),
        {"change of a ConfigStore"},
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


def untried(system: System) -> dict[str, str]:
    """What could not be tried, and why; nothing else was wrong."""
    code, results, output = verify(system)
    assert code == (3 if "untried" in {each["outcome"] for each in results} else 0), output
    return {each["attempt"]: each["detail"] for each in results if each["outcome"] == "untried"}


RELYING: dict[tuple[str, str], set[str]] = {
    ("create", "tenantconfigs"): {NEW_CONFIG, "TenantConfig of canary/_/_"},
    ("create", "configmaps"): {NEW_MAP, "ConfigMap that claims nothing"},
    ("patch", "tenantconfigs"): {f"TenantConfig canary changed to {FOREIGN}", "TenantConfig canary as it is"},
    ("patch", "configmaps"): {
        *CHANGED_MAPS,
        "projected ConfigMap canary as it is",
        "ConfigMap tenantconfig-ca as it is",
    },
    ("list", "tenantconfigs"): {f"TenantConfig {NONE} changed to {FOREIGN}", f"status of TenantConfig {NONE}"},
    ("list", "configmaps"): changed_maps(NONE, NONE),
}


@pytest.mark.parametrize(("verb", "resource"), RELYING)
def test_an_account_that_lacks_a_right_is_not_taken_for_one_that_a_policy_refuses(
    installed: System, verb: str, resource: str
) -> None:
    found: dict[str, str] = {}

    def seen() -> bool:  # rights take a moment to take effect
        found.clear()
        found.update(untried(installed))
        return found.keys() == RELYING[verb, resource]

    with lacking(installed, verb, resource):
        wait_for(seen, f"untried: {sorted(RELYING[verb, resource])}")
    for detail in found.values():
        assert f'cannot {verb} resource "{resource}"' in detail
        assert "give the account the Role of manifests/components/verify-isolation" in detail
    wait_for(lambda: verify(installed)[0] == 0, "the right to be back")


def test_without_an_object_to_change_no_change_is_taken_for_refused(installed: System) -> None:
    again = COMPONENT / "canary.yaml"
    with without(installed, again, "tenantconfig/canary", f"-n={HOME}"):
        found = untried(installed)
    text = "declare a TenantConfig in namespace tenantconfig-canary"
    assert text in found[f"TenantConfig {NONE} changed to {FOREIGN}"]
    assert text in found[f"projected ConfigMap {NONE} without its label"]
    installed.plane.kubectl("wait", "--for=condition=Ready", "tenantconfig/canary", f"-n={HOME}", "--timeout=60s")
    installed.plane.kubectl("delete", "configmap", "tenantconfig-ca", f"-n={HOME}")
    try:
        remedy = f"there is none to try on: make any ConfigMap in namespace {HOME}"
        assert untried(installed) == {f"ConfigMap {NONE} labelled as of {FOREIGN}": remedy}
    finally:
        installed.plane.kubectl("create", "configmap", "tenantconfig-ca", f"-n={HOME}")


def test_the_account_has_no_right_that_is_not_used(installed: System) -> None:
    since = installed.plane.audit_mark()
    assert verify(installed)[0] == 0
    used = {
        (each.verb, each.resource)
        for each in installed.plane.audit(f"{HOME}/{ACCOUNT}", since)
        # A status is always refused: by its policy, which is asked only who has the right.
        if each.namespace == HOME and (each.code < 300 or each.resource == "tenantconfigs/status")
    }
    assert used == {
        (verb, resource) for rule in role()["rules"] for resource in rule["resources"] for verb in rule["verbs"]
    }


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
    assert f'tenantconfig_isolation_attempts{{outcome="refused"}} {len(results) - CONTROLS}.0' in metrics
    assert 'tenantconfig_isolation_attempts{outcome="breach"} 0.0' in metrics
    assert "tenantconfig_isolation_finished_timestamp_seconds" in metrics


@pytest.mark.parametrize(
    ("changes", "message", "expected"),
    [
        ({"foreign-scope": "canary"}, "another tenant's", 2),
        ({"foreign-namespace": HOME}, "another tenant's", 2),
        ({"foreign-scope": "a/b/c/d"}, "is not TENANT[/ENVIRONMENT[/SERVICE]]", 2),
        ({"token-file": "/nowhere"}, "token file /nowhere cannot be read", 3),
        ({"token-file": "word"}, "word holds no JWT", 3),
        ({"ca": "/nowhere"}, "CA file /nowhere cannot be read", 3),
        ({"push-gateway": "127.0.0.1:9"}, "--push-gateway 127.0.0.1:9 takes no metrics", 3),
    ],
)
def test_what_is_wrong_with_a_call_is_one_line_and_no_breach(
    installed: System, tmp_path: Path, changes: dict[str, str], message: str, expected: int
) -> None:
    (tmp_path / "word").write_text("word")
    changes = {name: str(tmp_path / value) if value == "word" else value for name, value in changes.items()}
    code, _, output = verify(installed, **changes)
    assert code == expected
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
