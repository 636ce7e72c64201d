"""Stores reached under an assumed role, with a session for each tenant where the role's policies tell tenants apart.

Theory of operation. One client serves all tenants: a botocore client signs each
request with what its credentials object hands out at that moment (the way by which
credentials renew themselves), and ours hands out the session that the calling thread
has chosen. The scope of a call alone chooses it, nothing in a request does: a request
that a defect of ours makes for another tenant is signed for the scope's own, and IAM
refuses it. Whoever has chosen none signs nothing.

Sessions are renewed before the gate and not while signing: what the gate has allowed
must not wait for STS (see aws.LIMITS).
"""

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any

from botocore.credentials import Credentials, DeferredRefreshableCredentials, ReadOnlyCredentials

from tenantconfig.model import Scope, Value
from tenantconfig.plan import Changes, Claim, Contents, Held
from tenantconfig.stores.aws import translated
from tenantconfig.stores.base import Applied, Authored, Gate, Marked, Store, always

MAX_SESSIONS = 10_000  # of one role; 2.4 KB each
NOBODY = "_"  # the tenant of what concerns none: no tenant can be called so

# From a tenant to the credentials of a session: access_key, secret_key, token and expiry_time (ISO 8601).
Assume = Callable[[str], Mapping[str, str]]


def assume_role(sts: Any, role: str, tag_key: str) -> Assume:
    """Sessions of `role`, their tenants as tags of `tag_key`; untagged if it is empty. `sts` is a boto3 client."""

    def assume(tenant: str) -> Mapping[str, str]:
        tags = {"Tags": [{"Key": tag_key, "Value": tenant}]} if tag_key else {}
        answer = sts.assume_role(RoleArn=role, RoleSessionName="tenantconfig", **tags)["Credentials"]
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["SessionToken"],
            "expiry_time": answer["Expiration"].isoformat(),
        }

    return assume


class Sessions(Credentials):
    """The credentials of a client whose requests are each signed with the session of a tenant, or with one for all.

    `account_id` is the role's, which is part of some endpoints. The `size` sessions that were used last are kept.
    """

    method = "assume-role"

    def __init__(self, assume: Assume, account_id: str, *, by_tenant: bool, size: int = MAX_SESSIONS) -> None:
        self.account_id = account_id
        self._by_tenant = by_tenant
        self._session = lru_cache(size)(
            lambda tenant: DeferredRefreshableCredentials(partial(assume, tenant), "assume-role")
        )
        self._lock = threading.Lock()  # two threads must not make two sessions of one tenant
        self._thread = threading.local()

    @contextmanager
    def of(self, tenant: str) -> Iterator[Callable[[], None]]:
        """Within, what this thread calls is signed with the session of `tenant`, once it has called the result.

        That is to be called before each request: it gets the session, or renews it in time. Raises what botocore does.
        """
        key = tenant if self._by_tenant else NOBODY

        def renew() -> None:
            with self._lock:
                session = self._session(key)
            self._thread.chosen = session.get_frozen_credentials()

        try:
            yield renew
        finally:
            self._thread.chosen = None

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """What botocore signs the request of this thread with; with None it signs none, and says so."""
        return getattr(self._thread, "chosen", None)  # type: ignore[return-value]  # botocore takes None, its stubs do not


class AssumedStore:
    """The store protocol over a `store` whose client has `sessions` for its credentials."""

    def __init__(self, store: Store, sessions: Sessions, role: str) -> None:
        self._store = store
        self._sessions = sessions
        self._role = role

    def probe(self) -> None:
        with self._sessions.of(NOBODY) as renew:
            with translated(self._role):
                renew()
            self._store.probe()

    def refuses(self, scope: Scope, key: str, value: Value) -> str:
        return self._store.refuses(scope, key, value)

    def read(self, scope: Scope, keys: Collection[str], claim: Claim, gate: Gate = always) -> Contents:
        with self._sessions.of(scope.tenant) as renew:
            return self._store.read(scope, keys, claim, in_turn(renew, gate))

    def apply(self, scope: Scope, changes: Changes, gate: Gate = always) -> Applied:
        with self._sessions.of(scope.tenant) as renew:
            return self._store.apply(scope, changes, in_turn(renew, gate))

    def shown(self, names: Collection[tuple[Scope, str]]) -> Mapping[tuple[Scope, str], Held]:
        if not isinstance(self._store, Marked):
            return {}
        found: dict[tuple[Scope, str], Held] = {}
        for tenant in sorted({scope.tenant for scope, _ in names}):
            with self._sessions.of(tenant) as renew, translated(self._role):
                renew()
                found |= self._store.shown([name for name in names if name[0].tenant == tenant])
        return found

    def author(self, scope: Scope, key: str) -> str:
        if not isinstance(self._store, Authored):
            return ""
        with self._sessions.of(scope.tenant) as renew, translated(self._role):
            renew()
            return self._store.author(scope, key)


def in_turn(*gates: Gate) -> Gate:
    def pass_all() -> None:
        for gate in gates:
            gate()

    return pass_all
