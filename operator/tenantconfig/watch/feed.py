"""From the cluster's objects to the hub: which ConfigMap says what about which scope. Pure but for its log.

The feed keeps every claim and every namespace it was told of, and judges the
scopes that a change touches afresh (see standing). Objects are JSON as the API
server sent it; what cannot be used becomes a problem of its scope, never an error.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from tenantconfig.model import (
    ANNOTATION_DIGEST,
    ANNOTATION_REVISION,
    ANNOTATION_WITHDRAWN,
    LABEL_TENANT,
    OPERATOR_NAMESPACE,
    TICK_FRESH_AS_OF,
    TICK_NAME,
    TICK_STALE,
    NamespaceRights,
    Scope,
    Snapshot,
    Version,
    digest,
)
from tenantconfig.watch.hub import Hub
from tenantconfig.watch.standing import Claim, Moment, Namespace, Stale, StaleReason, judge

CONFIGMAPS_PATH = "/api/v1/configmaps"
CONFIGMAPS_SELECTOR = LABEL_TENANT
NAMESPACES_PATH = "/api/v1/namespaces"
RETENTION_SECONDS = 24 * 3600.0  # how long a scope that is absent keeps its revision, which must not go back
MAX_REVISION = 2**63 - 1

Object = Mapping[str, Any]
Key = tuple[str, str]  # namespace and name

logger = logging.getLogger(__name__)


class Feed:
    """What the cluster says, and the judgement that follows for each scope."""

    def __init__(self, hub: Hub, clock: Callable[[], float], operator_namespace: str = OPERATOR_NAMESPACE) -> None:
        self._hub = hub
        self._clock = clock
        self._tick_key = (operator_namespace, TICK_NAME)
        self.on_rights: Callable[[str], None] = lambda namespace: None
        self.namespaces = NamespaceSink(self)
        self.configmaps = ConfigMapSink(self)
        self._namespaces: dict[str, Namespace] = {}
        self._claims: dict[Key, Claim] = {}
        self._by_scope: dict[Scope, dict[Key, Claim]] = {}
        self._by_namespace: dict[str, set[Key]] = {}
        self._timed: set[Scope] = set()  # scopes whose standing time alone will change

    def sync(self) -> None:
        """All has been listed once."""
        self._hub.sync()

    def rights(self, namespace: str) -> NamespaceRights | None:
        """What a namespace's administrator permits; None if there is no such namespace."""
        found = self._namespaces.get(namespace)
        return found.rights if found else None

    def expire(self) -> None:
        """Let time do its part: the grace of what disappeared, and the memory of what is absent."""
        now = self._clock()
        for scope in list(self._timed):
            self._settle(scope)
            standing = self._hub.standing(scope)
            old = standing.absent and standing.since is not None and now - standing.since >= RETENTION_SECONDS
            if old and scope not in self._by_scope and self._hub.forget(scope):
                self._timed.discard(scope)

    def take_namespace(self, name: str, namespace: Namespace | None) -> None:
        before = self._namespaces.get(name)
        if before == namespace:
            return
        if namespace is None:
            del self._namespaces[name]
        else:
            self._namespaces[name] = namespace
        for scope in self._touched_by(name):
            self._settle(scope)
        if (before and before.rights) != (namespace and namespace.rights):
            self.on_rights(name)

    def take_claim(self, key: Key, claim: Claim | None) -> None:
        before = self._claims.get(key)
        if before:
            self._remove(key, before)
        if claim:
            self._claims[key] = claim
            self._by_scope.setdefault(claim.scope, {})[key] = claim
            self._by_namespace.setdefault(claim.namespace, set()).add(key)
            if claim.problem and (before is None or before.problem != claim.problem):
                logger.warning("ConfigMap %s/%s of scope %s is not published: %s", *key, claim.scope, claim.problem)
        for scope in {each.scope for each in (before, claim) if each}:
            self._settle(scope)

    def take_tick(self, body: Object) -> None:
        try:
            fresh_as_of, unverified = parse_tick(body)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("the tick %s/%s cannot be read: %s", *self._tick_key, error)
        else:
            self._hub.tick(fresh_as_of, unverified)

    def is_tick(self, key: Key) -> bool:
        return key == self._tick_key

    def known_resource_version(self, key: Key) -> str:
        claim = self._claims.get(key)
        return claim.resource_version if claim else ""

    def keys(self) -> set[Key]:
        return set(self._claims)

    def namespace_names(self) -> set[str]:
        return set(self._namespaces)

    def _remove(self, key: Key, claim: Claim) -> None:
        del self._claims[key]
        claims, keys = self._by_scope[claim.scope], self._by_namespace[claim.namespace]
        del claims[key]
        keys.remove(key)
        if not claims:
            del self._by_scope[claim.scope]
        if not keys:
            del self._by_namespace[claim.namespace]

    def _touched_by(self, namespace: str) -> set[Scope]:
        claimed = {self._claims[key].scope for key in self._by_namespace.get(namespace, ())}
        sources = ((scope, self._hub.standing(scope).source) for scope in self._timed)
        return claimed | {scope for scope, source in sources if source and source.namespace == namespace}

    def _settle(self, scope: Scope) -> None:
        claims = self._by_scope.get(scope, {}).values()
        before = self._hub.standing(scope)
        after = judge(before, claims, self._namespaces, Moment(self._clock(), self._hub.fresh_as_of))
        if after == before:
            return
        self._hub.settle(scope, after)
        if after.since is None:
            self._timed.discard(scope)
        else:
            self._timed.add(scope)
        _log_change(scope, before.stale, after.stale)


