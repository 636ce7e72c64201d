"""No sensitive value is anywhere but in SSM and in the projected Secret, whatever goes wrong on the way."""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from harness import cluster
from harness.api import Object, Refused
from harness.processes import Process
from harness.recorder import Fault, parse
from harness.system import NAMESPACE, TABLE, System, condition
from harness.wait import wait_for
from path.test_controller import configmap, gone, quiet, ready
from path.test_hazards import stalled_for
from path.test_stores import LONG, adopt, from_secret, observe, seed
from path.test_stream import received, watch

pytestmark = pytest.mark.timeout(300)

API_KEY, SEEN, SEEDED = "param_config_api_key", "param_config_seen", "param_config_seeded"
PLAIN = "tenant_config_plain"
PROCESSES = ("controller", "watch-server")


def forms(value: str) -> set[str]:
    """How a value could show: as it is, in base64 at any offset within something longer, as its public hash."""
    found = {value, hashlib.sha256(value.encode()).hexdigest()}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value.encode()).decode()
        found.add(encoded[4 if offset else 0 : -4])  # the ends depend on what is around it
    return found


def places_with(texts: dict[str, str], value: str) -> set[str]:
    """The names of those texts that show a value in any form."""
    return {name for name, text in texts.items() if any(form in text for form in forms(value))}


