"""Attempts of one tenant to reach another's values: what each came to, and what all of them say. Pure."""

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tenantconfig.model import (
    ANNOTATION_READABLE_TENANTS,
    ANNOTATION_REVISION,
    GROUP,
    LABEL_TENANT,
    VERSION,
    Scope,
)

AUDIENCE = "tenantconfig"
RBAC = "rbac.authorization.k8s.io/v1"
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


# What the API server is asked for


class Verb(StrEnum):
    """How it is asked; nothing is ever stored."""

    GET = "get"
    CREATE = "create"  # as a dry run
    PATCH = "patch"  # as a dry run of a JSON merge patch


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to the API server."""

    verb: Verb
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What must be refused.

    `control`, if any, differs in nothing but what is forbidden about it, and has to be permitted: then the attempt is
    not refused for a lack of rights, which other tenants' teams may have.
    """

    name: str
    ask: Ask
    control: Ask | None = None
    invalid: bool = False  # the schema refuses it, whoever asks


@dataclass(frozen=True, slots=True)
class Found:
    """Something in one's own namespace to be tampered with, or why there is nothing."""

    name: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where the attempts are made: one's own namespace and scope, another's, and what there is in one's own."""

    namespace: str
    own: Scope
    foreign_namespace: str
    foreign: Scope
    tenant_config: Found = Found()
    projected: Found = Found()
    plain: Found = Found()  # a ConfigMap that nobody projected


def attempts(ground: Ground) -> list[Attempt | Result]:
    """All that must be refused; what cannot be tried is a result already."""
    return [*_reads(ground), *_foreign(ground), *_forgeries(ground), *_tampering(ground)]


def configs(namespace: str) -> str:
    """The path of a namespace's TenantConfigs."""
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/tenantconfigs"


def configmaps(namespace: str) -> str:
    """The path of a namespace's ConfigMaps."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def _reads(ground: Ground) -> list[Attempt]:
    theirs = ground.foreign_namespace
    paths = {
        "ConfigMaps of all namespaces": f"/api/v1/configmaps?labelSelector={LABEL_TENANT}={ground.foreign.tenant}",
        f"ConfigMaps of namespace {theirs}": configmaps(theirs),
        f"Secrets of namespace {theirs}": f"/api/v1/namespaces/{theirs}/secrets",
        "TenantConfigs of all namespaces": f"/apis/{GROUP}/{VERSION}/tenantconfigs",
        f"TenantConfigs of namespace {theirs}": configs(theirs),
    }
    return [
        Attempt(f"read {what}", Ask(Verb.GET, f"{path}{'&' if '?' in path else '?'}limit=1"))
        for what, path in paths.items()
    ]


def _foreign(ground: Ground) -> list[Attempt]:
    """What would be done in the other's namespace: only rights that somebody gave could permit it."""
    theirs = ground.foreign_namespace
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [AUDIENCE]}}
    creations = {  # a dry run returns a token all the same: it is dropped here
        "token": (f"/api/v1/namespaces/{theirs}/serviceaccounts/default/token", token),
        "Pod": (f"/api/v1/namespaces/{theirs}/pods", _pod(theirs)),
        "RoleBinding": (f"/apis/{RBAC}/namespaces/{theirs}/rolebindings", _binding(ground)),
        "TenantConfig": (configs(theirs), tenant_config(theirs, ground.foreign)),
        "ConfigMap": (configmaps(theirs), configmap(theirs)),
    }
    changes = {"TenantConfig": configs(theirs), "ConfigMap": configmaps(theirs)}
    return [
        *[Attempt(f"new {what} in namespace {theirs}", Ask(Verb.CREATE, *each)) for what, each in creations.items()],
        *[
            Attempt(f"change of a {what} in namespace {theirs}", Ask(Verb.PATCH, f"{path}/{CANARY}"))
            for what, path in changes.items()
        ],
    ]


def _forgeries(ground: Ground) -> list[Attempt]:
    """What would be made in one's own namespace, where one may make the like: the policies refuse it."""
    ours, own, foreign = ground.namespace, ground.own, ground.foreign
    return [
        Attempt(
            f"TenantConfig of {foreign}",
            Ask(Verb.CREATE, configs(ours), tenant_config(ours, foreign)),
            control=Ask(Verb.CREATE, configs(ours), tenant_config(ours, own)),
        ),
        Attempt(
            f"ConfigMap that claims to be of {foreign}",
            Ask(Verb.CREATE, configmaps(ours), configmap(ours, foreign)),
            control=Ask(Verb.CREATE, configmaps(ours), configmap(ours)),
        ),
    ]


def _tampering(ground: Ground) -> list[Attempt | Result]:
    """What would be changed in one's own namespace, where one may change as such."""
    maps, path = configmaps(ground.namespace), configs(ground.namespace)
    labels = {"metadata": {"labels": ground.foreign.labels()}}
    annotations = {"metadata": {"annotations": {ANNOTATION_READABLE_TENANTS: ground.foreign.tenant}}}
    return [
        _change("data of", ground.projected, maps, {"data": {"forged": "true"}}),
        _change("revision of", ground.projected, maps, {"metadata": {"annotations": {ANNOTATION_REVISION: "9" * 15}}}),
        _change("another tenant's label on", ground.projected, maps, labels),
        _change("no label on", ground.projected, maps, {"metadata": {"labels": {LABEL_TENANT: None}}}),
        _change("another tenant's label on", ground.plain, maps, labels),
        _change("another tenant in", ground.tenant_config, path, _spec(ground.foreign), invalid=True),
        _change("status of", ground.tenant_config, path, {"status": {"revision": 10**15}}, part="/status"),
        Attempt(
            "rights of one's own namespace", Ask(Verb.PATCH, f"/api/v1/namespaces/{ground.namespace}", annotations)
        ),
    ]


def _change(
    what: str, found: Found, path: str, body: Mapping[str, Any], *, part: str = "", invalid: bool = False
) -> Attempt | Result:
    """A change of something that one may change, as is shown by a change that says nothing."""
    if not found.name:
        return Result(f"{what} one's own", Outcome.UNTRIED, found.why)
    path = f"{path}/{found.name}{part}"
    return Attempt(f"{what} one's own {found.name}", Ask(Verb.PATCH, path, body), Ask(Verb.PATCH, path), invalid)


# Objects


def tenant_config(namespace: str, scope: Scope) -> dict[str, Any]:
    """A TenantConfig of `scope`, as small as it can be."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TenantConfig",
        "metadata": {"name": CANARY, "namespace": namespace},
        **_spec(scope),
    }


def _spec(scope: Scope) -> dict[str, Any]:
    fields = {"tenantId": scope.tenant, "environment": scope.environment, "service": scope.service}
    return {"spec": {name: value for name, value in fields.items() if value}}


def configmap(namespace: str, scope: Scope | None = None) -> dict[str, Any]:
    """A ConfigMap; one that claims to be what the controller projected, if it is of a scope."""
    labels = {"labels": scope.labels()} if scope else {}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CANARY, "namespace": namespace, **labels},
        "data": {"forged": "true"},
    }


def _pod(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": CANARY, "namespace": namespace},
        "spec": {"containers": [{"name": CANARY, "image": CANARY}]},
    }


def _binding(ground: Ground) -> dict[str, Any]:
    """One that would let one's own pods read there."""
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": ground.namespace}
    return {
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": CANARY, "namespace": ground.foreign_namespace},
        "roleRef": {"apiGroup": RBAC.partition("/")[0], "kind": "ClusterRole", "name": "view"},
        "subjects": [subject],
    }
