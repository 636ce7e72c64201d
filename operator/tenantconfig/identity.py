"""Bearer tokens to claims: who asks, as vouched for by an issuer that the issuers file names.

Only what the file says counts. A token's own hints at keys (`jku`, `x5u`, `jwk`)
are ignored; algorithms are fixed; keys are fetched through a callable, cached
for a limited time, and looked for again, at most once per cool-down, when a token
names an unknown one. No message contains any part of a token.
"""

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import jwt
from jwt.types import Options
from jwt.utils import base64url_decode

from tenantconfig.issuers import ALGORITHMS, Issuer
from tenantconfig.model import Claims

MAX_TOKEN_BYTES = 16 * 1024
LEEWAY_SECONDS = 10.0  # between clocks, for what may not be in the future
COOL_DOWN_SECONDS = 10.0
KEYS_MAX_AGE_SECONDS = 600.0  # then they are asked for again, and used on if there is no answer
# A key may have been taken back in the meantime. Tokens live about an hour: when an issuer is down for longer, few are
# left to be refused; and who can cut a server off from the issuer must not keep a stolen key alive.
KEYS_DEAD_SECONDS = 3600.0
REQUIRED = ("iss", "aud", "exp", "iat", "sub")

FetchKeys = Callable[[], Awaitable[Mapping[str, Any]]]  # a JWKS
# Asks the API server about a token for one of some audiences. Raises TokenRefused, KeysUnavailable.
Review = Callable[[str, frozenset[str]], Awaitable[None]]

logger = logging.getLogger(__name__)


class TokenRefused(Exception):
    """The caller is nobody; the message says why, for the caller."""


class KeysUnavailable(Exception):
    """The issuer's keys could not be fetched, or not for long: nothing can be said about the caller."""


class Keys:
    """The keys of one issuer. Its name for itself may come later: until then none of its tokens are known as such."""

    def __init__(self, issuer: Issuer, fetch: FetchKeys, clock: Callable[[], float]) -> None:
        self.issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = -math.inf
        self._tried_at = -math.inf
        self._failing = False  # the last time they were asked for
        self._refreshing: asyncio.Task[None] | None = None

    async def find(self, kid: str, algorithm: str) -> jwt.PyJWK:
        """The key, fetched first if it is unknown or what is known is old. Raises TokenRefused, KeysUnavailable."""
        wanted = self._wanted(kid)
        if wanted and self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
        if self._refreshing and (wanted or kid not in self._keys or self._doubtful()):
            await asyncio.shield(self._refreshing)  # who asks may go away: others wait for the same keys
        if self._dead():
            raise KeysUnavailable(f"the keys of issuer {self.issuer.name} cannot be fetched at the moment")
        key = self._keys.get(kid)
        if key is None:
            raise TokenRefused(f"the issuer {self.issuer.name} has no such signing key")
        if key.algorithm_name != algorithm:
            raise TokenRefused("the token's algorithm is not its key's")
        return key

    def _wanted(self, kid: str) -> bool:
        return (kid not in self._keys or self._old()) and self._clock() - self._tried_at >= COOL_DOWN_SECONDS

    def _doubtful(self) -> bool:
        """Whether what is known must not be used while better is on its way."""
        return self._dead() or (self._old() and not self._failing)

    def _old(self) -> bool:
        return self._clock() - self._fetched_at >= KEYS_MAX_AGE_SECONDS

    def _dead(self) -> bool:
        """Whether nothing is known, or nothing that may still be relied on."""
        return self._clock() - self._fetched_at >= KEYS_DEAD_SECONDS

    async def _refresh(self) -> None:
        self._tried_at = self._clock()
        try:
            self._keys = parse_keys(await self._fetch(), self.issuer.algorithms)
            self._fetched_at, self._failing = self._clock(), False
        except Exception as error:  # whatever the callable raises: what is known goes on being used for a while
            self._failing = True
            outcome = "nobody is let in with its tokens" if self._dead() else "those known are used until an hour old"
            logger.warning("cannot fetch the keys of issuer %s (%s): %s", self.issuer.name, outcome, error)
        finally:
            self._refreshing = None


class Verifier:
    """Tokens of any configured issuer; `review` is asked about those whose issuer wants it, once they are valid."""

    def __init__(self, keys: Sequence[Keys], wall_clock: Callable[[], float], review: Review) -> None:
        self._keys = keys
        self._wall_clock = wall_clock
        self._review = review

    async def verify(self, token: str) -> Claims:
        """The claims of a valid token. Raises TokenRefused, KeysUnavailable."""
        header, unverified = _peek(token)
        candidates = [keys for keys in self._keys if keys.issuer.issuer == unverified.get("iss")]
        audiences = _audiences(unverified.get("aud"))
        keys = next((keys for keys in candidates if keys.issuer.audiences & audiences), None)
        if not candidates and not all(keys.issuer.issuer for keys in self._keys):
            raise KeysUnavailable("the API server has not said yet what it calls itself")
        if not candidates:
            raise TokenRefused("the token's issuer is not known here")
        if keys is None:
            raise TokenRefused("the token is not for this audience")
        algorithm, kid = header.get("alg"), header.get("kid", "")
        if not isinstance(algorithm, str) or not isinstance(kid, str):
            raise TokenRefused("the token is malformed")
        if algorithm not in keys.issuer.algorithms:
            raise TokenRefused("the token's algorithm is not allowed")
        key = await keys.find(kid, algorithm)
        claims = check(token, key, keys.issuer, self._wall_clock())
        if keys.issuer.token_review:
            await self._review(token, keys.issuer.audiences)
        return claims


