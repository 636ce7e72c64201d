"""Stores under an assumed role: whose session signs what, and that the documents for IAM allow it, and no more."""

import random
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from botocore.credentials import DeferredRefreshableCredentials
from botocore.exceptions import ClientError

from harness import iam
from harness.aws import REGION, LocalAws, Moto
from harness.recorder import Call
from stores.world import DynamoDBWorld, SSMWorld
from tenantconfig.errors import Reason, Transient
from tenantconfig.model import Location, Scope
from tenantconfig.plan import Claim, Contents
from tenantconfig.stores import aws, roles
from tenantconfig.stores.base import Gate, Store, always
from tenantconfig.stores.opening import open_store
from tenantconfig.stores.roles import NOBODY, AssumedStore, Sessions, assume_role
from tenantconfig.stores.ssm import SSMStore
from tenantconfig.testing import Resource, World, enforce, new_scope, owner
from tenantconfig.testing.examples import Examples

_paths = count(1)
TAG = "tenant"
TENANTS = [f"tenant-{number}" for number in range(40)]
CONTROLLERS_KEY = "local"  # the controller's own, with which it assumes roles


@pytest.fixture
def path() -> str:
    """Parameters of this test alone."""
    return f"/roles-{next(_paths)}"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, moto: Moto) -> Iterator[None]:
    """What boto3 finds: STS is moto's."""
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    moto.reset_calls()
    yield
    moto.reset_calls()


def opened(path: str, *, role: str = iam.ROLE, tag: str = TAG) -> Store:
    place = {"assumeRoleArn": role, "pathPrefix": path, "region": REGION, "sessionTagKey": tag}
    return open_store(Location("s/1", "ssm", tuple((key, value) for key, value in place.items() if value)), ())


def principal(call: Call, *servers: LocalAws) -> dict[str, str]:
    """The tags of the session that signed a call."""
    found = (server.recorder.assumed(call.access_key) for server in servers)
    return iam.session_tags(next(each for each in found if each))


def tenants_asked_for(call: Call) -> set[str]:
    """Whose parameters a call names."""
    return {name.split("/")[2] for name in call.parameters["Names"]}


# Whose session signs what


def test_a_scopes_requests_are_signed_with_its_tenants_session(moto: Moto, path: str) -> None:
    store = opened(path)
    for tenant in ("acme", "globex", "acme"):
        Resource(store, Scope(tenant)).bring(enforce("key", tenant))
    made, signed = moto.recorded("AssumeRole"), [call for call in moto.recorded() if call.operation != "AssumeRole"]
    assert [iam.session_tags(call) for call in made] == [{TAG: "acme"}, {TAG: "globex"}]
    assert [principal(call, moto)[TAG] for call in signed] == ["acme"] * 2 + ["globex"] * 2 + ["acme"] * 2
    assert {call.parameters["RoleArn"] for call in made} == {iam.ROLE}
    assert {call.access_key for call in made} == {CONTROLLERS_KEY}


def test_no_tenant_gets_anothers_session_when_many_are_served_at_once(moto: Moto, path: str) -> None:
    store = opened(path)
    start = threading.Barrier(8)

    def serve(seed: int) -> None:
        start.wait(timeout=60)
        for tenant in random.Random(seed).sample(TENANTS, len(TENANTS)):  # noqa: S311 – for order, not for secrets
            store.read(Scope(tenant), ["key"], Claim(owner()))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(serve, range(8)))
    reads = moto.recorded("GetParameters")
    assert len(reads) == 8 * len(TENANTS)
    assert all(tenants_asked_for(call) == {principal(call, moto)[TAG]} for call in reads)
    assert Counter(iam.session_tags(call)[TAG] for call in moto.recorded("AssumeRole")) == Counter(TENANTS)


