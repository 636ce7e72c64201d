"""Tokens: who is let in, and who is not."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm

from harness.certificates import TokenIssuer
from tenantconfig.identity import (
    COOL_DOWN_SECONDS,
    KEYS_DEAD_SECONDS,
    KEYS_MAX_AGE_SECONDS,
    MAX_TOKEN_BYTES,
    Keys,
    KeysUnavailable,
    TokenRefused,
    Verifier,
)
from tenantconfig.issuers import Issuer

ISSUER = Issuer(
    name="login",
    issuer="https://login.example",
    audiences=frozenset({"tenantconfig"}),
    jwks_uri="https://login.example/keys",
    tenants=frozenset({"acme"}),
    tenant_claim=("custom:tenantId",),
)
TENANT: dict[str, Any] = {"custom:tenantId": "acme"}
SIGNER = TokenIssuer(ISSUER.issuer)  # a key takes a while to make


class Login:
    """An issuer whose keys can be exchanged, and a verifier that trusts it."""

    def __init__(self, issuer: Issuer = ISSUER) -> None:
        self.signer = SIGNER
        self.jwks: dict[str, Any] = self.signer.jwks()
        self.fetched = 0
        self.now = 0.0
        self.wall_clock: Callable[[], float] = time.time
        self.broken = False
        self.asked, self.answers = asyncio.Event(), asyncio.Event()
        self.answers.set()
        self.reviewed: list[frozenset[str]] = []
        keys = Keys(issuer, self._fetch, lambda: self.now)
        self.verifier = Verifier([keys], lambda: self.wall_clock(), self._review)

    async def _fetch(self) -> dict[str, Any]:
        self.fetched += 1
        self.asked.set()
        await self.answers.wait()
        if self.broken:
            raise OSError("unreachable")
        return self.jwks

    async def _review(self, token: str, audiences: frozenset[str]) -> None:
        self.reviewed.append(audiences)

    async def refusal(self, token: str) -> str:
        """Why a token is refused; the message must not give any of it away."""
        with pytest.raises(TokenRefused) as refused:
            await self.verifier.verify(token)
        message = str(refused.value)
        assert not [part for part in token.split(".") if len(part) > 8 and part in message]
        return message


@pytest.fixture
def login() -> Login:
    return Login()


async def test_a_good_token(login: Login) -> None:
    claims = await login.verifier.verify(login.signer.token("tenantconfig", **TENANT))
    assert (claims.issuer, claims.subject, claims.tenants) == ("login", "subject", frozenset({"acme"}))
    assert claims.vouched == frozenset({"acme"})
    assert claims.expires_at > time.time() + 3000


async def test_one_audience_of_several_is_enough(login: Login) -> None:
    await login.verifier.verify(login.signer.token(["other", "tenantconfig"]))


async def test_elliptic_keys(login: Login) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    login.jwks = {"keys": [{**public, "kid": "e"}]}
    payload = jwt.decode(login.signer.token("tenantconfig"), options={"verify_signature": False})
    await login.verifier.verify(jwt.encode(payload, key, algorithm="ES256", headers={"kid": "e"}))


@pytest.mark.parametrize(
    ("audience", "claims", "message"),
    [
        ("other", {}, "audience"),
        ([], {}, "audience"),
        ("tenantconfig", {"iss": "https://other.example"}, "issuer"),
        ("tenantconfig", {"exp": int(time.time()) - 1}, "expired"),
        ("tenantconfig", {"exp": None}, "exp"),
        ("tenantconfig", {"exp": True}, "exp"),
        ("tenantconfig", {"exp": float("inf")}, "exp"),
        ("tenantconfig", {"exp": str(2**40)}, "exp"),
        ("tenantconfig", {"exp": 10**400}, "exp"),
        ("tenantconfig", {"iat": -(10**400)}, "iat"),
        ("tenantconfig", {"nbf": 10**400}, "nbf"),
        ("tenantconfig", {"iat": None}, "iat"),
        ("tenantconfig", {"iat": int(time.time()) + 86_400}, "not valid yet"),
        ("tenantconfig", {"nbf": int(time.time()) + 86_400}, "not valid yet"),
        ("tenantconfig", {"nbf": "now"}, "nbf"),
        ("tenantconfig", {"sub": None}, "sub"),
        ("tenantconfig", {"sub": ""}, "sub"),
        ("tenantconfig", {"aud": None}, "audience"),
        ("tenantconfig", {"iss": None}, "issuer"),
    ],
)
async def test_claims_that_are_refused(login: Login, audience: Any, claims: dict[str, Any], message: str) -> None:
    assert message in await login.refusal(login.signer.token(audience, **claims))


async def test_without_nbf_and_with_a_past_one(login: Login) -> None:
    await login.verifier.verify(login.signer.token("tenantconfig", nbf=int(time.time()) - 5))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "é.è.ê", "e30.e30.e30"])
async def test_no_token_at_all(login: Login, token: str) -> None:
    assert await login.refusal(token)
    assert login.fetched == 0


async def test_a_token_of_any_size_is_not_read(login: Login) -> None:
    assert "longer" in await login.refusal("a" * (MAX_TOKEN_BYTES + 1))


async def test_another_key_under_the_same_name(login: Login) -> None:
    assert "signature" in await login.refusal(login.signer.with_other_key().token("tenantconfig"))


async def test_algorithm_none(login: Login) -> None:
    payload = jwt.decode(login.signer.token("tenantconfig"), options={"verify_signature": False})
    unsigned = jwt.encode(payload, "", algorithm="none", headers={"kid": login.signer.kid})
    assert "algorithm" in await login.refusal(unsigned)


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(login: Login, payload: bytes, header: bytes = b"") -> str:
    """A token of these very bytes under the issuer's own signature, which nobody else has."""
    head = header or json.dumps({"alg": "RS256", "kid": login.signer.kid}).encode()
    said = f"{encoded(head)}.{encoded(payload)}"
    return f"{said}.{encoded(login.signer.sign(said.encode()))}"


