"""Who may read which scope. Pure; deny is the default.

A service account reads what its namespace's administrator permits. Anyone else
reads what the claims of the token say, within what the issuer may speak for.
A denial names the scope and the caller's own limits, and never whether the scope exists.
"""

from collections.abc import Callable

from tenantconfig.model import ALL_TENANTS, Claims, NamespaceRights, Scope

Rights = Callable[[str], NamespaceRights | None]


def denial(claims: Claims, scope: Scope, rights: Rights) -> str | None:
    """Why the bearer may not read the scope; None: it may."""
    why = _why_not(claims, scope, rights)
    return f"not permitted to read scope {scope}: {why}" if why else None


def _why_not(claims: Claims, scope: Scope, rights: Rights) -> str | None:
    if not {scope.tenant, ALL_TENANTS} & claims.vouched:
        return f"the issuer {claims.issuer} may not speak for the tenant"
    if claims.namespace is not None:
        return _namespace_lacks(claims.namespace, scope.tenant, rights)
    if scope.tenant not in claims.tenants:
        return "the token's tenant claim does not name the tenant"
    if claims.environments is not None and scope.environment not in claims.environments:
        return "the token's environment claim does not name the environment"
    if claims.services is not None and scope.service not in claims.services:
        return "the token's service claim does not name the service"
    return None


def _namespace_lacks(namespace: str, tenant: str, rights: Rights) -> str | None:
    found = rights(namespace)
    if found and found.may_read(tenant):
        return None
    return f"namespace {namespace} may not read the tenant (annotation tenantconfig.dev/readable-tenants)"
