"""Tokens as well-known services shape them: what an entry of the issuers file makes of each."""

import time
from typing import Any

import pytest

from harness.certificates import TokenIssuer
from tenantconfig.access import denial
from tenantconfig.identity import Keys, TokenRefused, Verifier
from tenantconfig.issuers import Issuer, parse_issuers
from tenantconfig.model import Claims, NamespaceRights, Scope

COGNITO = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI"
KEYCLOAK = "https://sso.example/realms/shop"
AUTH0 = "https://shop.eu.auth0.com/"
ENTRA = "https://login.microsoftonline.com/9122040d-6c67-4c5b-b112-36a304b66dad/v2.0"

# By service: what the issuers file says, and the claims of a token beside `sub`, `iat` and `exp`.
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "Cognito ID token": (
        {
            "issuer": COGNITO,
            "audiences": ["6lqk2hm1f8example"],
            "tenantClaim": ["custom:tenantId"],
            "environmentClaim": ["custom:environment"],
        },
        {
            "aud": "6lqk2hm1f8example",
            "token_use": "id",
            "auth_time": 1764000000,
            "cognito:username": "jane",
            "cognito:groups": ["admins"],
            "email_verified": True,
            "custom:tenantId": "acme",
            "custom:environment": "prod",
        },
    ),
    "Keycloak access token": (
        {
            "issuer": KEYCLOAK,
            "audiences": ["tenantconfig"],
            "tenantClaim": ["organization", "tenants"],
            "environmentClaim": ["resource_access", "tenantconfig", "roles"],
        },
        {
            "aud": ["tenantconfig", "account"],
            "typ": "Bearer",
            "azp": "checkout",
            "realm_access": {"roles": ["offline_access"]},
            "resource_access": {"tenantconfig": {"roles": ["prod", "test"]}, "account": {"roles": ["view-profile"]}},
            "organization": {"tenants": ["acme", "initech"]},
            "scope": "openid profile",
        },
    ),
    "Auth0 access token": (
        {
            "issuer": AUTH0,
            "audiences": ["https://config.example/"],
            "tenantClaim": ["https://config.example/tenant"],
            "environmentClaim": ["https://config.example/environments"],
        },
        {
            "aud": ["https://config.example/", "https://shop.eu.auth0.com/userinfo"],
            "azp": "my_client_id",
            "scope": "openid",
            "permissions": ["read:config"],
            "https://config.example/tenant": "acme",
            "https://config.example/environments": ["prod"],
        },
    ),
    "Entra ID access token": (
        {
            "issuer": ENTRA,
            "audiences": ["6e74172b-be56-4843-9ff4-e66a39bb12e3"],
            "tenantClaim": ["extn.tenant"],
            "environmentClaim": ["roles"],
        },
        {
            "aud": "6e74172b-be56-4843-9ff4-e66a39bb12e3",
            "ver": "2.0",
            "tid": "9122040d-6c67-4c5b-b112-36a304b66dad",
            "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
            "nbf": 1764000000,
            "roles": ["prod"],
            "extn.tenant": ["acme"],
        },
    ),
}


def nobody(namespace: str) -> NamespaceRights | None:
    return None


async def read(entry: dict[str, Any], claims: dict[str, Any]) -> Claims:
    """The claims of a token that the service has signed, as an issuers file with this one entry lets them through."""
    document = {"name": "login", "jwksUri": f"{entry['issuer']}keys", "tenants": ["acme", "globex"], **entry}
    (issuer,) = parse_issuers([document])
    assert isinstance(issuer, Issuer)
    signer = TokenIssuer(issuer.issuer)

    async def fetch() -> dict[str, Any]:
        return signer.jwks()

    async def no_review(token: str, audiences: frozenset[str]) -> None:
        raise AssertionError("only the cluster's own are reviewed")

    verifier = Verifier([Keys(issuer, fetch, time.monotonic)], time.time, no_review)
    return await verifier.verify(signer.token(claims["aud"], **claims))


@pytest.mark.parametrize("shape", SHAPES)
async def test_its_own_tenant_and_environment_and_nothing_else(shape: str) -> None:
    claims = await read(*SHAPES[shape])
    assert denial(claims, Scope("acme", "prod", "checkout"), nobody) is None
    for scope in (Scope("globex", "prod"), Scope("acme", "stage"), Scope("acme")):
        assert denial(claims, scope, nobody), scope


@pytest.mark.parametrize("field", ["tenantClaim", "environmentClaim"])
@pytest.mark.parametrize("gone", ["missing", "empty", "null", "another type"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_a_claim_that_the_file_names_and_the_token_lacks_denies(shape: str, field: str, gone: str) -> None:
    entry, full = SHAPES[shape]
    first, *_ = entry[field]
    claims = dict(full)
    if gone == "missing":
        del claims[first]
    else:
        claims[first] = {"empty": "", "null": None, "another type": 1}[gone]
    found = await read(entry, {key: value for key, value in claims.items() if value is not None})
    assert denial(found, Scope("acme", "prod", "checkout"), nobody)


@pytest.mark.parametrize("shape", SHAPES)
async def test_an_issuer_does_not_speak_for_a_tenant_outside_its_list(shape: str) -> None:
    entry, claims = SHAPES[shape]
    found = await read({**entry, "tenants": ["globex"]}, claims)
    assert denial(found, Scope("acme", "prod"), nobody) == (
        "not permitted to read scope acme/prod/_: the issuer login may not speak for the tenant"
    )


async def test_a_cognito_access_token_has_no_audience_and_is_refused() -> None:
    entry, claims = SHAPES["Cognito ID token"]
    access = {**claims, "aud": None, "token_use": "access", "client_id": "6lqk2hm1f8example"}
    with pytest.raises(TokenRefused, match="audience"):
        await read(entry, access)


async def test_the_claims_of_groups_and_scopes_are_not_tenants() -> None:
    """A path that leads into a claim of another shape finds nothing."""
    entry, claims = SHAPES["Keycloak access token"]
    for path in (["resource_access"], ["organization"], ["scope", "tenants"], ["aud", "0"]):
        found = await read({**entry, "tenantClaim": path}, claims)
        assert found.tenants == frozenset()