async def test_a_claim_that_is_there_twice(login: Login) -> None:
    payload = json.dumps(jwt.decode(login.signer.token("tenantconfig"), options={"verify_signature": False}))
    assert (await login.verifier.verify(signed(login, payload.encode()))).issuer == "login"
    for twice in (f'{{"sub": "another", {payload[1:]}', f'{payload[:-1]}, "deep": [{{"a": 1, "a": 2}}]}}'):
        assert "twice" in await login.refusal(signed(login, twice.encode()))
    header = f'{{"alg": "none", "alg": "RS256", "kid": "{login.signer.kid}"}}'.encode()
    assert "twice" in await login.refusal(signed(login, payload.encode(), header))


@pytest.mark.parametrize(
    "said", [{"crit": ["x"], "x": 1}, {"crit": []}, {"b64": False}, {"crit": ["b64"], "b64": False}]
)
async def test_a_header_that_has_to_be_understood_and_is_not(login: Login, said: dict[str, Any]) -> None:
    payload = json.dumps(jwt.decode(login.signer.token("tenantconfig"), options={"verify_signature": False})).encode()
    header = json.dumps({"alg": "RS256", "kid": login.signer.kid, **said}).encode()
    assert await login.refusal(signed(login, payload, header))


@pytest.mark.parametrize("shape", ["[", '{"a":'])
async def test_brackets_without_end(login: Login, shape: str) -> None:
    depth = MAX_TOKEN_BYTES // len(shape) // 2
    closing = {"[": "]", '{"a":': "}"}[shape]
    nested = f"{shape * depth}1{closing * depth}"
    payload = f'{{"iss": "{ISSUER.issuer}", "aud": "tenantconfig", "x": {nested}}}'.encode()
    assert await login.refusal(f"{encoded({'alg': 'RS256'})}.{encoded(payload)}.x"[:MAX_TOKEN_BYTES])
    assert await login.refusal(f"{encoded(nested[:6000].encode())}.{encoded(b'{}')}.x")


