"""Puts the operator's definitions, rights and policies on a control plane, as `kubectl apply` does for a user.

The Deployments among them start nothing: there is no kubelet. The processes run
on the host, with the service accounts that this makes.
"""

from pathlib import Path

from harness.controlplane import ControlPlane
from harness.wait import wait_for

ROOT = Path(__file__).resolve().parents[2]
CRDS = ROOT / "crds"
BASE = ROOT / "manifests" / "base"
WITH_SECRETS = ROOT / "manifests" / "overlays" / "secrets"

DEFINITIONS = ("tenantconfigs.tenantconfig.dev", "configstores.tenantconfig.dev")
# What each policy must refuse, whatever else the cluster holds: no namespace may declare this tenant.
PROBES = """
apiVersion: tenantconfig.dev/v1alpha1
kind: TenantConfig
metadata: {name: policy-probe, namespace: default}
spec: {tenantId: policy-probe}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: policy-probe, namespace: default, labels: {tenantconfig.dev/tenant: policy-probe}}
---
apiVersion: v1
kind: Secret
metadata: {name: policy-probe, namespace: default, labels: {tenantconfig.dev/tenant: policy-probe}}
"""
STATUS_PROBE = '{"status": {"observedGeneration": -2}}'  # of a ConfigStore that the base makes; nobody else says that


def install(plane: ControlPlane, manifests: Path = WITH_SECRETS) -> None:
    """Applies crds/ and `manifests`, and returns once the API server enforces both."""
    plane.kubectl("apply", "-f", CRDS)
    plane.kubectl("wait", "--for=condition=Established", "crd", *DEFINITIONS, "--timeout=60s")
    # Established is a moment before served.
    wait_for(lambda: plane.kubectl("get", "tenantconfigs,configstores", check=False).returncode == 0, "CRDs served")
    plane.kubectl("apply", "-k", manifests)
    policies = ["tenantconfigs.tenantconfig.dev", "configmaps.tenantconfig.dev", "status.tenantconfig.dev"]
    policies += ["secrets.tenantconfig.dev"] if manifests == WITH_SECRETS else []
    wait_for(lambda: set(policies) <= refusing_policies(plane), "admission policies in force")


def refusing_policies(plane: ControlPlane) -> set[str]:
    """The policies that refuse what they must; the API server takes them up within a second or so."""
    refusals = plane.kubectl("create", "--dry-run=server", "-f", "-", input=PROBES, check=False).stderr
    status = ("configstore/dynamodb", "--subresource=status", "--type=merge", f"--patch={STATUS_PROBE}")
    refusals += plane.kubectl("patch", "--dry-run=server", *status, check=False).stderr
    return {part.split("'")[0] for part in refusals.split("ValidatingAdmissionPolicy '")[1:]}
