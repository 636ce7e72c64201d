"""The issuers file: what it says, and how it names its faults."""

from pathlib import Path
from typing import Any

import pytest

from tenantconfig.app import Failure
from tenantconfig.app.issuers import name_issuers, read_issuers
from tenantconfig.identity import Keys
from tenantconfig.issuers import Issuer, IssuersInvalid, parse_issuers

CLUSTER = {"name": "cluster", "audiences": ["tenantconfig"], "kubernetes": True}
OIDC = {
    "name": "login",
    "issuer": "https://login.example",
    "audiences": ["a", "b"],
    "jwksUri": "https://login.example/keys",
    "algorithms": ["ES256"],
    "tenants": ["acme"],
    "tenantClaim": ["custom:tenantId"],
    "serviceClaim": ["app", "service"],
}


def test_an_issuers_file() -> None:
    cluster, login = parse_issuers([CLUSTER, OIDC])
    assert cluster == Issuer("cluster", "", frozenset({"tenantconfig"}), kubernetes=True, tenants=frozenset({"*"}))
    assert login.algorithms == {"ES256"}
    assert login.service_claim == ("app", "service")
    assert not cluster.token_review
    assert parse_issuers([{**CLUSTER, "tokenReview": True}])[0].token_review


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, "list"),
        ([], "list"),
        ({}, "list"),
        (["x"], "[0]"),
        ([CLUSTER, CLUSTER], "[1].name"),
        ([{**CLUSTER, "audience": "x"}], "[0].audience"),
        ([{**CLUSTER, "audiences": []}], "[0].audiences"),
        ([{**CLUSTER, "audiences": "tenantconfig"}], "[0].audiences"),
        ([{**CLUSTER, "name": ""}], "[0].name"),
        ([{**CLUSTER, "kubernetes": "yes"}], "[0].kubernetes"),
        ([{**CLUSTER, "tokenReview": "yes"}], "[0].tokenReview"),
        ([{**OIDC, "tokenReview": True}], "[0].tokenReview"),
        ([{**CLUSTER, "jwksFile": "x"}], "exactly one"),
        ([{**CLUSTER, "tenantClaim": ["x"]}], "[0]"),
        ([CLUSTER, {**OIDC, "issuer": ""}], "[1].issuer"),
        ([{**OIDC, "jwksUri": "http://login.example"}], "[0].jwksUri"),
        ([{**OIDC, "jwksUri": ""}], "exactly one"),
        ([{**OIDC, "algorithms": ["HS256"]}], "[0].algorithms"),
        ([{**OIDC, "algorithms": ["none"]}], "[0].algorithms"),
        ([{**OIDC, "tenants": None}], "[0].tenants"),
        ([{**OIDC, "tenantClaim": "custom:tenantId"}], "[0].tenantClaim"),
        ([{**OIDC, "tenantClaim": None}], "[0].tenantClaim"),
        ([{**OIDC, "environmentClaim": [1]}], "[0].environmentClaim"),
    ],
)
def test_an_issuers_file_that_names_its_fault(document: Any, field: str) -> None:
    with pytest.raises(IssuersInvalid, match=field.replace("[", r"\[").replace("]", r"\]")):
        parse_issuers(document)


OTHER_LOGIN = {**OIDC, "name": "other", "tenants": ["globex"]}
OTHER_CLUSTER = {**CLUSTER, "name": "other", "tenants": ["globex"]}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([OIDC, {**OTHER_LOGIN, "audiences": ["c", "b"]}], "[1].audiences: other and login are for the same tokens"),
        ([OIDC, {**OTHER_LOGIN, "audiences": ["c", "b"]}], "(audience b of https://login.example)"),
        ([OIDC, CLUSTER, OTHER_LOGIN], "[2].audiences: other and login"),
        ([CLUSTER, OTHER_CLUSTER], "(audience tenantconfig of the cluster itself): give each an audience"),
        ([CLUSTER, {**OTHER_CLUSTER, "issuer": "https://k8s"}], "(audience tenantconfig of https://k8s)"),
        ([{**CLUSTER, "issuer": "https://k8s"}, {**OTHER_CLUSTER, "issuer": "https://k8s"}], "or make them one entry"),
        ([{**CLUSTER, "issuer": "https://login.example"}, {**OIDC, "audiences": ["tenantconfig"]}], "[1].audiences"),
    ],
)
def test_two_entries_for_the_same_tokens(document: Any, said: str) -> None:
    with pytest.raises(IssuersInvalid) as refused:
        parse_issuers(document)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "document",
    [
        [OIDC, {**OTHER_LOGIN, "audiences": ["c"]}],
        [OIDC, {**OTHER_LOGIN, "issuer": "https://other.example"}],
        [CLUSTER, {**OTHER_CLUSTER, "audiences": ["other"]}],
        [CLUSTER, {**OIDC, "audiences": ["tenantconfig"]}],
    ],
    ids=["audiences", "issuers", "audiences of the cluster", "the cluster and another issuer"],
)
def test_two_entries_for_different_tokens(document: Any) -> None:
    assert len(parse_issuers(document)) == 2


def test_a_cluster_that_changes_its_name_has_both_for_a_while() -> None:
    old, new = {**CLUSTER, "issuer": "https://old"}, {**OTHER_CLUSTER, "issuer": "https://new"}
    assert len(parse_issuers([old, new])) == 2


async def test_two_entries_for_the_same_tokens_once_the_cluster_has_said_its_name() -> None:
    issuers = parse_issuers([CLUSTER, {**OIDC, "audiences": ["tenantconfig"]}])

    class Cluster:
        async def get(self, path: str) -> dict[str, Any]:
            assert path == "/.well-known/openid-configuration"
            return {"issuer": OIDC["issuer"]}

    async def fetch() -> dict[str, Any]:
        raise AssertionError("no keys are asked for")

    keys = [Keys(issuer, fetch, lambda: 0.0) for issuer in issuers]
    cluster: Any = Cluster()
    with pytest.raises(Failure, match=r"\[1\]\.audiences: login and cluster are for the same tokens"):
        await name_issuers(keys, cluster)


FILE = """
- name: login
  issuer: https://login.example
  audiences: [a]
  jwksUri: https://login.example/keys
  tenants: [acme]
  tenantClaim: [tenant]
"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"{FILE}  tenants: ['*']\n".encode(), "tenants is there twice"),
        (f"{FILE}# gr\u00fcn\n".encode("latin-1"), "is not YAML"),
        (b"- {name: login", "is not YAML"),
        (b"- {name: 2026-13-45}", "is not YAML"),
        (b"- {name: !!timestamp nonsense}", "is not YAML"),
        (b"[" * 20_000, "is not YAML"),
        (b"", "a list of issuers is wanted"),
    ],
    ids=["a field twice", "no UTF-8", "no end", "no date", "no time", "no bottom", "empty"],
)
def test_a_file_that_cannot_be_used_is_said_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "issuers.yaml"
    file.write_bytes(content)
    with pytest.raises(Failure, match=said) as failure:
        read_issuers(file)
    assert str(file) in str(failure.value)


def test_what_entries_have_in_common_may_be_said_once(tmp_path: Path) -> None:
    file = tmp_path / "issuers.yaml"
    file.write_text(FILE.replace("- name", "- &login\n  name") + "- {<<: *login, name: other, audiences: [b]}\n")
    assert [each.name for each in read_issuers(file)] == ["login", "other"]
