"""The controller's whole way from a TenantConfig to SSM in virtual time: only the two ends are models, and they count.

Real are handlers, passes, reconciler, store keeper, rations, budget and SSM store.
The API server is a dictionary that tells of its changes, SSM another one that may
have a limit of its own. Requests take no time: what takes time is waiting.
"""

import asyncio
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from harness.virtual_time import Inline
from tenantconfig.errors import AlreadyExists, Conflict, Missing, Reason
from tenantconfig.guard import Guard
from tenantconfig.handlers import Handlers
from tenantconfig.known import Known
from tenantconfig.kubeapi import Body, KubeApi
from tenantconfig.model import GROUP, VERSION, ResourceRef, TenantConfig
from tenantconfig.ownwrites import OwnWrites
from tenantconfig.passes import Outcome, Passes
from tenantconfig.rations import PORTION, WRITES_PER_SECOND, Rations
from tenantconfig.reconcile import Reconciler
from tenantconfig.spec import FINALIZER, tenant_config
from tenantconfig.storecalls import StoreCalls
from tenantconfig.storekeeper import StoreKeeper
from tenantconfig.stores.ssm import Deletions, SSMStore
from tenantconfig.verification import Verification

NAMESPACE = "team"
CONFIGS = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/tenantconfigs"
RATE = WRITES_PER_SECOND
BURST = PORTION
SMALLS = 9
SETTLING_SECONDS = 60.0


class Limit:
    """What SSM itself allows of one operation: a bucket of `burst` that fills at `rate`, until it ends."""

    def __init__(self, rate: float, burst: float, until: float = math.inf) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._until = until
        self._at = 0.0

    def allows(self, now: float) -> bool:
        """Whether one more request is answered; it is counted if so."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if now >= self._until:
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class CountingSSM:
    """As much of boto3's SSM client as SSMStore uses. `limits` are by operation."""

    def __init__(self, now: Callable[[], float], **limits: Limit) -> None:
        self.parameters: dict[str, dict[str, Any]] = {}
        self.tags: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.limits = limits
        self.calls: Counter[str] = Counter()  # by operation
        self.refused: Counter[str] = Counter()  # of the calls
        self.reads: Counter[str] = Counter()  # GetParameters calls by tenant
        self.times: defaultdict[str, list[float]] = defaultdict(list)  # of the calls, by operation
        self._now = now

    def get_parameters(self, *, Names: list[str], **_: Any) -> Any:  # noqa: N803  boto3's
        self.reads[tenant_of(Names[0])] += 1
        self._called("GetParameters")
        return {"Parameters": [self.parameters[name] for name in Names if name in self.parameters]}

    def get_parameters_by_path(self, *, Path: str, **_: Any) -> Any:  # noqa: N803
        self._called("GetParametersByPath")
        return {"Parameters": [each for name, each in self.parameters.items() if name.startswith(f"{Path}/")]}

    def list_tags_for_resource(self, *, ResourceId: str, **_: Any) -> Any:  # noqa: N803
        self._called("ListTagsForResource")
        return {"TagList": [{"Key": key, "Value": value} for key, value in self.tags[ResourceId].items()]}

    def put_parameter(self, *, Name: str, Value: str, Type: str, Overwrite: bool, **more: Any) -> Any:  # noqa: N803
        self._called("PutParameter")
        former = self.parameters.get(Name)
        if former and not Overwrite:
            raise refusal("ParameterAlreadyExists", "PutParameter")
        version = former["Version"] + 1 if former else 1
        self.parameters[Name] = {"Name": Name, "Value": Value, "Type": Type, "Version": version}
        self.tags[Name] |= {tag["Key"]: tag["Value"] for tag in more.get("Tags", ())}
        return {"Version": version}

    def delete_parameters(self, *, Names: list[str]) -> Any:  # noqa: N803
        self._called("DeleteParameters")
        for name in Names:
            self.parameters.pop(name, None)
            self.tags.pop(name, None)
        return {"DeletedParameters": Names}

    def most_writes_within(self, seconds: float) -> int:
        """The largest number of PutParameter calls in any `seconds` of the run."""
        times = self.times["PutParameter"]
        return max((bisect_left(times, at + seconds) - nth for nth, at in enumerate(times)), default=0)

    def writes_between(self, start: float, end: float) -> float:
        """PutParameter calls a second."""
        times = self.times["PutParameter"]
        return (bisect_left(times, end) - bisect_left(times, start)) / (end - start)

    def _called(self, operation: str) -> None:
        now = self._now()
        self.calls[operation] += 1
        self.times[operation].append(now)
        if operation in self.limits and not self.limits[operation].allows(now):
            self.refused[operation] += 1
            raise refusal("ThrottlingException", operation)


