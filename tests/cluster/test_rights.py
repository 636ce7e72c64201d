"""What the service accounts may do: exactly this, beyond what Kubernetes lets everybody do."""

import pytest

from harness.api import Api, Refused
from harness.cluster import Cluster

SYSTEM = "tenantconfig-system"

WATCH_SERVER = {
    "configmaps": {"list", "watch"},
    "namespaces": {"list", "watch"},
}
CONTROLLER = {
    "tenantconfigs.tenantconfig.dev": {"get", "list", "watch", "patch"},
    "configstores.tenantconfig.dev": {"get", "list", "watch", "patch"},
    "tenantconfigs/status.tenantconfig.dev": {"patch"},
    "configstores/status.tenantconfig.dev": {"patch"},
    "tenantconfigs/finalizers.tenantconfig.dev": {"update"},
    "configmaps": {"get", "list", "watch", "create", "update", "patch", "delete"},
    "namespaces": {"get", "list", "watch"},
    "events": {"create"},
    "customresourcedefinitions.apiextensions.k8s.io": {"list", "watch"},
}
SECRETS = {"secrets": {"get", "list", "watch", "create", "update", "patch", "delete"}}
LEASES = {"leases.coordination.k8s.io": {"get", "create", "update"}}


def rights(someone: Api, namespace: str) -> dict[str, set[str]]:
    """Verbs by resource, as the API server itself sums them up."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = someone.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
    found: dict[str, set[str]] = {}
    for rule in answer["status"]["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault(f"{resource}.{group}".rstrip("."), set()).update(rule["verbs"])
    return found


@pytest.fixture(scope="module")
def elsewhere(cluster: Cluster) -> str:
    """A namespace that is not the operator's."""
    return cluster.namespace()


@pytest.fixture(scope="module")
def everybodys(cluster: Cluster, elsewhere: str) -> dict[str, set[str]]:
    """What a service account may do that nothing was granted to."""
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "nobody", "namespace": elsewhere},
    }
    cluster.admin.create(account)
    return rights(cluster.admin.as_service_account(elsewhere, "nobody"), elsewhere)


def test_the_controller(cluster: Cluster, elsewhere: str, everybodys: dict[str, set[str]]) -> None:
    assert rights(cluster.controller, elsewhere) == everybodys | CONTROLLER | SECRETS
    assert rights(cluster.controller, SYSTEM) == everybodys | CONTROLLER | SECRETS | LEASES


def test_the_watch_server(cluster: Cluster, elsewhere: str, everybodys: dict[str, set[str]]) -> None:
    assert rights(cluster.watch_server, elsewhere) == everybodys | WATCH_SERVER
    assert rights(cluster.watch_server, SYSTEM) == everybodys | WATCH_SERVER


def test_without_the_overlay_the_controller_has_no_secrets(
    cluster: Cluster, elsewhere: str, everybodys: dict[str, set[str]]
) -> None:
    """Someone with the base's role alone stands in for it."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "base", "namespace": elsewhere}}
    cluster.admin.create(account)
    cluster.admin.create(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{elsewhere}-base"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "tenantconfig-controller",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "base", "namespace": elsewhere}],
        }
    )
    base = cluster.admin.as_service_account(elsewhere, "base")
    assert rights(base, elsewhere) == everybodys | CONTROLLER


def test_both_may_ask_what_they_may_and_read_the_keys_of_tokens(cluster: Cluster) -> None:
    for someone in (cluster.controller, cluster.watch_server):
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        question = {"resourceAttributes": {"verb": "list", "resource": "secrets"}}
        answer = someone.request(
            "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {**review, "spec": question}
        )
        assert answer["status"]["allowed"] == (someone is cluster.controller)
        assert someone.request("GET", "/.well-known/openid-configuration")["issuer"]
        assert someone.request("GET", "/openid/v1/jwks")["keys"]


def test_leases_only_at_home(cluster: Cluster, elsewhere: str) -> None:
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "rights-test", "namespace": SYSTEM},
    }
    lease = cluster.controller.create(lease)
    cluster.controller.replace({**lease, "spec": {"holderIdentity": "me"}})
    cluster.admin.delete(lease)
    for someone, namespace in ((cluster.controller, elsewhere), (cluster.watch_server, SYSTEM)):
        with pytest.raises(Refused, match="cannot create resource"):
            someone.create({**lease, "metadata": {"name": "rights-test", "namespace": namespace}})