def check(token: str, key: jwt.PyJWK, issuer: Issuer, now: float) -> Claims:
    """The claims of a token signed with `key`. Pure. Raises TokenRefused."""
    options: Options = {"require": list(REQUIRED)}
    options |= {"verify_exp": False, "verify_nbf": False, "verify_iat": False}  # below, by the clock that is given
    try:
        payload = jwt.decode(
            token,
            key,
            algorithms=[key.algorithm_name],
            audience=sorted(issuer.audiences),
            issuer=issuer.issuer,
            options=options,
        )
    except jwt.MissingRequiredClaimError as error:
        raise TokenRefused(f"the token has no claim {error.claim}") from None
    except jwt.PyJWTError as error:
        raise TokenRefused(_refusals.get(type(error), "the token is malformed")) from None
    expires_at = _instant(payload, "exp")
    if expires_at <= now:
        raise TokenRefused("the token has expired")
    if any(_instant(payload, claim) > now + LEEWAY_SECONDS for claim in ("iat", "nbf") if claim in payload):
        raise TokenRefused("the token is not valid yet")
    return _claims(payload, issuer, expires_at)


_refusals: dict[type[jwt.PyJWTError], str] = {
    jwt.InvalidSignatureError: "the token's signature is not its issuer's",
    jwt.InvalidAudienceError: "the token is not for this audience",
    jwt.InvalidIssuerError: "the token's issuer is not known here",
    jwt.InvalidAlgorithmError: "the token's algorithm is not allowed",
}


def parse_keys(jwks: Mapping[str, Any], algorithms: frozenset[str]) -> dict[str, jwt.PyJWK]:
    """The signing keys of a JWKS by kid; what is not for an allowed algorithm is left out."""
    found = {}
    for each in jwks.get("keys", ()):
        algorithm = next((name for name in sorted(algorithms) if _fits(each, name)), None)
        if algorithm and each.get("use", "sig") == "sig":
            try:
                found[str(each.get("kid", ""))] = jwt.PyJWK(dict(each), algorithm=algorithm)
            except jwt.PyJWTError as error:
                logger.warning("a key of a JWKS cannot be used: %s", type(error).__name__)
    return found


def _fits(key: Any, algorithm: str) -> bool:
    if not isinstance(key, Mapping):
        return False
    kind, curve = ALGORITHMS[algorithm]
    return key.get("kty") == kind and key.get("crv") == curve and key.get("alg", algorithm) == algorithm


def _peek(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and payload as the token has them: good for choosing the issuer, and for nothing else."""
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRefused(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
    try:
        decoded = jwt.decode_complete(token, options={"verify_signature": False})
        for part in token.split(".")[:2]:
            json.loads(base64url_decode(part), object_pairs_hook=_once_each)
    except (jwt.PyJWTError, RecursionError):  # brackets without end
        raise TokenRefused("the token is malformed") from None
    return decoded["header"], decoded["payload"]


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a name that is there twice, others might read the other value."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise TokenRefused("the token says one thing twice")
    return found


def _audiences(claim: Any) -> frozenset[str]:
    listed = claim if isinstance(claim, list) else [claim]
    return frozenset(each for each in listed if isinstance(each, str))


def _instant(payload: Mapping[str, Any], claim: str) -> float:
    value = payload[claim]
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number may have any number of digits
        pass
    raise TokenRefused(f"the token's claim {claim} is not a time")


def _claims(payload: Mapping[str, Any], issuer: Issuer, expires_at: float) -> Claims:
    subject = str(payload["sub"])
    if not subject:
        raise TokenRefused("the token's claim sub is empty")
    if issuer.kubernetes:
        namespace = _at(payload, ("kubernetes.io", "namespace"))
        if not isinstance(namespace, str) or not namespace:
            raise TokenRefused("the token names no namespace: it is not a pod's service-account token")
        return Claims(issuer.name, subject, expires_at, issuer.tenants, namespace=namespace)
    return Claims(
        issuer.name,
        subject,
        expires_at,
        issuer.tenants,
        tenants=_texts(_at(payload, issuer.tenant_claim)),
        environments=_texts(_at(payload, issuer.environment_claim)) if issuer.environment_claim else None,
        services=_texts(_at(payload, issuer.service_claim)) if issuer.service_claim else None,
    )


def _at(payload: Any, path: tuple[str, ...]) -> Any:
    for element in path:
        payload = payload.get(element) if isinstance(payload, Mapping) else None
    return payload


def _texts(claim: Any) -> frozenset[str]:
    """A claim that is a text or a list of texts; anything else is nothing."""
    listed = claim if isinstance(claim, list) else [claim]
    return frozenset(each for each in listed if isinstance(each, str) and each)
