"""`tenantconfig validate` against the real API server: the same manifests, the same verdicts.

Beside its own table it judges those of the tests of the two definitions.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rfc8785
import yaml

from cluster.test_configstore_schema import ACCEPTED as STORES_ACCEPTED
from cluster.test_configstore_schema import REFUSED as STORES_REFUSED
from cluster.test_tenantconfig_schema import ACCEPTED as CONFIGS_ACCEPTED
from cluster.test_tenantconfig_schema import REFUSED as CONFIGS_REFUSED
from cluster.test_tenantconfig_schema import SECRET
from harness.api import Object, Refused
from harness.cluster import Cluster, config_store, namespace, tenant_config
from harness.install import BASE, CRDS, ROOT
from harness.processes import local_environment
from prepare import controlplane as build
from prepare.store import PYTHON
from tenantconfig.app.validate import definitions
from tenantconfig.manifests import Document, documents
from tenantconfig.schema import OF_A_CHANGE, RULES
from tenantconfig.validation import Problem, validate

HOME = "home"  # stands for the namespace of the test
API = "/apis/tenantconfig.dev/v1alpha1"
KEY = "tenant_config_a"
TABLE: dict[str, Any] = {"prefixes": ["tenant_config_"], "dynamodb": {"tableName": "tenant-config"}}


def config(metadata: dict[str, Any] | None = None, **fields: Any) -> Object:
    """A TenantConfig; arguments are fields of the object, `metadata` is added to its own."""
    body = tenant_config(HOME)
    return {**body, "metadata": {**body["metadata"], **(metadata or {})}, **fields}


def spec(**fields: Any) -> Object:
    """A TenantConfig; arguments are fields of its spec, None as it is."""
    return config(spec={"tenantId": "acme", **fields})


def entry(**fields: Any) -> Object:
    """A TenantConfig with one entry."""
    return spec(entries=[{"key": KEY, **fields}])


def path(prefix: str) -> Object:
    """A ConfigStore of SSM."""
    return config_store("parity", prefixes=["a"], ssm={"pathPrefix": prefix})


GOOD: dict[str, Object] = {
    **{name: tenant_config(HOME, **fields) for name, fields in CONFIGS_ACCEPTED.items()},
    **{name: config_store("parity", **fields) for name, fields in STORES_ACCEPTED.items()},
    "anything in a value": entry(value={"unknown": {"spec": [None, {"": ""}]}}),
    "a number where JSON has one notation": entry(value=1e300),
    "null beside a valueFrom": entry(value=None, valueFrom=SECRET),
    "null under Observe": entry(value=None, policy="Observe"),
    "a generated name": config({"name": None, "generateName": "test-"}),
    "labels and annotations": config({"labels": {"a.b/c": "", "d": "E_f.g"}, "annotations": {"a": "any\ntext"}}),
    "no labels and no annotations": config({"labels": None, "annotations": None}),
    "what kubectl create --dry-run writes": config({"creationTimestamp": None}),
    "a name of 253": config({"name": ".".join(["a" * 60] * 4) + ".b.cdefgh"}),
    "an environment of null": spec(environment=None),
    "entries of null": spec(entries=None),
    "a policy of null": entry(value=1, policy=None),
    "a valueFrom of null": entry(value=1, valueFrom=None),
    "a target of null": spec(target=None),
    "a suspend of null": spec(suspend=None),
    "two stores, one of null": config_store("parity", **TABLE, ssm=None),
    "a status": config(status={"observedGeneration": "one"}),
}
BAD: dict[str, Object] = {
    **{name: tenant_config(HOME, **fields) for name, (fields, _) in CONFIGS_REFUSED.items()},
    **{name: config_store("parity", **fields) for name, (fields, _) in STORES_REFUSED.items()},
    "an unknown field": config(spce={}),
    "an unknown field of metadata": config({"lables": {}}),
    "an unknown field of spec": spec(entires=[]),
    "an unknown field of an entry": entry(value=1, polcy="Seed"),
    "an unknown field of a reference": entry(valueFrom={"secretKeyRef": {"name": "a", "key": "b", "optional": True}}),
    "an unknown field of target": spec(target={"configmapName": "a"}),
    "an unknown field of a store": config_store(
        "parity", prefixes=["a"], dynamodb={"tableName": "abc", "table": "abc"}
    ),
    "no spec": {name: part for name, part in config().items() if name != "spec"},
    "a spec of null": config(spec=None),
    "a list as spec": config(spec=[]),
    "a tenant of null": spec(tenantId=None),
    "a tenant that is a number": spec(tenantId=5),
    "an environment that YAML reads as false": spec(environment=False),
    "a new line at the end": spec(service="checkout\n"),
    "entries as a mapping": spec(entries={KEY: 1}),
    "an entry of null": spec(entries=[None]),
    "an entry of text": spec(entries=[KEY]),
    "a key that is a number": spec(entries=[{"key": 1, "value": 1}]),
    "an empty valueFrom": entry(valueFrom={}),
    "null to be seeded": entry(value=None, policy="Seed"),
    "a suspend of 1": spec(suspend=1),
    "no name": config({"name": None}),
    "an upper-case name": config({"name": "Test"}),
    "a name with _": config({"name": "a_b"}),
    "a name of 254": config({"name": "a" * 254}),
    "a label with a space": config({"labels": {"a": "b c"}}),
    "a label of 64": config({"labels": {"a": "b" * 64}}),
    "a label that is a number": config({"labels": {"a": 1}}),
    "an annotation that is true": config({"annotations": {"a": True}}),
    "a budget in quotes": config_store("parity", prefixes=["a"], ssm={"pathPrefix": "/a", "writesPerSecond": "3"}),
    "a table of null": config_store("parity", prefixes=["a"], dynamodb=None),
    "a path of SSM": path("/ssm"),
    "a path that begins like one of AWS": path("/Awsome/a"),
    "a path of several lines": path("/a\n/b"),
    "a prefix that is a number": config_store("parity", prefixes=[1], dynamodb={"tableName": "abc"}),
}


SCALARS = [
    *("yes", "No", "on", "OFF", "y", "n", "true", "False", "null", "~", "text", "a:b", '"yes"', "'1'", "!!str 1"),
    *("010", "08", "0o10", "0x1F", "0x", "0b11", "1_000", "+1", "-0", "12:30", "190:20:30", "1.2.3", "1e", "="),
    *("1.5", "1.50", ".5", "1.", "1e3", "-1e-3", "0.1e", "1_0.5", "2026-01-02", "2026-01-02T03:04:05Z", ""),
    *("[y, 1:a, 2026-01-02]", "{1: a, yes: b, 1.5: c}"),
]


def refusal(cluster: Cluster, body: Object) -> str:
    """What the API server says to a manifest, unknown fields included; empty when it takes it."""
    home = body["metadata"].get("namespace")
    collection = f"{API}/namespaces/{home}/tenantconfigs" if home else f"{API}/configstores"
    try:
        cluster.admin.request("POST", collection, body, dryRun="All", fieldValidation="Strict")
    except Refused as refused:
        return str(refused)
    return ""


def judged(*bodies: Object) -> tuple[Problem, ...]:
    """What `validate` says."""
    return validate([Document("test.yaml", body) for body in bodies], definitions()).problems


def at_home(home: str, body: Object) -> Object:
    """The object in the namespace `home`; a name of None is left out."""
    metadata = {name: part for name, part in body["metadata"].items() if (name, part) != ("name", None)}
    return {**body, "metadata": metadata | ({"namespace": home} if "namespace" in metadata else {})}


def names(said: str, field: str) -> bool:
    """Whether the API server speaks of the field; a policy names entries by their keys, and metadata has no paths."""
    if "ValidatingAdmissionPolicy" in said:
        return field.startswith("spec.entries[") and " spec.entries: " in said
    return (field.split(".")[1] if field.startswith("metadata.") else field) in said


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_what_the_api_server_takes_has_no_problem(cluster: Cluster, acme: str, body: Object) -> None:
    body = at_home(acme, body)
    assert (refusal(cluster, body), judged(body)) == ("", ())


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_what_the_api_server_refuses_has_a_problem_at_the_same_field(cluster: Cluster, acme: str, body: Object) -> None:
    body = at_home(acme, body)
    said, problems = refusal(cluster, body), judged(body)
    assert said
    assert any(names(said, each.field) for each in problems), (said, problems)


def test_every_rule_and_every_validation_has_refused_something_here(cluster: Cluster, acme: str) -> None:
    """A rule or a validation that is added must come with a manifest above that it refuses."""
    said = "\n".join(refusal(cluster, at_home(acme, body)) for body in BAD.values())
    rules = [rule for crd in read(*CRDS.glob("*.yaml")) for rule in rules_in(crd) if OF_A_CHANGE not in rule["rule"]]
    assert {rule["rule"] for rule in rules} == RULES.keys()
    assert [rule["message"] for rule in rules if rule["message"] not in said] == []
    policy, *_ = read(BASE / "admission.yaml")
    permission, *validations = policy["spec"]["validations"]
    assert permission["message"].startswith("spec.tenantId"), "it concerns the namespace: see below"
    assert len(validations) == 3
    assert [each["message"] for each in validations if each["message"] not in said] == []


def read(*files: Path) -> list[Any]:
    """The documents of all files."""
    return [body for file in files for body in yaml.safe_load_all(file.read_text())]


def rules_in(part: Any) -> Iterator[dict[str, Any]]:
    """All x-kubernetes-validations within a definition."""
    if isinstance(part, dict):
        yield from part.get("x-kubernetes-validations", ())
    for each in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from rules_in(each)


@pytest.mark.parametrize(
    "tenants",
    [
        None,
        "",
        ",",
        "acme",
        "globex,acme",
        " globex , acme ",
        "acme,",
        "*",
        "globex, *",
        "globex",
        "acm*",
        "acme globex",
    ],
)
def test_what_the_namespace_permits(cluster: Cluster, tenants: str | None) -> None:
    home = cluster.namespace(tenants)
    body = tenant_config(home)
    problems = judged(body, namespace(home, {} if tenants is None else {"tenantconfig.dev/tenants": tenants}))
    said = refusal(cluster, body)
    assert bool(problems) == bool(said), (said, problems)
    assert all(each.message in said for each in problems), "in the same words"


def test_yaml_is_read_as_kubectl_reads_it(cluster: Cluster, acme: str) -> None:
    """What is a number, a truth value or a text differs between YAML libraries."""
    text = yaml.safe_dump(tenant_config(acme)) + "  entries:\n"
    text += "".join(f"  - key: k{number}\n    value: {each}\n" for number, each in enumerate(SCALARS))
    theirs = json.loads(cluster.plane.kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", input=text).stdout)
    (ours,) = documents("-", text)
    assert isinstance(ours, Document)
    read = [[each.get("value") for each in body["spec"]["entries"]] for body in (ours.body, theirs)]
    differing = [each for each in zip(SCALARS, *read, strict=True) if rfc8785.dumps(each[1]) != rfc8785.dumps(each[2])]
    assert not differing, differing


def test_kubectl_finds_it_as_a_plugin() -> None:
    """`kubectl tenantconfig` is the executable kubectl-tenantconfig of this distribution."""
    environment = {**local_environment(), "PATH": f"{PYTHON.parent}{os.pathsep}{os.environ['PATH']}"}

    def kubectl(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(build.binary()), "kubectl", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)

    good = kubectl("tenantconfig", "validate", "-f", str(ROOT / "examples"))
    assert (good.returncode, good.stdout) == (0, "")
    assert ": 0 problems, " in good.stderr
    wrong = kubectl("tenantconfig", "validate")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("Usage: kubectl tenantconfig validate [OPTIONS]\n")
    assert "kubectl-tenantconfig" in kubectl("plugin", "list").stdout
