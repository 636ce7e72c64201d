"""Attempts of one tenant to reach another's values: what each came to, and what all of them say. Pure."""

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from tenantconfig.errors import Conflict, Missing, TenantConfigError
from tenantconfig.model import (
    ANNOTATION_READABLE_TENANTS,
    ANNOTATION_REVISION,
    ANNOTATION_TENANTS,
    GROUP,
    LABEL_TENANT,
    OPERATOR_NAMESPACE,
    VERSION,
    Scope,
)

CANARY = "verify-isolation"  # the name of what an attempt would make; nothing is ever made
NEEDED = "refusals prove nothing while this fails"
ROLE = "give the account the Role of manifests/components/verify-isolation"


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


# What is asked of the API server


class Guard(StrEnum):
    """What has to refuse a request, by the words of its refusal: a 403 alone does not tell the one from the other."""

    RIGHTS = 'is forbidden: User "'
    DECLARED = f"ValidatingAdmissionPolicy 'tenantconfigs.{GROUP}'"
    PROJECTED = f"ValidatingAdmissionPolicy 'configmaps.{GROUP}'"
    STATUS = f"ValidatingAdmissionPolicy 'status.{GROUP}'"
    IMMUTABLE = "spec.tenantId is immutable"
    REVIEW = "no such right"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that changes nothing, and the guards of which one has to refuse it; without any it has to succeed."""

    name: str
    verb: Literal["list", "create", "patch", "review"]
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)
    guards: tuple[Guard, ...] = (Guard.RIGHTS,)


@dataclass(frozen=True, slots=True)
class Series:
    """Attempts, and the harmless request by the same right that has to succeed for their refusals to prove anything.

    With `sought`, a list's path, all are about an object that is there: `{}` stands for the name of the first one.
    """

    attempts: tuple[Attempt, ...]
    control: Attempt | None = None
    sought: str = ""
    absent: str = ""  # the remedy when there is none

    def about(self, name: str) -> "Series":
        """The same with the name of the object that was found."""
        attempts = tuple(_named(each, name) for each in self.attempts)
        return Series(attempts, _named(self.control, name) if self.control else None)


def judged(attempt: Attempt, error: TenantConfigError | None, control: Result | None = None) -> Result:
    """What an answer says of an attempt; None is success."""
    if error is None:
        outcome = Outcome.BREACH if attempt.guards else Outcome.PERMITTED
        return Result(attempt.name, outcome, "the API server permits it")
    if not attempt.guards:
        return Result(attempt.name, Outcome.UNTRIED, f"{NEEDED}: {explained(error)}")
    # Rights are looked at before objects are: who hears of the object has the right.
    if Guard.RIGHTS in attempt.guards and isinstance(error, Missing | Conflict):
        return Result(attempt.name, Outcome.BREACH, f"the right is there: {error.message}")
    if control and control.outcome is not Outcome.PERMITTED:
        return Result(attempt.name, Outcome.UNTRIED, f"proves nothing without “{control.attempt}”: {control.detail}")
    if any(guard in error.message for guard in attempt.guards):
        return Result(attempt.name, Outcome.REFUSED, error.message)
    return Result(attempt.name, Outcome.UNTRIED, f"not refused by what has to refuse it: {explained(error)}")


def untried(series: Series, why: str) -> list[Result]:
    """What a series comes to for which no object is found."""
    return [Result(each.name, Outcome.UNTRIED, why) for each in series.about("(none found)").attempts]


def explained(error: TenantConfigError) -> str:
    """Why a request failed, with the remedy when it is for want of a right."""
    return f"{error.message}; {ROLE}" if Guard.RIGHTS in error.message else error.message


def _named(attempt: Attempt, name: str) -> Attempt:
    return replace(attempt, name=attempt.name.replace("{}", name), path=attempt.path.replace("{}", name))


@dataclass(frozen=True, slots=True)
class Side:
    """A tenant, and a namespace that may declare it."""

    scope: Scope
    namespace: str

    def path(self, kind: str) -> str:
        """Of all objects of a kind in the namespace."""
        return f"{_root(kind)}/namespaces/{self.namespace}/{kind}"

    def tenant_config(self, scope: Scope) -> dict[str, Any]:
        """A TenantConfig of `scope` here, as small as it can be."""
        fields = {"tenantId": scope.tenant, "environment": scope.environment, "service": scope.service}
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "TenantConfig",
            "metadata": {"name": CANARY, "namespace": self.namespace},
            "spec": {name: value for name, value in fields.items() if value},
        }

    def config_map(self, labels: Mapping[str, str]) -> dict[str, Any]:
        """A ConfigMap here; with a scope's labels it claims to be what the controller projected."""
        metadata = {"name": CANARY, "namespace": self.namespace, "labels": labels}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"forged": "true"}}


