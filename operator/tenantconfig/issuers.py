"""The issuers file: whose tokens are accepted, and what they may speak for. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenantconfig.model import ALL_TENANTS

ALGORITHMS = {"RS256": ("RSA", None), "ES256": ("EC", "P-256")}  # with the key type and curve that each needs


class IssuersInvalid(Exception):
    """The issuers file cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """One entry of the issuers file."""

    name: str
    issuer: str  # the `iss` of its tokens; empty for the cluster's own: as the API server says
    audiences: frozenset[str]
    jwks_uri: str = ""
    jwks_file: str = ""
    kubernetes: bool = False
    token_review: bool = False  # the API server is asked too: it knows of pods and accounts that are gone
    algorithms: frozenset[str] = frozenset(ALGORITHMS)
    tenants: frozenset[str] = frozenset()
    tenant_claim: tuple[str, ...] = ()
    environment_claim: tuple[str, ...] = ()
    service_claim: tuple[str, ...] = ()


_KEY_FIELDS = ("jwksUri", "jwksFile", "kubernetes", "tokenReview", "algorithms")
_CLAIM_FIELDS = ("tenants", "tenantClaim", "environmentClaim", "serviceClaim")
_FIELDS = frozenset({"name", "issuer", "audiences", *_KEY_FIELDS, *_CLAIM_FIELDS})


def parse_issuers(document: Any) -> tuple[Issuer, ...]:
    """The issuers file's content. Raises IssuersInvalid, naming the field."""
    if not isinstance(document, list) or not document:
        raise IssuersInvalid("a list of issuers is wanted, with at least one")
    issuers = tuple(_issuer(each, f"[{index}]") for index, each in enumerate(document))
    names = [issuer.name for issuer in issuers]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise IssuersInvalid(f"[{index}].name: {name} is there twice")
    refuse_overlaps(issuers)
    return issuers


def refuse_overlaps(issuers: Sequence[Issuer]) -> None:
    """Raises IssuersInvalid if two are for the same tokens."""
    for index, issuer in enumerate(issuers):
        for former in issuers[:index]:
            _refuse_both(former, issuer, f"[{index}]")


def _refuse_both(former: Issuer, issuer: Issuer, at: str) -> None:
    """Of two entries for the same tokens one would decide, and what the other says would count for nothing."""
    shared = sorted(former.audiences & issuer.audiences)
    # The cluster's own name is not known yet where an entry leaves it out.
    own = former.kubernetes and issuer.kubernetes and not (former.issuer and issuer.issuer)
    if shared and (own or former.issuer == issuer.issuer):
        raise IssuersInvalid(
            f"{at}.audiences: {issuer.name} and {former.name} are for the same tokens (audience {shared[0]} of "
            f"{issuer.issuer or former.issuer or 'the cluster itself'}): "
            "give each an audience that the other has not, or make them one entry"
        )


def _issuer(fields: Any, at: str) -> Issuer:
    if not isinstance(fields, Mapping):
        raise IssuersInvalid(f"{at}: a mapping is wanted")
    unknown = sorted(str(field) for field in fields if field not in _FIELDS)
    if unknown:
        raise IssuersInvalid(f"{at}.{unknown[0]}: unknown field; known are {', '.join(sorted(_FIELDS))}")
    kubernetes = _truth(fields, "kubernetes", at)
    issuer = Issuer(
        name=_text(fields, "name", at, required=True),
        issuer=_text(fields, "issuer", at, required=not kubernetes),
        audiences=frozenset(_list(fields, "audiences", at, required=True)),
        jwks_uri=_text(fields, "jwksUri", at),
        jwks_file=_text(fields, "jwksFile", at),
        kubernetes=kubernetes,
        token_review=_truth(fields, "tokenReview", at),
        algorithms=frozenset(_list(fields, "algorithms", at) or ALGORITHMS),
        tenants=frozenset(_list(fields, "tenants", at, required=not kubernetes) or [ALL_TENANTS]),
        tenant_claim=_list(fields, "tenantClaim", at, required=not kubernetes),
        environment_claim=_list(fields, "environmentClaim", at),
        service_claim=_list(fields, "serviceClaim", at),
    )
    _refuse(issuer, at)
    return issuer


def _refuse(issuer: Issuer, at: str) -> None:
    if sum((bool(issuer.jwks_uri), bool(issuer.jwks_file), issuer.kubernetes)) != 1:
        raise IssuersInvalid(f"{at}: exactly one of jwksUri, jwksFile and kubernetes: true is wanted")
    if issuer.jwks_uri and not issuer.jwks_uri.startswith("https://"):
        raise IssuersInvalid(f"{at}.jwksUri: an https:// address is wanted; keys must not be fetched in the clear")
    if issuer.token_review and not issuer.kubernetes:
        raise IssuersInvalid(f"{at}.tokenReview: the API server knows no tokens but its own (kubernetes: true)")
    foreign = sorted(issuer.algorithms - ALGORITHMS.keys())
    if foreign:
        raise IssuersInvalid(f"{at}.algorithms: {foreign[0]} is not one of {', '.join(ALGORITHMS)}")
    if issuer.kubernetes and (issuer.tenant_claim or issuer.environment_claim or issuer.service_claim):
        raise IssuersInvalid(f"{at}: the cluster's own tokens have no tenant claims; their namespace decides")


def _truth(fields: Mapping[str, Any], field: str, at: str) -> bool:
    value = fields.get(field, False)
    if not isinstance(value, bool):
        raise IssuersInvalid(f"{at}.{field}: true or false is wanted")
    return value


def _text(fields: Mapping[str, Any], field: str, at: str, *, required: bool = False) -> str:
    value = fields.get(field, "")
    if not isinstance(value, str) or (required and not value):
        raise IssuersInvalid(f"{at}.{field}: a text is wanted")
    return value


def _list(fields: Mapping[str, Any], field: str, at: str, *, required: bool = False) -> tuple[str, ...]:
    value = fields.get(field)
    if value is None and not required:
        return ()
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
        raise IssuersInvalid(f"{at}.{field}: a list of texts is wanted, with at least one")
    return tuple(value)