class Site:
    """A scope with sensitive entries, who watches it, and everything that shows what is not meant for all."""

    def __init__(self, system: System, tenant: str) -> None:
        self.system = system
        self.tenant = tenant
        self.values: list[str] = []
        self.client: Process | None = None
        self._mark = system.plane.audit_mark()

    def new(self, what: str) -> str:
        """A value like no other."""
        self.values.append(f"{what}-{secrets.token_hex(16)}")
        return self.values[-1]

    def resource(self, *more: Object, name: str = "test", **spec: Any) -> Object:
        entries = [from_secret(API_KEY), {"key": PLAIN, "value": "public"}, *more]
        scope = {"tenantId": self.tenant, "environment": "prod", "service": "web"}
        return cluster.tenant_config(self.tenant, name, **{**scope, "entries": entries, **spec})

    def parameter(self, key: str) -> str:
        return f"/tenant-config/{self.tenant}/prod/web/{key}"

    def put(self, key: str, value: str) -> None:
        """Someone else writes a SecureString."""
        name = self.parameter(key)
        self.system.parameters.put_parameter(Name=name, Value=value, Type="SecureString", Overwrite=True)

    def source(self, **data: str) -> Object:
        """The Secret that values come from."""
        metadata = {"namespace": self.tenant, "name": "keys", "labels": {"tenantconfig.dev/source": "true"}}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}

    def rotate(self, value: str) -> None:
        self.system.admin.patch(self.source(), {"stringData": {"api": value}})

    def projected(self) -> dict[str, str]:
        """What the projected Secret holds, decoded; empty when there is none."""
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": self.tenant, "name": "test"}}
        data = self.system.admin.get(body).get("data", {}) if self.system.admin.exists(body) else {}
        return {key: base64.b64decode(text).decode() for key, text in data.items()}

    # Where a value could show

    def in_the_open(self) -> dict[str, str]:
        """Everything that is not meant for sensitive values, as text, by name."""
        table = self.system.table.scan(TableName=TABLE, ConsistentRead=True)["Items"]
        return {
            **{f"log of {name}": self._file(f"{name}.log") for name in PROCESSES},
            **{f"metrics of {name}": self.system.metrics(name) for name in PROCESSES},
            "TenantConfigs": self._listed("/apis/tenantconfig.dev/v1alpha1/tenantconfigs"),
            "ConfigStores": self._listed("/apis/tenantconfig.dev/v1alpha1/configstores"),
            "ConfigMaps": self._listed("/api/v1/configmaps"),
            "events": self._listed("/api/v1/events") + self._listed("/apis/events.k8s.io/v1/events"),
            "stream": self.client.output() if self.client else "",
            "audit log": self._audit(),
            "DynamoDB": json.dumps(table),
            "parameters in plain text": json.dumps(self._parameters(secure=False), default=str),
        }

    def in_confidence(self) -> dict[str, str]:
        """Where sensitive values belong."""
        return {
            "SecureStrings": json.dumps(self._parameters(secure=True), default=str),
            "projected Secret": self._listed(f"/api/v1/namespaces/{self.tenant}/secrets/test"),
        }

    def leaks(self) -> dict[str, set[str]]:
        """The places that show a value which they must not, by value."""
        texts = self.in_the_open()
        return {value: found for value in self.values if (found := places_with(texts, value))}

    def _file(self, name: str) -> str:
        return (self.system.directory / name).read_text(errors="replace")

    def _listed(self, path: str) -> str:
        return json.dumps(self.system.admin.request("GET", path))

    def _audit(self) -> str:
        with (self.system.plane.directory / "audit.log").open("rb") as log:
            log.seek(self._mark)
            return log.read().decode(errors="replace")

    def _parameters(self, *, secure: bool) -> list[Any]:
        """The tenant's parameters of one kind, and if it is not the secure one, descriptions and tags of all."""
        ssm = self.system.parameters
        pages = ssm.get_paginator("describe_parameters").paginate()
        described = [each for page in pages for each in page["Parameters"] if f"/{self.tenant}/" in each["Name"]]
        asked = [each["Name"] for each in described if (each["Type"] == "SecureString") == secure]
        found = [ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"] for name in asked]
        if not secure:
            names = [each["Name"] for each in described]
            found += [*described, *(ssm.list_tags_for_resource(ResourceType="Parameter", ResourceId=n) for n in names)]
        return found


@pytest.fixture
def site(system: System, tenant: str) -> Iterator[Site]:
    """The scope; its stream and its resources end with the test."""
    site = Site(system, tenant)
    yield site
    if site.client:
        site.client.stop()
    system.reset()
    for body in (site.resource(name="test"), site.resource(name="second")):
        if system.admin.exists(body):
            system.admin.delete(body)
            wait_for(lambda body=body: not system.admin.exists(body), "tidied up", LONG)  # type: ignore[misc]


Answer = Callable[[str, bytes], tuple[int, str] | None]


@pytest.fixture
def meddling(system: System, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Answer]]:
    """Answers in the place of SSM, by operation: status and body for a request; None has SSM answer itself."""
    recorder, handle = system.aws.recorder, system.aws.recorder.handle
    answers: dict[str, Answer] = {}

    def meddle(method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        operation = parse(path, headers, body).operation
        answer = answers[operation](operation, body) if operation in answers else None
        if answer is None:
            return handle(method, path, headers, body)
        plain = Fault(operation, "", *answer[:1], 1).answer()
        return type(plain)(plain.status, plain.headers, answer[1].encode())

    monkeypatch.setattr(recorder, "handle", meddle)
    yield answers
    answers.clear()


def quoting(code: str) -> Answer:
    """An error whose message quotes the whole request, as AWS's own may."""

    def answer(operation: str, body: bytes) -> tuple[int, str]:
        return 400, json.dumps({"__type": code, "message": f"1 validation error detected: {body.decode()}"})

    return answer


def unready_for(system: System, body: Object, reason: str) -> None:
    wait_for(lambda: condition(system.admin.get(body), "Ready").get("reason") == reason, reason)


def begun(site: Site) -> Object:
    """The resource, Ready with a value from a Secret, and someone who watches its scope."""
    value = site.new("first")
    site.system.admin.create(site.source(api=value))
    body = site.resource()
    site.system.admin.apply(body)
    ready(site.system, body)
    site.client = watch(site.system, site.tenant)
    received(site.client, 1)
    assert site.projected() == {API_KEY: value}
    return body


def plant(site: Site, value: str) -> None:
    """Put a value into every kind of place that a test can write to."""
    admin, namespace = site.system.admin, site.tenant
    hidden = base64.b64encode(f"({value})".encode()).decode()
    admin.create({**configmap(namespace, "planted"), "data": {"planted": hidden}})
    admin.patch(cluster.config_store("dynamodb"), {"metadata": {"annotations": {"planted": value}}})
    concerns = {"kind": "TenantConfig", "namespace": namespace, "name": "test"}
    event = {"metadata": {"namespace": namespace, "name": "planted"}, "involvedObject": concerns, "message": value}
    admin.request("POST", f"/api/v1/namespaces/{namespace}/events", event)
    with suppress(Refused):
        anyone = admin.as_service_account(NAMESPACE, "controller")
        anyone.request("GET", f"/api/v1/namespaces/{namespace}/configmaps/{value}")
    site.system.parameters.put_parameter(Name=site.parameter("param_config_planted"), Value=value, Type="String")


def test_the_search_finds_what_is_there(site: Site) -> None:
    system, planted = site.system, f"planted-{secrets.token_hex(16)}"
    body = site.resource(entries=[{"key": PLAIN, "value": planted}])
    system.admin.apply(body)
    ready(system, body)
    site.client = watch(system, site.tenant)
    received(site.client, 1)
    plant(site, planted)
    reached = {"TenantConfigs", "ConfigStores", "ConfigMaps", "events", "stream", "audit log", "DynamoDB"}
    reached |= {"parameters in plain text"}
    wait_for(lambda: places_with(site.in_the_open(), planted) == reached, "the planted value")
    system.parameters.delete_parameter(Name=site.parameter("param_config_planted"))

    # Nobody else writes to the rest: that it is the right text is known by what it says in any case.
    texts = site.in_the_open()
    for name in PROCESSES:
        assert "python_info" in texts[f"metrics of {name}"]
    assert ": serving\n" in texts["log of watch-server"]
    system.stop_controller()
    system.start_controller()
    assert len(site.in_the_open()["log of controller"]) > len(texts["log of controller"])


def test_values_are_in_ssm_and_in_the_secret_and_nowhere_else(site: Site) -> None:
    system = site.system
    body = begun(site)
    assert site.leaks() == {}

    for key in (SEEN, SEEDED):
        site.put(key, site.new(key))
    current = {SEEN: site.values[-2], SEEDED: site.values[-1], API_KEY: site.new("rotated")}
    site.rotate(current[API_KEY])
    system.admin.apply(site.resource(observe(SEEN), seed(SEEDED, "public too")))
    wait_for(lambda: site.projected() == current, "all in the Secret")
    ready(system, body)
    for value in current.values():
        assert places_with(site.in_confidence(), value) == {"SecureStrings", "projected Secret"}
    assert site.leaks() == {}

    current[SEEN] = site.new("changed by others")
    site.put(SEEN, current[SEEN])
    entries = site.resource(observe(SEEN), seed(SEEDED, "public too"))["spec"]["entries"]
    entries[1]["value"] = "public and new"
    system.admin.apply(site.resource(entries=entries))
    assert site.client
    assert received(site.client, 2)[1]["entries"] == {PLAIN: "public and new"}
    wait_for(lambda: site.projected() == current, "the observed change in the Secret")
    assert site.leaks() == {}

    system.aws.fail("DeleteParameters", "InternalServerError", status=500, times=1000)
    system.admin.delete(body)
    unready_for(system, body, "StoreFailed")
    assert site.leaks() == {}
    system.reset()
    gone(system, body)
    assert received(site.client, 3)[2]["absent"] == "WITHDRAWN"
    assert site.leaks() == {}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ThrottlingException", "RateLimited"),
        ("AccessDeniedException", "AccessDenied"),
        ("ValidationException", "StoreFailed"),
        ("InternalServerError", "StoreFailed"),
        ("TooManyUpdates", "Conflict"),
        ("SomethingNew", "StoreFailed"),
    ],
)
def test_an_error_of_aws_that_quotes_the_value_goes_no_further(
    site: Site, meddling: dict[str, Answer], code: str, reason: str
) -> None:
    body = begun(site)
    meddling["PutParameter"] = quoting(code)
    value = site.new(code)
    site.rotate(value)
    unready_for(site.system, body, reason)
    assert site.leaks() == {}
    assert places_with(site.in_confidence(), value) == set()
    meddling.clear()
    if reason == "StoreFailed":  # what AWS refuses as invalid is not tried again before something changes
        site.system.admin.patch(body, {"spec": {"deletionPolicy": "Delete"}})
    wait_for(lambda: site.projected() == {API_KEY: value}, "rotated", LONG)
    assert places_with(site.in_confidence(), value) == {"SecureStrings", "projected Secret"}
    assert site.leaks() == {}