def _root(kind: str) -> str:
    return f"/apis/{GROUP}/{VERSION}" if kind in {"tenantconfigs", "configstores"} else "/api/v1"


def attempts(own: Side, foreign: Side) -> list[Series]:
    """Every way to the values of the foreign side."""
    for_want_of_rights = (*_reads(foreign), *_writes(own, foreign), *_reviews(foreign.namespace))
    return [Series(for_want_of_rights), *_forgeries(own, foreign.scope), *_changes(own, foreign.scope)]


def _reads(foreign: Side) -> list[Attempt]:
    theirs = f"of namespace {foreign.namespace}"
    selector = f"labelSelector={LABEL_TENANT}={foreign.scope.tenant}&"
    places = [
        ("ConfigMaps of all namespaces", f"/api/v1/configmaps?{selector}"),
        (f"ConfigMaps {theirs}", f"{foreign.path('configmaps')}?"),
        (f"Secrets {theirs}", f"{foreign.path('secrets')}?"),
        ("TenantConfigs of all namespaces", f"{_root('tenantconfigs')}/tenantconfigs?"),
        (f"TenantConfigs {theirs}", f"{foreign.path('tenantconfigs')}?"),
    ]
    return [Attempt(f"read {what}", "list", f"{path}limit=1") for what, path in places]


def _writes(own: Side, foreign: Side) -> list[Attempt]:
    theirs, path = f"in namespace {foreign.namespace}", foreign.path
    may = {"annotations": dict.fromkeys((ANNOTATION_TENANTS, ANNOTATION_READABLE_TENANTS), foreign.scope.tenant)}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CANARY, **may}}
    # Every namespace has a ConfigMap kube-root-ca.crt. What has no such name need not be there: rights come first.
    return [
        Attempt(f"TenantConfig {theirs}", "create", path("tenantconfigs"), foreign.tenant_config(foreign.scope)),
        Attempt(f"ConfigMap {theirs}", "create", path("configmaps"), foreign.config_map({})),
        Attempt(f"change of a TenantConfig {theirs}", "patch", f"{path('tenantconfigs')}/{CANARY}"),
        Attempt(f"change of a ConfigMap {theirs}", "patch", f"{path('configmaps')}/kube-root-ca.crt"),
        Attempt("change of a ConfigStore", "patch", f"{_root('configstores')}/configstores/dynamodb"),
        Attempt("one's own namespace's rights", "patch", f"/api/v1/namespaces/{own.namespace}", {"metadata": may}),
        Attempt("namespace with the foreign tenant's rights", "create", "/api/v1/namespaces", space),
    ]


REVIEWED = (
    ("get", "", "configmaps"),
    ("get", "", "secrets"),
    ("get", GROUP, "tenantconfigs"),
    ("watch", "", "configmaps"),
    ("watch", "", "secrets"),
    ("watch", GROUP, "tenantconfigs"),
    ("delete", "", "configmaps"),
    ("delete", GROUP, "tenantconfigs"),
    ("create", "", "serviceaccounts/token"),
    ("impersonate", "", "serviceaccounts"),
    ("create", "", "pods"),
    ("create", "", "pods/exec"),
)


