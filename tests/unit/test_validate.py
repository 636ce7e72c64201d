"""What `validate` finds beyond the definitions, and the command itself. Parity with the API server: tests/cluster."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from harness.cluster import config_store, namespace, tenant_config
from tenantconfig.app.validate import definitions
from tenantconfig.cli import main
from tenantconfig.manifests import Document
from tenantconfig.schema import KEYWORDS, Schema, check
from tenantconfig.validation import NO_STORES, Problem, Report, validate

ROOT = Path(__file__).resolve().parents[2]
SECRET = "hunter 2!"  # no key, tenant or name can be this
DYNAMODB = config_store("dynamodb", prefixes=["tenant_config_"], dynamodb={"tableName": "tenant-config"})
SSM = config_store("ssm", prefixes=["param_config_"], ssm={"pathPrefix": "/tenant-config"})
ADVANCED = config_store("ssm", prefixes=["param_config_"], ssm={"pathPrefix": "/tenant-config", "tier": "Advanced"})
PLUGIN = config_store("extra", prefixes=["extra_"], plugin={"name": "memory"})
STORES = [DYNAMODB, SSM, PLUGIN]
FROM_SECRET = {"valueFrom": {"secretKeyRef": {"name": "keys", "key": "api"}}}
DEFINITIONS = definitions()


def judged(*bodies: Any) -> Report:
    """The report on objects of one file."""
    return validate([Document("test.yaml", body) for body in bodies], DEFINITIONS)


def config(*entries: dict[str, Any], name: str = "test", home: str = "acme", **fields: Any) -> dict[str, Any]:
    """A TenantConfig with entries."""
    return tenant_config(home, name, entries=list(entries), **fields)


def param(value: Any) -> dict[str, Any]:
    """An entry that goes to SSM."""
    return {"key": "param_config_a", "value": value}


def table(value: Any) -> dict[str, Any]:
    """An entry that goes to DynamoDB."""
    return {"key": "tenant_config_a", "value": value}


PROBLEMS: dict[str, tuple[list[Any], str, str]] = {
    "a number beyond JSON's": (
        [config(table(2**53 + 1))],
        "spec.entries[0]",
        "tenant_config_a has a number that not every JSON reader keeps exactly: quote it",
    ),
    "a key of no store": (
        [*STORES, config({"key": "flag_a", "value": 1})],
        "spec.entries[0].key",
        "no ConfigStore has a prefix of flag_a: "
        "begin it with one of extra_, param_config_, tenant_config_, or add a ConfigStore",
    ),
    "an observed key of no store": (
        [*STORES, config({"key": "flag_a", "policy": "Observe"})],
        "spec.entries[0].key",
        "no ConfigStore has a prefix of flag_a: "
        "begin it with one of extra_, param_config_, tenant_config_, or add a ConfigStore",
    ),
    "empty, to SSM": (
        [*STORES, config(param(""))],
        "spec.entries[0].value",
        "param_config_a is empty, which SSM does not take: leave the entry out, or give it a key of a DynamoDB store",
    ),
    "a template, to SSM": (
        [*STORES, config(param({"a": "{{b}}"}))],
        "spec.entries[0].value",
        "param_config_a contains '{{', which SSM does not take: give it a key of a DynamoDB store",
    ),
    "4 KB and a byte, in UTF-8": (
        [*STORES, config(param("é" * 2048 + "b"))],
        "spec.entries[0].value",
        "param_config_a is larger than the 4096 bytes of a parameter of tier Standard",
    ),
    "8 KB and a byte, as canonical JSON": (
        [ADVANCED, config(param(["a" * 8189]))],
        "spec.entries[0].value",
        "param_config_a is larger than the 8192 bytes of a parameter of tier Advanced",
    ),
    "a Secret's value, to DynamoDB": (
        [*STORES, config({"key": "tenant_config_a", **FROM_SECRET})],
        "spec.entries[0].valueFrom",
        "tenant_config_a is sensitive and routed to DynamoDB: give it a key with the prefix of an SSM store",
    ),
    "more than a ConfigMap holds": (
        [config(*({"key": f"tenant_config_{n}", "value": "v" * 262144} for n in range(4)))],
        "spec.entries",
        "the values are 1048636 bytes, a ConfigMap holds 1048576: split the resource into several scopes",
    ),
    "two resources of one scope": (
        [config(), config(name="other", home="globex")],
        "spec",
        "TenantConfig acme/test (test.yaml) has the scope acme/_/_: delete one of the two, or give it another scope",
    ),
    "two resources of one ConfigMap": (
        [config(), config(name="other", service="s", target={"configMapName": "test"})],
        "spec.target.configMapName",
        "TenantConfig test (test.yaml) has the ConfigMap test: choose another name",
    ),
    "two stores of one prefix": (
        [DYNAMODB, config_store("other", prefixes=["a", "tenant_config_"], ssm={"pathPrefix": "/a"})],
        "spec.prefixes",
        "ConfigStore dynamodb has tenant_config_ too: leave it to one of them",
    ),
    "two stores of one place": (
        [DYNAMODB, config_store("other", prefixes=["a"], dynamodb={"tableName": "tenant-config"})],
        "spec.dynamodb",
        "this is the place of ConfigStore dynamodb: give it the prefixes instead",
    ),
    "a namespace of another tenant": (
        [namespace("acme", {"tenantconfig.dev/tenants": "initech,globex"}), config()],
        "spec.tenantId",
        "namespace acme may not declare tenant acme (only globex, initech): "
        "its administrator permits it in the namespace's annotation tenantconfig.dev/tenants",
    ),
    "a mistyped kind": (
        [{**config(), "kind": "TenantConfigg"}],
        "kind",
        "is no kind of tenantconfig.dev: it has TenantConfig",
    ),
    "another version": (
        [{**DYNAMODB, "apiVersion": "tenantconfig.dev/v1"}],
        "apiVersion",
        "must be tenantconfig.dev/v1alpha1",
    ),
    "no version": (
        [{"kind": "ConfigStore", **{k: DYNAMODB[k] for k in ("metadata", "spec")}}],
        "apiVersion",
        "must be tenantconfig.dev/v1alpha1",
    ),
}

GOOD: dict[str, list[Any]] = {
    "4 KB": [*STORES, config(param("a" * 4096))],
    "8 KB": [ADVANCED, config(param("a" * 8192))],
    "a Secret's value, to SSM": [*STORES, config({"key": "param_config_a", **FROM_SECRET})],
    "observed": [*STORES, config({"key": "param_config_a", "policy": "Observe"})],
    "whatever a plugin may take": [*STORES, config({"key": "extra_a", "value": ""})],
    "without ConfigStores nothing is known of routes": [config({"key": "flag_a", "value": ""})],
    "without the Namespace nothing is known of permission": [namespace("other"), config()],
    "one object in two files": [config(), config()],
    "one ConfigMap name in two namespaces": [config(), config(home="globex", service="s")],
    "a kind of another group": [{"apiVersion": "example.com/v1", "kind": "TenantConfig"}],
}


@pytest.mark.parametrize(("bodies", "field", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_problem(bodies: list[Any], field: str, message: str) -> None:
    found = [(each.field, each.message) for each in judged(*bodies).problems]
    assert found == [(field, message)]


@pytest.mark.parametrize("bodies", GOOD.values(), ids=GOOD)
def test_no_problem(bodies: list[Any]) -> None:
    assert judged(*bodies).problems == ()


def test_an_item_beyond_what_dynamodb_takes() -> None:
    (problem,) = judged(*STORES, config(table("a" * 400 * 1024))).problems
    assert problem.field == "spec.entries[0].value"
    assert problem.message.endswith("DynamoDB takes 409600")


def test_all_problems_at_once_and_each_once() -> None:
    body = config(
        {"key": "a b", "value": 1},
        {"key": "flag_a", "value": 1},
        param(""),
        {"key": "tenant_config_a", "polcy": "Seed"},
        environment="Prod",
    )
    found = [each.field for each in judged(*STORES, {**body, "sepc": 1}).problems]
    assert sorted(found) == [
        "sepc",
        "spec.entries[0].key",
        "spec.entries[1].key",
        "spec.entries[2].value",
        "spec.entries[3].polcy",
        "spec.environment",
    ]


def test_routes_are_not_judged_by_half_of_the_stores() -> None:
    broken = config_store("ssm", prefixes=["param_config_"], ssm={})
    report = judged(DYNAMODB, broken, config(param("")))
    assert [each.field for each in report.problems] == ["spec.ssm.pathPrefix"]
    assert report.notes == ("routes are not judged before ConfigStore ssm is right",)
    assert judged(config()).notes == (NO_STORES,)


FIELDS = [
    *("apiVersion", "kind", "metadata", "spec", "status", "name", "namespace", "labels", "annotations", "tenantId"),
    *("environment", "service", "entries", "key", "value", "valueFrom", "secretKeyRef", "policy", "target", "ssm"),
    *("configMapName", "prefixes", "dynamodb", "tableName", "pathPrefix", "tier", "plugin", "config", "items"),
    "tenantconfig.dev/tenants",
]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["", "a", SECRET])
ANYTHING = st.recursive(
    LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), part, max_size=5)
)


def grafted(whole: Any, data: st.DataObject) -> Any:
    """`whole` with anything in the place of something in it."""
    if not isinstance(whole, dict | list) or not whole or data.draw(st.integers(0, 3)) == 0:
        return data.draw(ANYTHING)
    where = data.draw(st.sampled_from(sorted(whole) if isinstance(whole, dict) else range(len(whole))))
    changed = whole.copy()
    changed[where] = grafted(whole[where], data)
    return changed


ENTRIES = [table(SECRET), {"key": "param_config_b", **FROM_SECRET}, {**param(SECRET), "policy": "Seed"}]
WHOLE = config(*ENTRIES, target={"configMapName": "a"}, environment="e", service="s", suspend=True)
PERMISSION = namespace("acme", {"tenantconfig.dev/tenants": "acme"})
BODIES = [*STORES, ADVANCED, WHOLE]


@given(st.data())
def test_nothing_breaks_it(data: st.DataObject) -> None:
    changed = [grafted(each, data) if data.draw(st.booleans()) else each for each in (PERMISSION, *BODIES)]
    judged(*(each for each in changed if isinstance(each, dict)))


def replaced(whole: Any, part: Any) -> Iterator[Any]:
    """`whole` with `part` in the place of each thing in it, one after the other."""
    yield part
    for where in whole if isinstance(whole, dict) else range(len(whole)) if isinstance(whole, list) else ():
        for changed in replaced(whole[where], part):
            copy = whole.copy()
            copy[where] = changed
            yield copy


@pytest.mark.parametrize(
    "part",
    [SECRET, [SECRET], {"a": SECRET}, 1234567, SECRET * 10000],
    ids=["text", "list", "mapping", "number", "long"],
)
def test_no_value_is_repeated_wherever_it_stands(part: Any) -> None:
    found = [
        problem
        for index, body in enumerate(BODIES)
        for changed in replaced(body, part)
        if isinstance(changed, dict)
        for problem in judged(PERMISSION, *BODIES[:index], changed, *BODIES[index + 1 :]).problems
    ]
    assert found
    assert not [each for each in found if SECRET in each.message or "1234567" in each.message]


def test_a_keyword_or_a_rule_that_nobody_knows_is_not_passed_over() -> None:
    with pytest.raises(NotImplementedError, match="multipleOf"):
        list(check({"type": "number", "multipleOf": 2}, 1))
    with pytest.raises(NotImplementedError, match=r"self\.a"):
        list(check({"type": "object", "x-kubernetes-validations": [{"rule": "self.a"}]}, {}))


def test_the_definitions_are_those_of_the_distribution() -> None:
    version = "tenantconfig.dev/v1alpha1"
    assert {(each.kind, each.api_version) for each in DEFINITIONS} == {
        ("TenantConfig", version),
        ("ConfigStore", version),
    }


def parts(schema: Schema) -> Iterator[Schema]:
    """A schema and all within it."""
    yield schema
    for each in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if each is not None:
            yield from parts(each)


def test_every_keyword_of_the_definitions_is_known() -> None:
    """Wherever it stands: a manifest need not reach it."""
    used = {keyword for each in DEFINITIONS for part in parts(each.schema) for keyword in part}
    assert used - KEYWORDS == set()
    assert {"pattern", "maxItems", "x-kubernetes-list-map-keys", "exclusiveMinimum"} <= used


# The command


def run(*arguments: str | Path, stdin: str | None = None) -> Result:
    """`tenantconfig validate`."""
    return CliRunner().invoke(main, ["validate", *map(str, arguments)], input=stdin)


def test_the_examples_and_manifests_are_good() -> None:
    folders = [ROOT / "examples", *(ROOT / "manifests" / name for name in ("base", "components", "overlays"))]
    result = run(*(part for folder in folders for part in ("-f", folder)))
    assert (result.exit_code, result.stdout) == (0, "")
    assert re.fullmatch(r"[1-9]\d* resources in \d+ files: 0 problems, \d+ other objects ignored\n", result.stderr)


def test_problems_go_to_stdout_the_count_to_stderr(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.yml"
    file.parent.mkdir()
    file.write_text(json.dumps(config(param(""))) + "\n---\nkind: Other\n---\na: [\n")
    (tmp_path / "stores.json").write_text(json.dumps({"kind": "List", "items": [SSM, namespace("acme")]}))
    (tmp_path / "readme.txt").write_text("a: [")
    result = run("-f", tmp_path / "deep", "--stores", tmp_path / "stores.json")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"{file}:6: is not YAML: did not find expected node content",
        f"{file}: TenantConfig acme/test: spec.entries[0].value: param_config_a is empty, which SSM does not take: "
        "leave the entry out, or give it a key of a DynamoDB store",
    ]
    assert result.stderr == "2 resources in 2 files: 2 problems, 1 other object ignored\n"


def test_as_json_and_as_yaml(tmp_path: Path) -> None:
    result = run("-f", "-", "-o", "json", stdin=json.dumps(config(table(1), environment="")))
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    as_yaml = run("-f", "-", "-o", "yaml", stdin=json.dumps(config(table(1), environment="")))
    assert (yaml.safe_load(as_yaml.stdout), as_yaml.exit_code) == (report, result.exit_code)
    assert report["problems"] == [
        {
            "file": "-",
            "line": 0,
            "kind": "TenantConfig",
            "namespace": "acme",
            "name": "test",
            "field": "spec.environment",
            "message": "does not match ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        }
    ]
    assert (report["resources"], report["others"], report["notes"]) == (1, 0, [NO_STORES])


@pytest.mark.parametrize("flag", ["-f", "--stores"])
def test_what_cannot_be_read_is_a_mistake_of_the_command(tmp_path: Path, flag: str) -> None:
    good = ROOT / "examples" / "00-namespaces.yaml"
    absent = run("-f", good, flag, tmp_path / "absent.yaml")
    assert absent.exit_code == 2
    assert absent.stderr.endswith(f"{tmp_path}/absent.yaml cannot be read: No such file or directory\n")
    empty = run("-f", good, flag, tmp_path)
    assert empty.exit_code == 2
    assert f"{tmp_path} has no file *.yaml, *.yml or *.json" in empty.stderr
    assert run().exit_code == 2


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: 1\nb: \xff\n")
    assert run("-f", tmp_path).stdout == f"{tmp_path}/a.yaml:2: is not UTF-8 text\n"


def test_it_loads_nothing_of_the_operators_libraries() -> None:
    program = (
        "import sys; from tenantconfig.app import validate; validate.definitions(); "
        "print(sorted({'boto3', 'botocore', 'kopf', 'kubernetes', 'grpc', 'jwt'} & sys.modules.keys()))"
    )
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"


def test_a_problem_names_where_it_is() -> None:
    assert str(Problem("a.yaml", "ConfigStore", "", "", "spec", "is required")) == (
        "a.yaml: ConfigStore (unnamed): spec: is required"
    )