@pytest.mark.parametrize("damage", ["cut short", "without versions"])
def test_an_answer_that_makes_no_sense_is_not_repeated_anywhere(
    site: Site, meddling: dict[str, Answer], damage: str
) -> None:
    body = begun(site)
    value = site.new("garbled")
    held = {"Name": site.parameter(API_KEY), "Value": value, "Type": "SecureString"}
    said = json.dumps({"Parameters": [held]})
    meddling["GetParameters"] = lambda *_: (200, said if damage == "without versions" else said[:-3])
    site.rotate(site.new("rotated"))
    wait_for(lambda: condition(site.system.admin.get(body), "Ready")["status"] == "False", "not Ready")
    assert site.leaks() == {}
    meddling.clear()
    wait_for(lambda: site.projected() == {API_KEY: site.values[-1]}, "rotated", LONG)
    assert site.leaks() == {}


def test_values_that_others_write_at_the_same_time_are_not_named_in_the_conflict(
    site: Site, meddling: dict[str, Answer]
) -> None:
    body = begun(site)
    theirs, ours = site.new("theirs"), site.new("ours")

    def overtake(*_: object) -> None:
        meddling.clear()
        site.put(API_KEY, theirs)

    meddling["PutParameter"] = overtake
    site.rotate(ours)
    wait_for(lambda: site.projected() == {API_KEY: ours}, "ours in the end")
    ready(site.system, body)
    assert not meddling
    assert site.leaks() == {}


