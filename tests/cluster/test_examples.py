"""The examples, as a reader would apply them."""

from pathlib import Path
from typing import Any

import yaml

from harness.api import Object
from harness.cluster import Cluster
from harness.install import ROOT
from tenantconfig import cli

EXAMPLES = ROOT / "examples"
STORES = yaml.safe_load_all((ROOT / "manifests" / "base" / "configstores.yaml").read_text())
PREFIXES = {store["metadata"]["name"]: store["spec"]["prefixes"] for store in STORES}


def documents(*files: Path) -> list[Object]:
    """All objects in the files."""
    return [body for file in files for body in yaml.safe_load_all(file.read_text())]


def main_set() -> list[Object]:
    """What `kubectl apply -f examples/` applies, in its order."""
    return documents(*sorted(EXAMPLES.glob("*.yaml")))


def moved(cluster: Cluster, bodies: list[Object]) -> list[Object]:
    """The objects in namespaces of the test's own; the namespaces among them are made."""
    homes = {
        body["metadata"]["name"]: cluster.namespace(body["metadata"]["annotations"]["tenantconfig.dev/tenants"])
        for body in bodies
        if body["kind"] == "Namespace"
    }
    return [
        {**body, "metadata": {**body["metadata"], "namespace": homes[body["metadata"]["namespace"]]}}
        for body in bodies
        if body["kind"] != "Namespace"
    ]


def values(body: Object) -> dict[str, Any]:
    """Values by key."""
    return {entry["key"]: entry["value"] for entry in body["spec"]["entries"]}


def test_all_are_accepted_and_stored_as_written(cluster: Cluster) -> None:
    configs = moved(cluster, main_set())
    assert [body["spec"]["tenantId"] for body in configs] == ["acme", "globex"]
    for body in configs:
        assert cluster.admin.create(body)["spec"] == body["spec"]


def test_every_key_has_a_store_and_both_stores_are_shown() -> None:
    for body in main_set():
        if body["kind"] == "TenantConfig":
            stores = {
                key: [name for name, prefixes in PREFIXES.items() if key.startswith(tuple(prefixes))]
                for key in values(body)
            }
            assert sorted(set(map(tuple, stores.values()))) == [("dynamodb",), ("ssm",)], stores


def test_the_changed_one_differs_in_one_value() -> None:
    (before,) = documents(EXAMPLES / "acme-checkout-prod.yaml")
    (after,) = documents(EXAMPLES / "changed" / "acme-checkout-prod.yaml")
    changed = {key for key, value in values(after).items() if value != values(before)[key]}
    assert changed == {"tenant_config_max_orders"}
    before["spec"].pop("entries")
    after["spec"].pop("entries")
    assert before == after


def test_the_pod_reads_what_the_example_projects(cluster: Cluster) -> None:
    namespaces = [body for body in main_set() if body["kind"] == "Namespace"]
    account, pod = moved(cluster, namespaces + documents(EXAMPLES / "pod" / "checkout.yaml"))
    cluster.admin.create(account)
    made = cluster.admin.create(pod, dry_run=True)
    volumes = {volume["name"]: volume for volume in made["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == "checkout-prod"
    token, _ = volumes["identity"]["projected"]["sources"]
    assert token["serviceAccountToken"]["audience"] == "tenantconfig"
    (issuer,) = yaml.safe_load((ROOT / "manifests" / "base" / "issuers.yaml").read_text())
    assert issuer["audiences"] == ["tenantconfig"]


def test_the_agent_is_a_sidecar_with_the_identity_of_the_pod_and_flags_that_it_has(cluster: Cluster) -> None:
    namespaces = [body for body in main_set() if body["kind"] == "Namespace"]
    account, _ = documents(EXAMPLES / "pod" / "checkout.yaml")
    account, pod = moved(cluster, [*namespaces, account, *documents(EXAMPLES / "pod" / "agent.yaml")])
    cluster.admin.create(account)
    made = cluster.admin.create(pod, dry_run=True)
    (agent,) = made["spec"]["initContainers"]
    assert agent["restartPolicy"] == "Always"
    command, *flags = agent["args"]
    known = {flag for option in cli.main.commands[command].params for flag in option.opts}
    assert {flag.partition("=")[0] for flag in flags} <= known
    assert agent["startupProbe"]["httpGet"]["path"] == "/ready"
