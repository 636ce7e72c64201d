"""Where a scope stands, judged from the ConfigMaps that claim it and the namespaces they are in. Pure.

Nothing is remembered but the standing itself: each change of the cluster judges
the scopes it touches afresh, and `judge` says in order what decides.

    a claim that may be served, not older than what was ─► served
    the source is marked, or its namespace is going     ─► withdrawn
    the source is gone without a word                   ─► served on, stale; not found after the grace
    the source may not be served as it is now           ─► served on as it was, stale
    never served, and a claim stands in the way         ─► silent, stale
    never served, no claim                              ─► not found

The source is the ConfigMap behind what is served, by uid: what becomes of any
other claim to the scope concerns nobody.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from tenantconfig.model import NamespaceRights, Scope, Snapshot, Version

GRACE_SECONDS = 600.0  # how long values are served on after their ConfigMap disappeared unmarked


class AbsentReason(StrEnum):
    """Why there is nothing to serve."""

    WITHDRAWN = "WITHDRAWN"  # taken back on purpose: clients drop the values
    NOT_FOUND = "NOT_FOUND"  # not known, or gone by accident: clients keep what they hold


class StaleReason(StrEnum):
    """Why what is served may not be the latest; constants that clients may match on."""

    NOT_PERMITTED = "NOT_PERMITTED"  # the namespace may not declare the tenant, or may no longer
    DIGEST_MISMATCH = "DIGEST_MISMATCH"  # the ConfigMap's data is not what its digest says
    INVALID = "INVALID"  # the ConfigMap carries no usable revision
    REVISION_WENT_BACK = "REVISION_WENT_BACK"  # the ConfigMap is older than what was served
    DISAPPEARED = "DISAPPEARED"  # the ConfigMap is gone, and nothing said that it would be
    BEHIND = "BEHIND"  # the client knows a newer version than this server


@dataclass(frozen=True, slots=True)
class Stale:
    """That a scope may not be at its latest version, and since when."""

    reason: str
    verified_as_of: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A ConfigMap that says it is a scope's snapshot."""

    uid: str
    namespace: str
    resource_version: str
    created: str
    snapshot: Snapshot  # revision 0 when it carries none
    problem: StaleReason | None = None  # why it cannot be served as it is
    withdrawn: bool = False

    @property
    def scope(self) -> Scope:
        return self.snapshot.scope

    @property
    def revision(self) -> int:
        return self.snapshot.version.revision


@dataclass(frozen=True, slots=True)
class Namespace:
    """What matters of a namespace."""

    uid: str
    rights: NamespaceRights
    ending: bool = False  # terminating


@dataclass(frozen=True, slots=True)
class Source:
    """The ConfigMap behind what is served."""

    uid: str
    namespace: str
    namespace_uid: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to say about a scope: a snapshot, that it is absent, or (neither) nothing yet."""

    snapshot: Snapshot | None = None
    absent: AbsentReason | None = None
    stale: Stale | None = None
    source: Source | None = None
    version: Version | None = None  # the latest that was served or withdrawn; nothing older ever is
    since: float | None = None  # monotonic: when the source disappeared, or the scope became absent

    @property
    def revision(self) -> int:
        return self.version.revision if self.version else 0


UNKNOWN = Standing(absent=AbsentReason.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a judgement is made."""

    monotonic: float
    fresh_as_of: datetime | None = None  # what was verified up to now


def judge(before: Standing, claims: Collection[Claim], namespaces: Mapping[str, Namespace], moment: Moment) -> Standing:
    """The standing of a scope that stood as `before`, given all live claims to it."""
    best = max((claim for claim in claims if _servable(claim, namespaces)), key=_order, default=None)
    if best and best.revision >= before.revision:
        return _served(best, namespaces)
    withdrawn = _withdrawn(before, claims, namespaces, moment)
    if withdrawn:
        return withdrawn
    obstacle = _obstacle(before, claims, namespaces)
    if before.snapshot:
        return _served_on(before, obstacle, moment)
    if before.absent is AbsentReason.WITHDRAWN:
        return replace(before, stale=_stale(before, obstacle, None))
    if obstacle:
        return Standing(stale=_stale(before, obstacle, None), version=before.version)
    return _not_found(before, moment)