@pytest.mark.parametrize("refused", ["too large", "a template", "not text", "in DynamoDB"])
def test_a_value_that_its_store_refuses_is_not_shown(site: Site, refused: str) -> None:
    body = begun(site)
    value = site.new(refused)
    content = {"too large": value.encode() * 200, "a template": f"{{{{{value}}}}}".encode()}
    content |= {"not text": value.encode() + b"\xff\xfe", "in DynamoDB": value.encode()}
    if refused == "in DynamoDB":
        site.system.admin.apply(site.resource(from_secret("tenant_config_secret")))
        stalled_for(site.system, body, "Invalid")
    site.system.admin.patch(site.source(), {"data": {"api": base64.b64encode(content[refused]).decode()}})
    quiet(site.system)
    stalled_for(site.system, body, "Invalid")
    assert site.projected() == {API_KEY: site.values[0]}
    assert site.leaks() == {}


@pytest.mark.parametrize("gone_key", [False, True], ids=["the Secret", "its key"])
def test_a_source_that_is_missing_names_no_value(site: Site, gone_key: bool) -> None:
    body = begun(site)
    if gone_key:
        site.system.admin.patch(site.source(), {"data": {"api": None, "another": "AAAA"}})
    else:
        site.system.admin.delete(site.source())
    stalled_for(site.system, body, "SecretNotFound")
    assert site.projected() == {API_KEY: site.values[0]}
    assert site.leaks() == {}


def test_conflicts_over_a_scope_a_value_and_a_secret_name_no_value(site: Site) -> None:
    system, theirs = site.system, site.new("theirs")
    site.put(API_KEY, theirs)
    system.admin.create(site.source(api=site.new("ours")))
    mine = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": site.tenant, "name": "test"}}
    system.admin.create({**mine, "stringData": {"mine": site.new("mine")}})
    body = site.resource()
    system.admin.apply(body)
    message = stalled_for(system, body, "NotOwned")["message"]
    assert site.leaks() == {}

    adopt(system, body, message)
    assert "spec.target.secretName" in stalled_for(system, body, "ConfigMapConflict")["message"]
    assert site.projected() == {"mine": site.values[-1]}
    assert site.leaks() == {}

    system.admin.apply(site.resource(target={"secretName": "another"}))
    ready(system, body)
    another = {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": site.tenant, "name": "another"}}
    found = system.admin.get(another)["data"]
    assert {key: base64.b64decode(text).decode() for key, text in found.items()} == {API_KEY: site.values[1]}
    assert site.projected() == {"mine": site.values[-1]}
    assert site.leaks() == {}

    second = site.resource(name="second")
    system.admin.apply(second)
    stalled_for(system, second, "ScopeConflict")
    assert site.leaks() == {}
