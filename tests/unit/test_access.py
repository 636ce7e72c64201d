"""Who may read which scope."""

import pytest

from tenantconfig.access import Rights, denial
from tenantconfig.model import Claims, NamespaceRights, Scope

ACME = Scope("acme", "prod", "checkout")
EVERYONE = frozenset({"*"})


def pod(vouched: frozenset[str] = EVERYONE) -> Claims:
    return Claims("cluster", "system:serviceaccount:home:app", 0.0, vouched, namespace="home")


def user(*tenants: str, environments: set[str] | None = None, services: set[str] | None = None) -> Claims:
    limits = [frozenset(each) if each is not None else None for each in (environments, services)]
    return Claims("login", "me", 0.0, frozenset({"acme"}), None, frozenset(tenants), limits[0], limits[1])


def as_annotated(**annotations: str) -> NamespaceRights:
    return NamespaceRights.from_annotations({f"tenantconfig.dev/{name}": text for name, text in annotations.items()})


def known(**namespaces: NamespaceRights) -> Rights:
    return lambda namespace: namespaces.get(namespace)


@pytest.mark.parametrize(
    ("rights", "permitted"),
    [
        (as_annotated(tenants="acme"), True),
        (as_annotated(tenants=" globex , acme "), True),
        (as_annotated(tenants="globex"), False),
        (as_annotated(tenants="*"), False),
        (as_annotated(tenants="*, acme"), True),
        (as_annotated(tenants="acme", **{"readable-tenants": "globex"}), False),
        (as_annotated(tenants="acme", **{"readable-tenants": ""}), False),
        (as_annotated(**{"readable-tenants": "acme"}), True),
        (as_annotated(**{"readable-tenants": "*"}), True),
        (as_annotated(tenants="acmeacme"), False),
        (as_annotated(), False),
    ],
)
def test_a_pod_reads_what_its_namespace_may(rights: NamespaceRights, permitted: bool) -> None:
    assert (denial(pod(), ACME, known(home=rights)) is None) is permitted


def test_a_pod_of_an_unknown_namespace_reads_nothing() -> None:
    assert denial(pod(), ACME, known())


def test_an_issuer_speaks_for_its_tenants_only() -> None:
    rights = known(home=as_annotated(**{"readable-tenants": "*"}))
    assert denial(pod(frozenset({"acme"})), ACME, rights) is None
    assert denial(pod(frozenset({"acme"})), Scope("globex"), rights)
    assert denial(user("globex"), Scope("globex"), rights)


def nowhere(_: str) -> None:
    raise AssertionError("nobody's namespace matters")


@pytest.mark.parametrize(
    ("claims", "permitted"),
    [
        (user("acme"), True),
        (user("globex"), False),
        (user("*"), False),
        (user(), False),
        (user("acme", environments={"prod"}), True),
        (user("acme", environments={"test"}), False),
        (user("acme", environments=set()), False),
        (user("acme", services={"checkout", "search"}), True),
        (user("acme", services=set()), False),
        (user("acme", environments={"prod"}, services={"search"}), False),
    ],
)
def test_others_read_what_their_claims_say(claims: Claims, permitted: bool) -> None:
    assert (denial(claims, ACME, nowhere) is None) is permitted


def test_a_claim_to_an_environment_does_not_cover_a_scope_without_one() -> None:
    assert denial(user("acme", environments={"prod"}), Scope("acme"), nowhere)


def test_the_message_names_the_scope() -> None:
    message = denial(pod(), ACME, known())
    assert message
    assert "acme/prod/checkout" in message