def _reviews(foreign_namespace: str) -> list[Attempt]:
    # Asked for, not tried: on a dry run the API server issues a token all the same, and an exec has none.
    found = []
    for namespace in (foreign_namespace, OPERATOR_NAMESPACE):
        for verb, group, what in REVIEWED:
            resource, _, subresource = what.partition("/")
            right = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
            body = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": {**right, "namespace": namespace}},
            }
            path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
            name = f"right to {verb} {what} in namespace {namespace}"
            found.append(Attempt(name, "review", path, body, (Guard.REVIEW,)))
    return found


def _forgeries(own: Side, foreign: Scope) -> list[Series]:
    """New objects in one's own namespace."""
    configs, maps = own.path("tenantconfigs"), own.path("configmaps")
    declared, plain, claimed = own.tenant_config(own.scope), own.config_map({}), own.config_map(foreign.labels())
    forged = own.tenant_config(foreign)
    return [
        Series(
            (Attempt(f"TenantConfig of {foreign}", "create", configs, forged, (Guard.DECLARED,)),),
            Attempt(f"TenantConfig of {own.scope}", "create", configs, declared, ()),
        ),
        Series(
            (Attempt(f"ConfigMap that claims to be of {foreign}", "create", maps, claimed, (Guard.PROJECTED,)),),
            Attempt("ConfigMap that claims nothing", "create", maps, plain, ()),
        ),
    ]


def _changes(own: Side, foreign: Scope) -> list[Series]:
    """Changes of what is in one's own namespace."""
    a_map, a_config = f"{own.path('configmaps')}/{{}}", f"{own.path('tenantconfigs')}/{{}}"
    theirs, nobodys = ({"metadata": {"labels": {LABEL_TENANT: tenant}}} for tenant in (foreign.tenant, None))
    data, spec = {"data": {"forged": "true"}}, {"spec": {"tenantId": foreign.tenant}}
    newer, status = {"metadata": {"annotations": {ANNOTATION_REVISION: "9" * 15}}}, {"status": {"revision": 10**15}}
    policy, rule = (Guard.PROJECTED,), (Guard.IMMUTABLE, Guard.DECLARED)
    return [
        Series(
            (
                Attempt("projected ConfigMap {} with other data", "patch", a_map, data, policy),
                Attempt("projected ConfigMap {} with a later revision", "patch", a_map, newer, policy),
                Attempt(f"projected ConfigMap {{}} labelled as of {foreign}", "patch", a_map, theirs, policy),
                Attempt("projected ConfigMap {} without its label", "patch", a_map, nobodys, policy),
            ),
            Attempt("projected ConfigMap {} as it is", "patch", a_map, {}, ()),
            f"{own.path('configmaps')}?labelSelector={LABEL_TENANT}&limit=1",
            f"declare a TenantConfig in namespace {own.namespace} and wait until it is Ready",
        ),
        Series(
            (Attempt(f"ConfigMap {{}} labelled as of {foreign}", "patch", a_map, theirs, policy),),
            Attempt("ConfigMap {} as it is", "patch", a_map, {}, ()),
            f"{own.path('configmaps')}?labelSelector=!{LABEL_TENANT}&limit=1",
            f"make any ConfigMap in namespace {own.namespace}",
        ),
        Series(
            (
                # The schema answers before the policy.
                Attempt(f"TenantConfig {{}} changed to {foreign}", "patch", a_config, spec, rule),
            ),
            Attempt("TenantConfig {} as it is", "patch", a_config, {}, ()),
            f"{own.path('tenantconfigs')}?limit=1",
            f"declare a TenantConfig in namespace {own.namespace}",
        ),
        Series(
            # Teams need no right to it, so it needs no control; those who have all rights have this one too.
            (
                Attempt(
                    "status of TenantConfig {}", "patch", f"{a_config}/status", status, (Guard.RIGHTS, Guard.STATUS)
                ),
            ),
            sought=f"{own.path('tenantconfigs')}?limit=1",
            absent=f"declare a TenantConfig in namespace {own.namespace}",
        ),
    ]