class DictionaryApi(KubeApi):
    """An API server of TenantConfigs and ConfigMaps. `changed(body)` hears of every object as it becomes."""

    def __init__(self) -> None:
        self.objects: dict[str, Body] = {}
        self.changed: Callable[[Body], object] = lambda body: None
        self.writes = 0

    async def get(self, path: str, timeout: float = 0.0) -> Body:  # noqa: ASYNC109  the transport's own
        return self._found(path)

    async def post(self, path: str, body: Mapping[str, Any]) -> Body:
        path = f"{path}/{body['metadata']['name']}"
        if path in self.objects:
            raise AlreadyExists(path)
        return self.store(path, body)

    async def put(self, path: str, body: Mapping[str, Any]) -> Body:
        self._found(path)
        return self.store(path, body)

    async def apply(self, path: str, body: Mapping[str, Any]) -> Body:
        """The whole object is ours here."""
        self._found(path)
        return self.store(path, body)

    async def merge(self, path: str, body: Mapping[str, Any]) -> Body:
        """Of a status."""
        path = path.removesuffix("/status")
        former = self._found(path)
        if body["metadata"]["resourceVersion"] != former["metadata"]["resourceVersion"]:
            raise Conflict(path)
        return self.store(path, {**former, "status": body["status"]})

    def store(self, path: str, body: Mapping[str, Any]) -> Body:
        """Keep an object, without checks."""
        self.writes += 1
        identity = {"uid": self._uid(path), "resourceVersion": str(self.writes)}
        self.objects[path] = {**body, "metadata": {**body["metadata"], **identity}}
        self.changed(self.objects[path])
        return self.objects[path]

    def _found(self, path: str) -> Body:
        if path not in self.objects:
            raise Missing(path)
        return self.objects[path]

    def _uid(self, path: str) -> str:
        former = self.objects.get(path)
        return str(former["metadata"]["uid"]) if former else f"uid-{self.writes}"


