"""The manifests as they are in the repository."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.api import Object
from harness.cluster import Cluster
from harness.install import BASE, CRDS, WITH_SECRETS
from tenantconfig.app.probes import READY_PATH

DEPLOYMENTS = pytest.mark.parametrize("name", ["controller", "watch-server"])


def rendered(cluster: Cluster, directory: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects that kustomize makes of a directory, by kind and name."""
    documents = yaml.safe_load_all(cluster.plane.kubectl("kustomize", directory).stdout)
    return {(each["kind"], each["metadata"]["name"]): each for each in documents}


def test_the_overlay_only_adds_access_to_secrets(cluster: Cluster) -> None:
    base, overlay = rendered(cluster, BASE), rendered(cluster, WITH_SECRETS)
    assert {key: overlay[key] for key in base} == base
    assert overlay.keys() - base.keys() == {
        ("ClusterRole", "tenantconfig-controller-secrets"),
        ("ClusterRoleBinding", "tenantconfig-controller-secrets"),
        ("ValidatingAdmissionPolicy", "secrets.tenantconfig.dev"),
        ("ValidatingAdmissionPolicyBinding", "secrets.tenantconfig.dev"),
    }


def test_the_definitions_may_be_applied_either_way(cluster: Cluster) -> None:
    for flag in ("-f", "-k"):
        applied = cluster.plane.kubectl("apply", flag, CRDS).stdout
        assert applied.count("unchanged") == 2, "and the API server stores them as they are written"


@DEPLOYMENTS
def test_the_pods_satisfy_the_restricted_standard(cluster: Cluster, name: str) -> None:
    """The operator's namespace enforces it. Nothing here makes pods of Deployments, so the test does."""
    body = {"apiVersion": "apps/v1", "kind": "Deployment"}
    deployment = cluster.admin.get({**body, "metadata": {"name": name, "namespace": "tenantconfig-system"}})
    template = deployment["spec"]["template"]
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": name, "namespace": "tenantconfig-system"},
        "spec": template["spec"],
    }
    made = cluster.admin.create(pod, dry_run=True)
    assert made["spec"]["serviceAccountName"] == name
    assert made["spec"]["containers"][0]["args"][0] == name, "its command is its name"


def test_the_watch_server_reads_the_issuers_of_the_repository(cluster: Cluster) -> None:
    objects = rendered(cluster, BASE)
    issuers = next(body for (kind, _), body in objects.items() if kind == "ConfigMap")
    volumes = objects["Deployment", "watch-server"]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "issuers", "configMap": {"name": issuers["metadata"]["name"]}} in volumes
    assert issuers["data"] == {"issuers.yaml": (BASE / "issuers.yaml").read_text()}


def test_the_watch_server_is_ready_when_it_says_so(cluster: Cluster) -> None:
    (container,) = rendered(cluster, BASE)["Deployment", "watch-server"]["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": READY_PATH, "port": "metrics"}
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert f"--metrics-port={ports['metrics']}" in container["args"]