class Astray(Store):
    """A store with a defect: it asks for another tenant's values."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, scope: Scope, keys: Collection[str], claim: Claim, gate: Gate = always) -> Contents:
        return self._store.read(Scope("globex"), keys, claim, gate)


def test_a_request_that_goes_astray_is_signed_for_its_scope_and_refused(moto: Moto, path: str) -> None:
    sessions, client = sessions_and_client("ssm")
    store = AssumedStore(Astray(SSMWorld(moto, client, None, path).store), sessions, iam.ROLE)  # type: ignore[abstract]
    store.read(Scope("acme"), ["key"], Claim(owner()))
    (call,) = moto.recorded("GetParameters")
    assert tenants_asked_for(call) == {"globex"}
    assert principal(call, moto) == {TAG: "acme"}
    policy = iam.document("tenant-role.json", PATH_PREFIX=path)
    assert not any(iam.allows(policy, request.by(tenant="acme")) for request in iam.asked(call))


def test_the_probe_is_nobodys(moto: Moto, path: str) -> None:
    opened(path).probe()
    assert moto.calls() == ["AssumeRole", "GetParameters"]
    assert principal(moto.recorded("GetParameters")[0], moto) == {TAG: NOBODY}


def test_without_a_tag_key_one_untagged_session_serves_all(moto: Moto, path: str) -> None:
    store = opened(path, tag="")
    assert moto.calls() == []
    store.probe()
    for tenant in ("acme", "globex"):
        Resource(store, Scope(tenant)).bring(enforce("key", tenant))
    assert moto.call_counts()["AssumeRole"] == 1
    assert moto.calls()[0] == "AssumeRole"
    assert "Tags" not in str(moto.recorded("AssumeRole")[0].parameters)
    assert {moto.recorder.assumed(call.access_key) is None for call in moto.recorded()[1:]} == {False}


def test_without_a_role_there_is_no_session(moto: Moto, path: str) -> None:
    store = opened(path, role="", tag="")
    Resource(store, Scope("acme")).bring(enforce("key", "1"))
    assert moto.calls() == ["GetParameters", "PutParameter"]
    assert {call.access_key for call in moto.recorded()} == {CONTROLLERS_KEY}


def test_a_session_is_there_before_the_gate_is_asked(moto: Moto, path: str) -> None:
    seen: list[list[str]] = []
    opened(path).read(Scope("acme"), ["key"], Claim(owner()), lambda: seen.append(moto.calls()))
    assert seen == [["AssumeRole"]]


def test_a_role_is_asked_for_once_within_a_call(moto: Moto, path: str) -> None:
    moto.fail("AssumeRole", "InternalFailure", status=500, times=9)
    with pytest.raises(Transient):
        opened(path).probe()
    assert moto.calls() == ["AssumeRole"]


def test_a_role_that_may_not_be_assumed_is_told(moto: Moto, path: str) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "hush"}}, "AssumeRole")

    def assume(tenant: str) -> Mapping[str, str]:
        raise denied

    sessions = Sessions(assume, iam.ACCOUNT, by_tenant=True)
    world = SSMWorld(moto, aws.client("ssm", REGION, sessions), None, path)
    store = AssumedStore(world.store, sessions, iam.ROLE)
    with pytest.raises(Transient, match="AWS refuses AssumeRole") as probed:
        store.probe()
    assert iam.ROLE in probed.value.message
    with pytest.raises(Transient, match="AWS refuses AssumeRole") as read:
        store.read(Scope("acme"), ["key"], Claim(owner()))
    assert {probed.value.reason, read.value.reason} == {Reason.ACCESS_DENIED}
    assert moto.calls() == []


# Sessions


class Desk:
    """Gives out sessions of so many minutes."""

    def __init__(self, minutes: int) -> None:
        self.minutes = minutes
        self.asked: list[str] = []

    def __call__(self, tenant: str) -> Mapping[str, str]:
        self.asked.append(tenant)
        until = datetime.now(UTC) + timedelta(minutes=self.minutes)
        number = len(self.asked)
        return {
            "access_key": f"{tenant}-{number}",
            "secret_key": "secret",
            "token": "token",
            "expiry_time": until.isoformat(),
        }


def signer(sessions: Sessions, tenant: str) -> str:
    """The access key with which a request of a tenant would be signed."""
    with sessions.of(tenant) as renew:
        renew()
        return str(sessions.get_frozen_credentials().access_key)


def test_a_session_is_kept_until_it_is_about_to_expire() -> None:
    lasting, ending = Desk(minutes=60), Desk(minutes=10)
    for desk, keys in ((lasting, ["acme-1", "acme-1"]), (ending, ["acme-2", "acme-3"])):
        sessions = Sessions(desk, iam.ACCOUNT, by_tenant=True)
        if desk is ending:
            signer(sessions, "acme")
        assert [signer(sessions, "acme") for _ in range(2)] == keys


def test_the_sessions_that_were_used_last_are_kept() -> None:
    desk = Desk(minutes=60)
    sessions = Sessions(desk, iam.ACCOUNT, by_tenant=True, size=2)
    for tenant in ("a", "b", "a", "c", "a", "b"):
        signer(sessions, tenant)
    assert desk.asked == ["a", "b", "c", "b"]


def test_who_has_chosen_no_session_signs_nothing(moto: Moto, path: str) -> None:
    sessions, client = sessions_and_client("ssm")
    store = SSMWorld(moto, client, None, path).store
    with sessions.of("acme"), pytest.raises(Transient, match="no usable AWS credentials"):
        store.probe()
    signer(sessions, "acme")
    with pytest.raises(Transient, match="no usable AWS credentials"):
        store.probe()
    assert moto.calls() == ["AssumeRole"]


def test_a_session_that_two_threads_want_at_once_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    second = threading.Event()

    def slowly(refresh: Any, method: str) -> DeferredRefreshableCredentials:
        if not second.is_set():
            second.wait(0.5)  # until another thread is here too, which none should be
        return DeferredRefreshableCredentials(refresh, method)

    def sign(number: int) -> str:
        if number:
            second.set()
        return signer(sessions, "acme")

    monkeypatch.setattr(roles, "DeferredRefreshableCredentials", slowly)
    desk = Desk(minutes=60)
    sessions = Sessions(desk, iam.ACCOUNT, by_tenant=True)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(sign, range(2))) == ["acme-1"] * 2
    assert desk.asked == ["acme"]


def test_what_one_thread_has_chosen_is_not_anothers() -> None:
    sessions = Sessions(Desk(minutes=60), iam.ACCOUNT, by_tenant=True)
    with sessions.of("acme") as renew, ThreadPoolExecutor(1) as threads:
        renew()
        assert threads.submit(sessions.get_frozen_credentials).result() is None


# The contract, and the documents against the calls that it takes


def sessions_and_client(service: str) -> tuple[Sessions, Any]:
    assume = assume_role(aws.client("sts", REGION), iam.ROLE, TAG)
    sessions = Sessions(assume, iam.ACCOUNT, by_tenant=True)
    return sessions, aws.client(service, REGION, sessions)


def refused(calls: Collection[Call], *servers: LocalAws, **placeholders: str) -> list[iam.Request]:
    """What the documents do not let the calls do, each under the session that signed it."""
    role = iam.document("tenant-role.json", **placeholders)
    own = iam.document("controller-assume-role.json", **placeholders)
    trust = iam.document("tenant-role-trust.json", **placeholders)
    found = []
    for call in calls:
        if call.operation == "AssumeRole":
            found += [each for each in iam.asked(call) if not (iam.allows(own, each) and iam.allows(trust, each))]
        else:
            tags = principal(call, *servers)
            found += [each for each in iam.asked(call) if not iam.allows(role, each.by(**tags))]
    return found


class TestFencedStores(Examples):
    """Under a role whose policies tell tenants apart, the stores keep the contract with what the documents allow."""

    @pytest.fixture(params=["dynamodb", "ssm"])
    def world(
        self, request: pytest.FixtureRequest, moto: Moto, path: str, monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[World]:
        servers: list[LocalAws] = [moto]
        if request.param == "dynamodb":
            servers.append(request.getfixturevalue("dynamodb_local"))
            monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", servers[-1].endpoint)
        for server in servers:
            server.reset_calls()
        sessions, client = sessions_and_client(request.param)
        world: DynamoDBWorld | SSMWorld
        if request.param == "dynamodb":
            direct, table = request.getfixturevalue("dynamodb_direct"), request.getfixturevalue("table")
            world = DynamoDBWorld(servers[-1], client, direct, table)
        else:
            world = SSMWorld(moto, client, request.getfixturevalue("ssm_direct"), path)
        world.store = AssumedStore(world.store, sessions, iam.ROLE)
        yield world
        calls = [call for server in servers for call in server.recorded()]
        assert refused(calls, *servers, TABLE_NAME="stores", PATH_PREFIX=path) == []

    @pytest.fixture
    def resource(self, world: World) -> Resource:
        return Resource(world.store, new_scope())


def test_the_controllers_own_document_allows_the_operations_that_stores_make_and_no_other(
    moto: Moto, dynamodb_local: LocalAws, dynamodb: DynamoDBWorld, ssm: SSMWorld
) -> None:
    moto.reset_calls()
    for world in (dynamodb, ssm):
        exercise(world.store)
    exercise_ssm(ssm)
    calls = [*moto.recorded(), *dynamodb_local.recorded()]
    policy = iam.document("controller.json", TABLE_NAME=dynamodb.table, PATH_PREFIX=ssm.path)
    requests = [request for call in calls for request in iam.asked(call)]
    assert [each for each in requests if not iam.allows(policy, each)] == []
    assert {each.action for each in requests} == iam.actions(policy)
    role = iam.document("tenant-role.json")
    assert iam.actions(role) == iam.actions(policy)


def exercise(store: Store) -> None:
    """All that is done to a store in the life of a resource."""
    store.probe()
    resource = Resource(store, new_scope())
    resource.bring(enforce("a", "1"), enforce("b", "1"))
    resource.bring(enforce("a", "2"))
    Resource(store, resource.scope, owner("other"), adopt=owner()).bring(enforce("a", "3"))
    Resource(store, resource.scope, owner("other"), policies=resource.policies, thorough=True).retain()


def exercise_ssm(world: SSMWorld) -> None:
    """SecureStrings, in each tier."""
    Resource(world.store, new_scope()).bring(enforce("secret", "1", sensitive=True))
    Resource(SSMStore(world.client, world.path, "Advanced"), new_scope()).bring(enforce("secret", "1", sensitive=True))