class World:
    """One controller's process over an API server and SSM; another one may follow it."""

    def __init__(self, kube: DictionaryApi, ssm: CountingSSM, **rates: float) -> None:
        loop = asyncio.get_running_loop()
        self.kube = kube
        self.ssm = ssm
        self.passes: Counter[ResourceRef] = Counter()
        self.known = Known("eu-central-1")
        self.known.see_store(config_store(1, **rates))
        self.known.see_namespace({"metadata": {"name": NAMESPACE, "annotations": {f"{GROUP}/tenants": "*"}}})
        store = SSMStore(ssm, "/config", deletions=Deletions(loop.time))
        self.rations = Rations(wake=lambda ref: self.scopes.request(ref))
        calls = StoreCalls(self.known, Inline(), lambda: None, self.rations)
        keeper = StoreKeeper(self.known, "cluster-1", lambda *_: store, calls)
        guard = Guard(OwnWrites(loop.time), loop.time)
        self._reconciler = Reconciler(kube, self.known, keeper, guard, Verification(self.known), secrets=False)
        self.scopes = Passes(self._pass, loop.time)
        self._handlers = Handlers(self.known, self.scopes, Passes(no_store_pass, loop.time))
        self._handling: set[asyncio.Task[None]] = set()
        self._ready: dict[ResourceRef, asyncio.Future[float]] = {}  # when a resource became so
        self._loop = loop
        kube.changed = lambda body: loop.call_soon(self._hear, body, "MODIFIED")

    # The people

    def declare(self, tenant: str, values: Mapping[str, str], name: str = "") -> ResourceRef:
        """Create or edit a resource that says `values`."""
        ref = ResourceRef(NAMESPACE, name or tenant)
        entries = [{"key": key, "value": text} for key, text in values.items()]
        former = self.kube.objects.get(f"{CONFIGS}/{ref.name}") or resource_body(ref.name)
        metadata = {**former["metadata"], "generation": former["metadata"]["generation"] + 1}
        spec = {"tenantId": tenant, "service": name, "entries": entries}
        self.kube.store(f"{CONFIGS}/{ref.name}", {**former, "metadata": metadata, "spec": spec})
        return ref

    def resource(self, ref: ResourceRef) -> TenantConfig:
        """A resource as the API server has it."""
        return tenant_config(self.kube.objects[f"{CONFIGS}/{ref.name}"])

    async def ready(self, ref: ResourceRef) -> float:
        """Wait until a resource is Ready as it now is; returns when it became so."""
        if not ready(self.resource(ref)) and self._expected(ref).done():
            del self._ready[ref]
        return await asyncio.shield(self._expected(ref))

    def _expected(self, ref: ResourceRef) -> asyncio.Future[float]:
        return self._ready.setdefault(ref, self._loop.create_future())

    # kopf

    def list_all(self) -> None:
        """What a start brings: every object, in the order of its making."""
        for body in self.kube.objects.values():
            self._see(body)
        for body in list(self.kube.objects.values()):
            self._hear(body, None)

    def _see(self, body: Body) -> None:
        see = self.known.see_configmap if body.get("kind") == "ConfigMap" else self.known.see_tenant_config
        see(body)

    def _hear(self, body: Body, type: str | None) -> None:
        self._see(body)
        name = body["metadata"]["name"]
        if body.get("kind") == "ConfigMap":
            handler = self._handlers.configmap(type=type, body=body, name=name)  # type: ignore[arg-type]  # a dict is
        else:
            handler = self._handlers.tenant_config(type=type, body=body)  # type: ignore[arg-type]
            self._call_for_newer_generation(tenant_config(body))
        task = asyncio.create_task(handler)
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    def _call_for_newer_generation(self, resource: TenantConfig) -> None:
        if resource.generation != resource.status.observed_generation:
            self.scopes.request(resource.ref)
        elif ready(resource) and not self._expected(resource.ref).done():
            self._expected(resource.ref).set_result(self._loop.time())

    async def _pass(self, ref: ResourceRef) -> Outcome:
        self.passes[ref] += 1
        outcome = await self._reconciler(ref)
        if outcome.error and outcome.error.reason is Reason.INTERNAL:
            for future in self._ready.values():
                if not future.done():
                    future.set_exception(AssertionError(outcome.error.message))
        return outcome


async def no_store_pass(name: str) -> Outcome:
    raise AssertionError(f"nothing is to be found out about ConfigStore {name}")


def ready(resource: TenantConfig) -> bool:
    return resource.status.ready and resource.status.observed_generation == resource.generation


def tenant_of(name: str) -> str:
    return name.split("/")[2]


def refusal(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no more"}}, operation)


def config_store(generation: int = 1, **rates: float) -> Body:
    """A ConfigStore that is accepted and has all keys."""
    return {
        "metadata": {"name": "store", "uid": "uid-store", "generation": generation},
        "spec": {"prefixes": [""], "ssm": {"pathPrefix": "/config", **rates}},
        "status": {
            "observedGeneration": generation,
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Ready", "message": "", "lastTransitionTime": ""}
            ],
            "locations": [{"id": "store/1", "pathPrefix": "/config"}],
        },
    }


def resource_body(name: str) -> Body:
    created = "2026-01-01T00:00:00Z"
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "generation": 0,
            "creationTimestamp": created,
            "finalizers": [FINALIZER],
        }
    }


def keys(count: int, text: str = "1") -> dict[str, str]:
    return {f"key-{number:04}": text for number in range(count)}


# Scenarios


@dataclass(frozen=True, slots=True)
class Result:
    """What a scenario came to; seconds are virtual."""

    seconds: float  # until everything was Ready
    arithmetic: float  # the same by the rates alone
    writes: int  # PutParameter calls
    needed: int  # values that were not there
    refused: int  # of the calls
    most_reads: int  # GetParameters calls for the tenant with the most
    passes: int
    most_in_a_second: int  # PutParameter calls
    waits: tuple[float, ...]  # of the small tenants, seconds
    last_rate: float  # PutParameter calls a second, in the last quarter


@dataclass(frozen=True, slots=True)
class Again:
    """What it costs to look at everything once more when all is right."""

    passes_at_start: int
    requests: Mapping[str, int]  # to SSM, by operation
    kubernetes_writes: int