async def test_a_token_within_a_token(login: Login) -> None:
    inner = login.signer.token("tenantconfig")
    header = json.dumps({"alg": "RS256", "kid": login.signer.kid, "cty": "JWT"}).encode()
    for payload in (inner.encode(), json.dumps(inner).encode(), json.dumps([inner]).encode()):
        assert await login.refusal(signed(login, payload, header))
    assert await login.refusal(f"{inner}.{inner}")


@pytest.mark.parametrize(
    "kid", ["../../../dev/null", "' OR 1=1 --", "key-1\x00", "http://evil.example/key", "", None, 1, ["key-1"], {}]
)
async def test_key_names_that_are_none(login: Login, kid: object) -> None:
    payload = json.dumps(jwt.decode(login.signer.token("tenantconfig"), options={"verify_signature": False})).encode()
    header = json.dumps({"alg": "RS256"} | ({"kid": kid} if kid is not None else {})).encode()
    assert await login.refusal(signed(login, payload, header))


async def test_a_flood_of_unknown_key_names_is_one_question(login: Login) -> None:
    await login.verifier.verify(login.signer.token("tenantconfig"))
    login.now = COOL_DOWN_SECONDS
    payload = json.dumps(jwt.decode(login.signer.token("tenantconfig"), options={"verify_signature": False})).encode()
    for number in range(1000):
        header = json.dumps({"alg": "RS256", "kid": f"unknown-{number}"}).encode()
        assert "signing key" in await login.refusal(signed(login, payload, header))
    assert login.fetched == 2


async def test_the_public_key_as_a_shared_secret(login: Login) -> None:
    payload = jwt.decode(login.signer.token("tenantconfig"), options={"verify_signature": False})
    public = jwt.PyJWK(login.jwks["keys"][0]).key
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encoded({'alg': 'HS256', 'kid': login.signer.kid})}.{encoded(payload)}"
    signature = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
    assert "algorithm" in await login.refusal(f"{signed}.{encoded(signature)}")


@pytest.mark.parametrize("key", ["x", None, 1, [], {}, {"kty": "RSA", "n": "!"}, {"kty": "EC", "crv": "P-256"}])
async def test_a_key_that_is_none_keeps_nobody_from_the_others(login: Login, key: object) -> None:
    login.jwks = {"keys": [key, *login.signer.jwks()["keys"]]}
    assert (await login.verifier.verify(login.signer.token("tenantconfig"))).issuer == "login"


async def test_an_algorithm_that_is_not_the_keys(login: Login) -> None:
    token = login.signer.token("tenantconfig")
    _, payload, signature = token.split(".")
    header = encoded({"alg": "ES256", "kid": login.signer.kid})
    assert "algorithm" in await login.refusal(f"{header}.{payload}.{signature}")


async def test_an_issuer_that_allows_fewer_algorithms() -> None:
    login = Login(Issuer(**{**_fields(ISSUER), "algorithms": frozenset({"ES256"})}))
    assert "algorithm" in await login.refusal(login.signer.token("tenantconfig"))


async def test_a_key_that_the_token_brings_along_is_ignored(login: Login) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    payload = jwt.decode(login.signer.token("tenantconfig"), options={"verify_signature": False})
    own = TokenIssuer(ISSUER.issuer).jwks()["keys"][0]
    for hint in ({"jwk": own}, {"jku": "https://evil.example"}, {"x5u": "https://evil.example"}):
        headers = {"kid": login.signer.kid, **hint}
        assert "signature" in await login.refusal(jwt.encode(payload, key, algorithm="RS256", headers=headers))


