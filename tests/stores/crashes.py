"""A controller that something happens to at any of its AWS requests, and what outlives it.

An Installation does with stores what a controller's pass does, on real parts: it
plans, applies, and records the status, unless the controller was killed before.
"""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NoReturn

from botocore.exceptions import ClientError

from harness.aws import REGION, create_table
from stores.world import DynamoDBWorld, SSMWorld
from tenantconfig import spec
from tenantconfig.acceptance import new_location
from tenantconfig.conditions import Findings, judge
from tenantconfig.errors import TenantConfigError
from tenantconfig.inputs import UNSURE, Facts, inputs
from tenantconfig.known import Known
from tenantconfig.model import Entry, Location, Options, Policy, ResourceRef, Scope, TenantConfig, Value, Version
from tenantconfig.plan import Desired
from tenantconfig.rations import Rations
from tenantconfig.reconcile import found
from tenantconfig.storecalls import StoreCalls
from tenantconfig.storekeeper import StoreKeeper
from tenantconfig.stores.base import Store, always
from tenantconfig.stores.dynamodb import DynamoDBStore
from tenantconfig.stores.ssm import Deletions, SSMStore

WRITES = frozenset(
    {"TransactWriteItems", "PutParameter", "DeleteParameters", "AddTagsToResource", "RemoveTagsFromResource"}
)
READS = frozenset({"BatchGetItem", "GetParameters", "GetParametersByPath", "ListTagsForResource"})
CLUSTER = "cluster-1"
HOME = "123456789012"  # the account that moto gives to everyone
NOW = "2026-01-02T03:04:05Z"


class Crash(BaseException):
    """The process ends here: nobody catches it, and no request follows."""


class Side(StrEnum):
    """Where on its way a request is."""

    BEFORE = "before"  # it has not gone out
    AFTER = "after"  # it took effect, and the answer is here


@dataclass
class Request:
    """A request of the operator."""

    operation: str
    parameters: dict[str, Any]
    answer: dict[str, Any] = field(default_factory=dict)  # may be changed before the operator sees it


Hook = Callable[[Side, Request], None]