class Scenario:
    """A world, and what has been asked of it."""

    def __init__(self, **limits: Limit) -> None:
        self._now = asyncio.get_running_loop().time
        self.ssm = CountingSSM(self._now, **limits)
        self.kube = DictionaryApi()
        self.world = World(self.kube, self.ssm)
        self._began = self._now()
        self._needed = 0
        self._refs: set[ResourceRef] = set()
        self._waits: list[float] = []

    def declare(self, tenant: str, values: Mapping[str, str], name: str = "") -> ResourceRef:
        """Have a resource say `values`, of which all are new."""
        self._needed += len(values)
        ref = self.world.declare(tenant, values, name)
        self._refs.add(ref)
        return ref

    async def small(self, tenant: str, text: str = "1") -> None:
        """A tenant brings or changes one value, and waits for it."""
        asked = self._now()
        await self.world.ready(self.declare(tenant, {"key": text}))
        self._waits.append(self._now() - asked)

    async def smalls(self, count: int, within: float) -> None:
        """Small tenants one after the other, at moments that have nothing to do with the turns."""
        for number in range(count):
            await asyncio.sleep(within / (count + 1) + number / 7)
            await self.small(f"small-{number}")

    async def result(self, arithmetic: float | None = None) -> Result:
        """Wait until everything is Ready; `arithmetic` if it is not that of the ConfigStore's rate."""
        end = max([await self.world.ready(ref) for ref in self._refs])
        seconds = end - self._began
        return Result(
            seconds=seconds,
            arithmetic=(self._needed - BURST) / RATE if arithmetic is None else arithmetic,
            writes=self.ssm.calls["PutParameter"],
            needed=self._needed,
            refused=self.ssm.refused.total(),
            most_reads=max(self.ssm.reads.values()),
            passes=self.world.passes.total(),
            most_in_a_second=self.ssm.most_writes_within(1.0),
            waits=tuple(self._waits),
            last_rate=self.ssm.writes_between(end - seconds / 4, end),
        )

    async def again(self) -> Again:
        """A controller starts anew, and then every resource is asked for by hand."""
        requests, kubernetes = self.ssm.calls.copy(), self.kube.writes
        successor = World(self.kube, self.ssm)
        successor.list_all()
        await asyncio.sleep(SETTLING_SECONDS)
        started = successor.passes.total()
        for ref in self._refs:
            successor.scopes.request(ref)
        await asyncio.sleep(SETTLING_SECONDS + len(self._refs) / 10)
        return Again(started, self.ssm.calls - requests, self.kube.writes - kubernetes)


async def many_tenants(tenants: int, keys_each: int, smalls: int = SMALLS) -> tuple[Result, Again]:
    """All tenants bring their keys at once, small ones come while that goes on."""
    scenario = Scenario()
    for number in range(tenants):
        scenario.declare(f"tenant-{number:04}", keys(keys_each))
    await scenario.smalls(smalls, tenants * keys_each / RATE)
    return await scenario.result(), await scenario.again()


async def one_tenant_of_many_resources(resources: int, keys_each: int, smalls: int = SMALLS) -> Result:
    """The same amount, of one tenant."""
    scenario = Scenario()
    for number in range(resources):
        scenario.declare("large", keys(keys_each), f"large-{number:04}")
    await scenario.smalls(smalls, resources * keys_each / RATE)
    return await scenario.result()


async def one_large_resource(size: int, changes: int = SMALLS) -> Result:
    """One tenant's resource has many keys; another tenant changes its one key again and again meanwhile."""
    scenario = Scenario()
    scenario.declare("large", keys(size))
    for number in range(changes):
        await asyncio.sleep(size / RATE / (changes + 1) + number / 7)
        await scenario.small("small", f"text {number}")
    return await scenario.result()


async def a_strict_store(tenants: int, keys_each: int, rate: float, burst: float, seconds: float) -> Result:
    """SSM itself allows less than the ConfigStore says, for so many seconds."""
    scenario = Scenario(PutParameter=Limit(rate, burst, seconds))
    for number in range(tenants):
        scenario.declare(f"tenant-{number:04}", keys(keys_each))
    return await scenario.result(seconds + (tenants * keys_each - burst - rate * seconds) / RATE)