@pytest.mark.parametrize("known", [False, True])
async def test_tokens_that_come_while_the_keys_are_on_their_way_wait_for_them(login: Login, known: bool) -> None:
    if known:
        await login.verifier.verify(login.signer.token("tenantconfig"))
        login.now = COOL_DOWN_SECONDS
    rotated = TokenIssuer(ISSUER.issuer, "key-2")
    login.jwks = rotated.jwks()
    login.asked.clear()
    login.answers.clear()
    asking = [asyncio.create_task(login.verifier.verify(rotated.token("tenantconfig"))) for _ in range(3)]
    await login.asked.wait()
    if known:  # whose key is there is not held up
        await login.verifier.verify(login.signer.token("tenantconfig"))
    login.answers.set()
    assert [(await each).subject for each in asking] == ["subject"] * 3
    assert login.fetched == 1 + known


async def test_a_key_that_was_taken_back_is_not_used_while_the_new_ones_are_on_their_way(login: Login) -> None:
    token = login.signer.token("tenantconfig")
    await login.verifier.verify(token)
    login.now = KEYS_MAX_AGE_SECONDS
    login.jwks = TokenIssuer(ISSUER.issuer, "key-2").jwks()
    login.asked.clear()
    login.answers.clear()
    asking = [asyncio.create_task(login.verifier.verify(token)) for _ in range(3)]
    await login.asked.wait()
    login.answers.set()
    assert [type(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == [TokenRefused] * 3


async def test_who_goes_away_while_the_keys_are_on_their_way_keeps_nobody_from_them(login: Login) -> None:
    login.answers.clear()
    asking = asyncio.create_task(login.verifier.verify(login.signer.token("tenantconfig")))
    await login.asked.wait()
    asking.cancel()
    login.answers.set()
    await login.verifier.verify(login.signer.token("tenantconfig"))
    assert login.fetched == 1


async def test_keys_are_fetched_once_and_again_for_an_unknown_one_after_the_cool_down(login: Login) -> None:
    for _ in range(3):
        await login.verifier.verify(login.signer.token("tenantconfig"))
    assert login.fetched == 1
    rotated = TokenIssuer(ISSUER.issuer, "key-2")
    login.jwks = rotated.jwks()
    for _ in range(3):
        assert "signing key" in await login.refusal(rotated.token("tenantconfig"))
    assert login.fetched == 1
    login.now = COOL_DOWN_SECONDS
    await login.verifier.verify(rotated.token("tenantconfig"))
    assert login.fetched == 2


async def test_a_key_that_was_taken_back_is_noticed(login: Login) -> None:
    token = login.signer.token("tenantconfig")
    await login.verifier.verify(token)
    login.jwks = {"keys": []}
    login.now = KEYS_MAX_AGE_SECONDS
    assert "signing key" in await login.refusal(token)


async def test_without_keys_nothing_is_said_about_the_token(login: Login) -> None:
    login.broken = True
    with pytest.raises(KeysUnavailable):
        await login.verifier.verify(login.signer.token("tenantconfig"))


async def test_known_keys_outlive_an_outage_of_their_issuer(login: Login) -> None:
    await login.verifier.verify(login.signer.token("tenantconfig"))
    login.broken, login.now = True, KEYS_MAX_AGE_SECONDS
    await login.verifier.verify(login.signer.token("tenantconfig"))
    assert login.fetched == 2


async def test_known_keys_do_not_outlive_an_outage_without_end(login: Login, caplog: pytest.LogCaptureFixture) -> None:
    """One of them may have been taken back meanwhile."""
    token = login.signer.token("tenantconfig")
    await login.verifier.verify(token)
    login.broken, login.now = True, KEYS_DEAD_SECONDS - 1
    await login.verifier.verify(token)
    assert "login (those known are used until an hour old): unreachable" in caplog.text
    login.now = KEYS_DEAD_SECONDS
    with pytest.raises(KeysUnavailable, match="login cannot be fetched"):
        await login.verifier.verify(token)
    login.now += COOL_DOWN_SECONDS
    with pytest.raises(KeysUnavailable):
        await login.verifier.verify(token)
    assert "login (nobody is let in with its tokens): unreachable" in caplog.text
    login.broken, login.now = False, login.now + COOL_DOWN_SECONDS
    await login.verifier.verify(token)


async def test_a_key_that_was_taken_back_during_an_outage_is_not_used_after_it(login: Login) -> None:
    token = login.signer.token("tenantconfig")
    await login.verifier.verify(token)
    login.broken, login.now = True, KEYS_DEAD_SECONDS
    login.jwks = TokenIssuer(ISSUER.issuer, "key-2").jwks()
    with pytest.raises(KeysUnavailable):
        await login.verifier.verify(token)
    login.broken, login.now = False, KEYS_DEAD_SECONDS + COOL_DOWN_SECONDS
    assert "signing key" in await login.refusal(token)


async def test_tokens_that_come_while_dead_keys_are_fetched_again_wait_for_them(login: Login) -> None:
    token = login.signer.token("tenantconfig")
    await login.verifier.verify(token)
    login.now = KEYS_DEAD_SECONDS
    login.asked.clear()
    login.answers.clear()
    asking = [asyncio.create_task(login.verifier.verify(token)) for _ in range(3)]
    await login.asked.wait()
    login.answers.set()
    assert [(await each).subject for each in asking] == ["subject"] * 3
    assert login.fetched == 2


@pytest.mark.parametrize(
    ("claim", "expected"),
    [("acme", {"acme"}), (["acme", "globex"], {"acme", "globex"}), (7, set()), ("", set()), (["", 1], set())],
)
async def test_a_tenant_claim_is_a_text_or_texts(login: Login, claim: Any, expected: set[str]) -> None:
    claims = await login.verifier.verify(login.signer.token("tenantconfig", **{"custom:tenantId": claim}))
    assert claims.tenants == expected
    assert claims.environments is None


async def test_claims_inside_claims_and_claims_that_are_missing() -> None:
    paths = {"tenant_claim": ("https://x.example/app", "tenant"), "environment_claim": ("env",)}
    login = Login(Issuer(**{**_fields(ISSUER), **paths}))
    nested: dict[str, Any] = {"https://x.example/app": {"tenant": "acme"}}
    token = login.signer.token("tenantconfig", **nested)
    claims = await login.verifier.verify(token)
    assert claims.tenants == {"acme"}
    assert claims.environments == frozenset()


async def test_a_service_account_has_its_namespace() -> None:
    cluster = Issuer("cluster", ISSUER.issuer, ISSUER.audiences, kubernetes=True, tenants=frozenset({"*"}))
    login = Login(cluster)
    namespaced: dict[str, Any] = {"kubernetes.io": {"namespace": "home"}}
    token = login.signer.token("tenantconfig", **namespaced)
    assert (await login.verifier.verify(token)).namespace == "home"
    assert "namespace" in await login.refusal(login.signer.token("tenantconfig"))


async def test_the_api_server_is_asked_about_valid_tokens_alone_and_only_where_the_file_says_so(login: Login) -> None:
    cluster = Issuer("cluster", ISSUER.issuer, ISSUER.audiences, kubernetes=True, token_review=True)
    asking = Login(cluster)
    namespaced: dict[str, Any] = {"kubernetes.io": {"namespace": "home"}}
    await asking.refusal(login.signer.token("tenantconfig", lifetime=-1, **namespaced))
    assert asking.reviewed == []
    await asking.verifier.verify(login.signer.token("tenantconfig", **namespaced))
    assert asking.reviewed == [ISSUER.audiences]
    await login.verifier.verify(login.signer.token("tenantconfig"))
    assert login.reviewed == []


def _fields(issuer: Issuer) -> dict[str, Any]:
    return {name: getattr(issuer, name) for name in Issuer.__dataclass_fields__}