class NamespaceSink:
    """Takes the namespaces as an informer brings them."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def replace(self, objects: Iterable[Object]) -> None:
        """Take a full list; what is not in it is gone."""
        gone = self._feed.namespace_names()
        for body in objects:
            gone.discard(body["metadata"]["name"])
            self.apply(body)
        for name in gone:
            self._feed.take_namespace(name, None)

    def apply(self, body: Object) -> None:
        self._feed.take_namespace(body["metadata"]["name"], parse_namespace(body))

    def delete(self, body: Object) -> None:
        name = body["metadata"]["name"]
        if name in self._feed.namespace_names():
            self._feed.take_namespace(name, None)


class ConfigMapSink:
    """Takes the labelled ConfigMaps as an informer brings them."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def replace(self, objects: Iterable[Object]) -> None:
        """Take a full list; what is not in it is gone. The tick vouches for all of it, so it comes last."""
        gone, tick = self._feed.keys(), None
        for body in objects:
            key = _key(body)
            gone.discard(key)
            if self._feed.is_tick(key):
                tick = body
            elif self._feed.known_resource_version(key) != body["metadata"]["resourceVersion"]:
                self.apply(body)
        for key in gone:
            self._feed.take_claim(key, None)
        if tick is not None:
            self._feed.take_tick(tick)

    def apply(self, body: Object) -> None:
        key = _key(body)
        if self._feed.is_tick(key):
            self._feed.take_tick(body)
        else:
            self._feed.take_claim(key, parse_claim(body))

    def delete(self, body: Object) -> None:
        self._feed.take_claim(_key(body), None)


def parse_namespace(body: Object) -> Namespace:
    metadata = body["metadata"]
    ending = body.get("status", {}).get("phase") == "Terminating" or "deletionTimestamp" in metadata
    return Namespace(metadata["uid"], NamespaceRights.from_annotations(metadata.get("annotations") or {}), ending)


def parse_claim(body: Object) -> Claim | None:
    """The claim that a ConfigMap makes; None if its labels name no scope."""
    metadata = body["metadata"]
    scope = Scope.from_labels(metadata.get("labels") or {})
    if not scope.tenant:
        return None
    annotations = metadata.get("annotations") or {}
    entries = body.get("data") or {}
    version = Version(parse_revision(annotations.get(ANNOTATION_REVISION, "")), annotations.get(ANNOTATION_DIGEST, ""))
    return Claim(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        resource_version=metadata["resourceVersion"],
        created=metadata.get("creationTimestamp", ""),
        snapshot=Snapshot(scope, version, entries),
        problem=_problem(version, entries),
        withdrawn=ANNOTATION_WITHDRAWN in annotations,
    )


def parse_revision(text: str) -> int:
    """A revision as annotated; 0 when it is none."""
    revision = int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0
    return revision if revision <= MAX_REVISION else 0


def parse_tick(body: Object) -> tuple[datetime, dict[Scope, Stale]]:
    """The tick's time and the scopes that it says could not be verified. Raises ValueError and its like."""
    data = body.get("data") or {}
    unverified = {
        Scope(each["tenant"], each.get("environment", ""), each.get("service", "")): Stale(
            str(each.get("reason", "")), _time(each["verifiedAsOf"]) if each.get("verifiedAsOf") else None
        )
        for each in json.loads(data.get(TICK_STALE) or "[]")
    }
    return _time(data[TICK_FRESH_AS_OF]), unverified


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return time


def _problem(version: Version, entries: Mapping[str, str]) -> StaleReason | None:
    if version.revision == 0:
        return StaleReason.INVALID
    return None if digest(entries) == version.digest else StaleReason.DIGEST_MISMATCH


def _key(body: Object) -> Key:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def _log_change(scope: Scope, before: Stale | None, after: Stale | None) -> None:
    if after and (before is None or before.reason != after.reason):
        logger.warning("scope %s is stale: %s", scope, after.reason)
    elif before and after is None:
        logger.info("scope %s is up to date again", scope)