class Wire:
    """Every request of `clients` passes here: it is noted, and the hooks may have something happen to it."""

    def __init__(self, *clients: Any) -> None:
        self.sent: list[Request] = []
        self.hooks: list[Hook] = []
        self._clients = clients
        self._dead = False
        for client in clients:
            client.meta.events.register("before-call", self._before)
            client.meta.events.register("after-call", self._after)

    def close(self) -> None:
        """Let requests go unseen again."""
        for client in self._clients:
            client.meta.events.unregister("before-call", self._before)
            client.meta.events.unregister("after-call", self._after)

    def crash(self) -> NoReturn:
        """End the process."""
        self._dead = True
        raise Crash

    def revive(self) -> None:
        """There is a new process; nothing happens to its requests yet."""
        self._dead = False
        self.hooks.clear()

    def forget(self) -> None:
        """Forget what was sent."""
        self.sent.clear()

    def writes(self) -> list[str]:
        """The operations that were sent and change something."""
        return [each.operation for each in self.sent if each.operation in WRITES]

    def _before(self, model: Any, params: Mapping[str, Any], context: dict[str, Any], **_: object) -> None:
        self._live()
        request = Request(model.name, json.loads(params["body"]))
        context["request"] = request
        for hook in self.hooks:
            hook(Side.BEFORE, request)
        self.sent.append(request)

    def _after(self, parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        self._live()
        request: Request = context["request"]
        request.answer = parsed
        for hook in self.hooks:
            hook(Side.AFTER, request)

    def _live(self) -> None:
        if self._dead:
            raise Crash


class At:
    """A hook: `happening` at the `number`-th request of `operations`, and at the `times` - 1 that follow."""

    def __init__(
        self,
        number: int,
        side: Side,
        happening: Callable[[], object],
        operations: Collection[str] = WRITES,
        times: int = 1,
    ) -> None:
        self.happened = False
        self._numbers = range(number, number + times)
        self._side = side
        self._happening = happening
        self._operations = operations
        self._count = 0

    def __call__(self, side: Side, request: Request) -> None:
        if request.operation not in self._operations:
            return
        self._count += side is Side.BEFORE
        if side is self._side and self._count in self._numbers:
            self.happened = True
            self._happening()


def raising(error: Exception) -> Callable[[], NoReturn]:
    """A happening: the operator meets `error`."""

    def happen() -> NoReturn:
        raise error

    return happen


def refusal(code: str, operation: str = "PutParameter") -> ClientError:
    """AWS's answer that it does not do it."""
    return ClientError({"Error": {"Code": code, "Message": f"{code}, as the test asked"}}, operation)


@dataclass(frozen=True)
class Place:
    """A table or path: under the name that ConfigStores give it, in an account, and where it really is."""

    name: str
    world: DynamoDBWorld | SSMWorld
    account: str = HOME

    @property
    def label(self) -> str:
        """How tests call it."""
        return self.name if self.account == HOME else f"{self.name} in {self.account}"

    @property
    def spec(self) -> dict[str, Any]:
        if isinstance(self.world, DynamoDBWorld):
            return {"dynamodb": {"tableName": self.name}}
        return {"ssm": {"pathPrefix": self.name, "writesPerSecond": 10_000, "readsPerSecond": 10_000}}


class Installation:
    """What outlives a controller: the ConfigStores, their places, a TenantConfig and its status, the time.

    The controller's own memory is renewed by `restart`.
    """

    def __init__(self, wire: Wire, dynamodb: Any, ssm: Any, scope: Scope, places: Collection[Place]) -> None:
        self.wire = wire
        self.cluster = CLUSTER
        self.known = Known(REGION)
        self.places = {each.label: each for each in places}
        self.secrets: dict[str, str] = {}  # by entry: what its Secret has
        self.seconds = 0.0
        self.may_write: Callable[[], None] = always
        self.opened: set[str] = set()  # the ids of the locations that the last pass went to
        self.resource = TenantConfig(
            ResourceRef("acme", "checkout"), "uid-1", "1", 0, NOW, scope, (), "checkout", "checkout", finalized=True
        )
        self._clients = {"dynamodb": dynamodb, "ssm": ssm}
        self._physical = {(each.account, each.name): each.world for each in places}
        self.restart()

    # What people do

    def declare(
        self, name: str, place: str, *prefixes: str, role: str = "", tag: str = "", deleting: bool = False
    ) -> None:
        """A ConfigStore is as the arguments say, and accepted: its place is recorded, beside its former ones."""
        former = next((each for each in self.known.stores() if each.name == name), None)
        (kind, fields), *_ = self.places[place].spec.items()
        if role:
            fields["assumeRoleArn"] = role
        if tag:
            fields["sessionTagKey"] = tag
        generation = former.generation + 1 if former else 1
        ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": NOW}
        locations = [spec.location_body(each) for each in former.locations] if former else []
        body = {
            "metadata": {"name": name, "uid": f"uid-{name}", "generation": generation, "creationTimestamp": NOW},
            "spec": {"prefixes": list(prefixes), kind: fields},
            "status": {"observedGeneration": generation, "conditions": [ready], "locations": locations},
        }
        if deleting:
            body["metadata"]["deletionTimestamp"] = NOW
        store = spec.config_store(body, REGION)
        if store.location is None:
            locations.append(spec.location_body(new_location(store, self.known.location_ids())))
        self.known.see_store(body)

    def want(self, *entries: Entry) -> None:
        """The resource is edited."""
        self.resource = replace(self.resource, entries=entries, generation=self.resource.generation + 1)

    def delete(self, *, retain: bool = False) -> None:
        """The resource is deleted."""
        self.resource = replace(self.resource, deleting=True, retain=retain, generation=self.resource.generation + 1)

    # What the controller does

    def restart(self) -> None:
        """A new process takes over."""
        self.wire.revive()
        self._deletions = Deletions(lambda: self.seconds)
        self._remembers = False

    def run(self) -> Findings:
        """One pass, and its status. Raises Crash when the process ended in it: there is no status then."""
        self.opened.clear()
        findings = asyncio.run(self._pass())
        if not findings.deferred:
            self.resource = replace(self.resource, status=judge(findings, self.resource.status, NOW))
            self._remembers = True
        return findings

    def settle(self) -> None:
        """One pass that has nothing to complain of."""
        assert self.run().failures == ()

    async def _pass(self) -> Findings:
        resource, status = self.resource, self.resource.status
        with ThreadPoolExecutor(1) as executor:  # one: requests come in the same order every time
            calls = StoreCalls(self.known, executor, self.may_write, Rations(wake=lambda ref: None))
            keeper = StoreKeeper(self.known, self.cluster, self._open, calls)
            if self._remembers:
                keeper.recorded(resource, status)
            used = inputs(Facts.of(resource), self.known)
            noted = used if keeper.accounted(resource, used) else used + UNSURE
            findings = Findings(resource.generation, noted, status.version, status.entries, status.locations)
            try:
                works = await keeper.plan(resource, self._desired())
            except TenantConfigError as error:
                return replace(findings, store_failures=(error,))
            findings = found(findings, resource, await keeper.apply(resource, works))
            keeper.end(resource.ref)
        return replace(findings, version=findings.version if findings.failures else Version(1, "digest"))

    def _desired(self) -> Mapping[str, list[Desired]]:
        desired: dict[str, list[Desired]] = {}
        if self.resource.deleting:
            return desired
        routes = self.known.router.route(each.key for each in self.resource.entries)
        for each in self.resource.entries:
            location = routes[each.key].location
            assert location
            secret = self.secrets.get(each.key)
            value = each.value if secret is None else Value(secret, sensitive=True)
            desired.setdefault(location.id, []).append(Desired(each.key, each.policy, value))
        return desired

    def _open(self, location: Location, options: Options) -> Store:
        self.opened.add(location.id)
        account = location.role.split(":")[4] if location.role else HOME
        place = dict(location.place)
        world = self._physical[account, place.get("tableName") or place["pathPrefix"]]
        if isinstance(world, DynamoDBWorld):
            return DynamoDBStore(self._clients["dynamodb"], world.table)
        return SSMStore(self._clients["ssm"], world.path, dict(options).get("tier", "Standard"), "", self._deletions)

    # What is there

    def texts(self) -> dict[str, dict[str, str]]:
        """What each place holds of the scope."""
        return {name: each.world.texts(self.resource.scope) for name, each in self.places.items()}

    def owned(self) -> dict[str, set[str]]:
        """The keys that somebody owns in each place."""
        return {name: each.world.owners(self.resource.scope).keys() - {""} for name, each in self.places.items()}

    def sensitive(self) -> set[str]:
        """The keys whose values some place keeps as sensitive."""
        scope = self.resource.scope
        return {key for each in self.places.values() for key in each.world.sensitive(scope)}

    def overwrite(self, place: str, key: str, text: str) -> None:
        """Someone else writes."""
        self.places[place].world.overwrite(self.resource.scope, key, text)

    def remove(self, place: str, key: str) -> None:
        """Someone else deletes."""
        self.places[place].world.remove(self.resource.scope, key)


def enforced(key: str, text: str = "ours") -> Entry:
    return Entry(key, Policy.ENFORCE, Value(text))


def sown(key: str, text: str = "sown") -> Entry:
    return Entry(key, Policy.SEED, Value(text))


def observed(key: str) -> Entry:
    return Entry(key, Policy.OBSERVE)


def table(client: Any, name: str) -> str:
    """A table, made where it is not there yet."""
    with suppress(client.exceptions.ResourceInUseException):
        create_table(client, name)
    return name
