"""The control plane fixture does what tests rely on."""

import pytest

from harness.controlplane import ControlPlane, KubectlFailed
from harness.wait import wait_for


def test_kubectl_reports_what_the_api_server_says(control_plane: ControlPlane) -> None:
    with pytest.raises(KubectlFailed, match='pods "absent" not found'):
        control_plane.kubectl("get", "pod", "absent")
    assert control_plane.kubectl("get", "pod", "absent", check=False).returncode == 1


def test_a_service_account_acts_under_rbac_and_its_requests_are_counted(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "counted")
    wait_for(lambda: control_plane.get("serviceaccount", "default", "counted"), "the default service account")
    account = control_plane.kubeconfig_for("counted", "default")
    mark = control_plane.audit_mark()

    with pytest.raises(KubectlFailed, match="forbidden"):
        control_plane.kubectl("create", "configmap", "mine", kubeconfig=account)

    events = wait_for(lambda: control_plane.audit("counted/default", since=mark), "the audit event")
    assert [(event.verb, event.resource, event.code) for event in events if event.is_write] == [
        ("create", "configmaps", 403)
    ]
    assert control_plane.audit("default/default", since=mark) == []


def test_the_garbage_collector_and_the_namespace_controller_work(control_plane: ControlPlane) -> None:
    control_plane.kubectl("create", "namespace", "collected")
    control_plane.kubectl("create", "configmap", "owner", "-n", "collected")
    owner = control_plane.get("configmap", "owner", "collected")
    assert owner
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    metadata = {"name": "owned", "namespace": "collected", "ownerReferences": [reference]}
    control_plane.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})

    control_plane.kubectl("delete", "configmap", "owner", "-n", "collected")
    wait_for(lambda: control_plane.get("configmap", "owned", "collected") is None, "garbage collection")

    control_plane.kubectl("delete", "namespace", "collected")
    assert control_plane.get("namespace", "collected") is None