def _servable(claim: Claim, namespaces: Mapping[str, Namespace]) -> bool:
    namespace = namespaces.get(claim.namespace)
    if claim.withdrawn or claim.problem or namespace is None or namespace.ending:
        return False
    return namespace.rights.may_declare(claim.scope.tenant)


def _order(claim: Claim) -> tuple[int, str, str]:
    return claim.revision, claim.created, claim.uid


def _served(claim: Claim, namespaces: Mapping[str, Namespace]) -> Standing:
    source = Source(claim.uid, claim.namespace, namespaces[claim.namespace].uid)
    return Standing(snapshot=claim.snapshot, source=source, version=claim.snapshot.version)


def _withdrawn(
    before: Standing, claims: Collection[Claim], namespaces: Mapping[str, Namespace], moment: Moment
) -> Standing | None:
    if before.source:
        marked = next((claim for claim in claims if claim.uid == before.source.uid and claim.withdrawn), None)
        if not marked and not _going(before.source, namespaces):
            return None
    else:
        marked = max((claim for claim in claims if _taken_back(claim, namespaces)), key=_order, default=None)
        if not marked or marked.revision < before.revision:
            return None
    latest = marked.snapshot.version if marked and marked.revision >= before.revision else before.version
    since = before.since if before.absent is AbsentReason.WITHDRAWN else moment.monotonic
    return Standing(absent=AbsentReason.WITHDRAWN, source=before.source, version=latest, since=since)


def _not_found(before: Standing, moment: Moment) -> Standing:
    if before.version is None:
        return UNKNOWN
    since = before.since if before.absent else moment.monotonic
    return Standing(absent=AbsentReason.NOT_FOUND, version=before.version, since=since)


def _going(source: Source, namespaces: Mapping[str, Namespace]) -> bool:
    namespace = namespaces.get(source.namespace)
    return namespace is None or namespace.ending or namespace.uid != source.namespace_uid


def _taken_back(claim: Claim, namespaces: Mapping[str, Namespace]) -> bool:
    """Whether a claim that was never served here would have been, before it was withdrawn."""
    namespace = namespaces.get(claim.namespace)
    if namespace is None or not namespace.rights.may_declare(claim.scope.tenant):
        return False
    return claim.withdrawn or namespace.ending


def _obstacle(before: Standing, claims: Collection[Claim], namespaces: Mapping[str, Namespace]) -> StaleReason | None:
    """What keeps the most promising claim from being served; None when there is none."""
    live = [claim for claim in claims if not claim.withdrawn]
    ours = [claim for claim in live if before.source and claim.uid == before.source.uid]
    if before.snapshot and not ours:
        return StaleReason.DISAPPEARED
    claim = max(ours or live, key=_order, default=None)
    if claim is None:
        return None
    namespace = namespaces.get(claim.namespace)
    if namespace is None or not namespace.rights.may_declare(claim.scope.tenant):
        return StaleReason.NOT_PERMITTED
    return claim.problem or StaleReason.REVISION_WENT_BACK


def _served_on(before: Standing, obstacle: StaleReason | None, moment: Moment) -> Standing:
    stale = _stale(before, obstacle, moment.fresh_as_of)
    if obstacle is not StaleReason.DISAPPEARED:
        return replace(before, stale=stale, since=None)
    since = moment.monotonic if before.since is None else before.since
    if moment.monotonic - since >= GRACE_SECONDS:
        return Standing(absent=AbsentReason.NOT_FOUND, version=before.version, since=moment.monotonic)
    return replace(before, stale=stale, since=since)


def _stale(before: Standing, reason: StaleReason | None, verified_as_of: datetime | None) -> Stale | None:
    """A scope that was stale before has been verified no later than then."""
    if reason is None:
        return None
    return Stale(reason, before.stale.verified_as_of if before.stale else verified_as_of)
