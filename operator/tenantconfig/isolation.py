"""Attempts of one tenant to reach another's values: what each came to, and what all of them say. Pure."""

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tenantconfig.model import ANNOTATION_READABLE_TENANTS, GROUP, VERSION, Scope

CANARY = "verify-isolation"  # the name of what an attempt would make; nothing is ever made


class Outcome(StrEnum):
    """What became of an attempt."""

    PERMITTED = "permitted"  # as it has to be
    REFUSED = "refused"
    BREACH = "BREACH"  # it got what it wanted
    UNTRIED = "untried"  # nobody can say: no answer, or one that says nothing about rights


@dataclass(frozen=True, slots=True)
class Result:
    """An attempt and its outcome."""

    attempt: str
    outcome: Outcome
    detail: str = ""


def exit_code(results: Collection[Result]) -> int:
    """0 when everything was refused, 1 when anything succeeded, 3 when anything could not be tried."""
    outcomes = {each.outcome for each in results}
    if Outcome.BREACH in outcomes:
        return 1
    return 3 if Outcome.UNTRIED in outcomes or not results else 0


def parse_scope(text: str) -> Scope:
    """A scope as `tenant[/environment[/service]]`, `_` for what is absent. Raises ValueError."""
    parts = ["" if part == "_" else part for part in text.split("/")]
    if len(parts) > 3 or not parts[0]:
        raise ValueError(f"{text} is not TENANT[/ENVIRONMENT[/SERVICE]]")
    return Scope(*parts)


# Tokens that must not open anything


def altered(token: str, namespace: str, scope: Scope) -> str:
    """A token that says it is from another namespace, of another tenant; the signature is the one it had."""
    header, payload, signature = token.split(".")
    claims = {**_decoded(payload), "tenant": scope.tenant, "custom:tenantId": scope.tenant}
    kubernetes = claims.get("kubernetes.io")
    if isinstance(kubernetes, Mapping):
        claims["kubernetes.io"] = {**kubernetes, "namespace": namespace}
    return f"{header}.{_encoded(claims)}.{signature}"


def unsigned(token: str) -> str:
    """A token that says it needs no signature."""
    header, payload, _ = token.split(".")
    return f"{_encoded({**_decoded(header), 'alg': 'none'})}.{payload}."


def _decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _encoded(content: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()


# Objects that must not be admitted


def tenant_config(namespace: str, scope: Scope) -> dict[str, Any]:
    """A TenantConfig of `scope`, as small as it can be."""
    fields = {"tenantId": scope.tenant, "environment": scope.environment, "service": scope.service}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TenantConfig",
        "metadata": {"name": CANARY, "namespace": namespace},
        "spec": {name: value for name, value in fields.items() if value},
    }


def projection(namespace: str, scope: Scope) -> dict[str, Any]:
    """A ConfigMap that claims to be what the controller projected for `scope`."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CANARY, "namespace": namespace, "labels": scope.labels()},
        "data": {"forged": "true"},
    }


def widened(scope: Scope) -> dict[str, Any]:
    """A change of one's own namespace that would let its pods read the tenant of `scope`."""
    return {"metadata": {"annotations": {ANNOTATION_READABLE_TENANTS: scope.tenant}}}
