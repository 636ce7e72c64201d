"""What only the SSM store does: names, tags, versions, SecureStrings, and the calls it spends."""

import pytest

from harness.aws import Moto
from stores.world import SSMWorld
from tenantconfig.errors import Conflict, Reason, Stalled, TenantConfigError, Transient
from tenantconfig.model import Format, Policy, Scope, Value
from tenantconfig.stores.limits import MAX_NAME
from tenantconfig.stores.ssm import MANAGED_BY_TAG, OWNER_TAG, SSMStore
from tenantconfig.testing import LONGEST_SCOPE, Resource, enforce, new_scope, observe, owner, seed


@pytest.fixture
def resource(ssm: SSMWorld) -> Resource:
    return Resource(ssm.store, new_scope())


def many(count: int) -> list:  # type: ignore[type-arg]
    return [enforce(f"key-{number:02}", "1") for number in range(count)]


def test_parameters_are_named_and_tagged_as_documented(ssm: SSMWorld) -> None:
    tenant = new_scope().tenant
    resource = Resource(ssm.store, Scope(tenant, "prod", ""))
    resource.bring(enforce("a", "1"))
    (parameter,) = ssm.parameters(resource.scope).values()
    assert parameter["Name"] == f"{ssm.path}/{tenant}/prod/_/a"
    assert parameter["Type"] == "String"
    assert ssm.tags(resource.scope, "a") == {OWNER_TAG: resource.owner, MANAGED_BY_TAG: "tenantconfig"}


def test_a_slash_at_the_end_of_the_path_makes_no_difference(ssm: SSMWorld) -> None:
    scope = new_scope()
    Resource(SSMStore(ssm.store._client, f"{ssm.path}/"), scope).bring(enforce("a", "1"))  # type: ignore[attr-defined]
    assert ssm.texts(scope) == {"a": "1"}


# The calls


def test_an_unchanged_read_of_ten_keys_is_one_call(moto: Moto, resource: Resource) -> None:
    resource.bring(*many(10))
    moto.reset_calls()
    assert not resource.plan(*many(10))
    assert moto.calls() == ["GetParameters"]


def test_25_keys_are_read_in_three_calls(moto: Moto, resource: Resource) -> None:
    resource.read(*many(25))
    reads = moto.recorded("GetParameters")
    assert [len(read.parameters["Names"]) for read in reads] == [10, 10, 5]


def test_one_changed_key_of_ten_is_one_read_and_one_write(moto: Moto, resource: Resource) -> None:
    resource.bring(*many(10))
    moto.reset_calls()
    resource.bring(*many(9), enforce("key-09", "2"))
    assert moto.calls() == ["GetParameters", "PutParameter"]
    (write,) = moto.recorded("PutParameter")
    assert write.parameters["Name"].endswith("/key-09")
    assert write.parameters["Overwrite"] is True
    assert "Tags" not in write.parameters


def test_a_creation_claims_in_the_same_call(moto: Moto, resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    assert moto.calls() == ["GetParameters", "PutParameter"]
    (write,) = moto.recorded("PutParameter")
    assert write.parameters["Overwrite"] is False
    assert {tag["Key"] for tag in write.parameters["Tags"]} == {OWNER_TAG, MANAGED_BY_TAG}


def test_25_keys_are_deleted_in_three_calls(moto: Moto, resource: Resource) -> None:
    resource.bring(*many(25))
    moto.reset_calls()
    resource.bring()
    assert moto.call_counts() == {"GetParameters": 3, "DeleteParameters": 3}


def test_tags_are_looked_up_only_where_the_owner_matters_and_is_unknown(
    moto: Moto, ssm: SSMWorld, resource: Resource
) -> None:
    for key in ("observed", "seeded", "enforced"):
        ssm.overwrite(resource.scope, key, "theirs")
    resource.read(observe("observed"), seed("seeded", "1"), enforce("absent", "1"))
    assert moto.calls() == ["GetParameters"]
    resource.read(observe("observed"), seed("seeded", "1"), enforce("enforced", "1"))
    (lookup,) = moto.recorded("ListTagsForResource")
    assert lookup.parameters["ResourceId"] == ssm.parameter(resource.scope, "enforced")


# Sensitive values


def test_a_sensitive_value_is_a_securestring_and_is_read_back_as_sensitive(ssm: SSMWorld, resource: Resource) -> None:
    held = resource.bring(enforce("a", "hush", sensitive=True))
    assert ssm.parameters(resource.scope)["a"]["Type"] == "SecureString"
    assert held["a"].sensitive
    assert resource.read(enforce("a", "hush")).held["a"] == held["a"]
    assert not resource.plan(enforce("a", "hush", sensitive=True))


def test_a_securestring_of_someone_else_is_sensitive_when_observed(ssm: SSMWorld, resource: Resource) -> None:
    name = ssm.parameter(resource.scope, "a")
    ssm.direct.put_parameter(Name=name, Value="hush", Type="SecureString")
    held = resource.bring(observe("a"))["a"]
    assert (held.text, held.sensitive) == ("hush", True)


@pytest.mark.parametrize(("key_id", "sensitive"), [("alias/ours", True), ("", True), ("alias/ours", False)])
def test_the_key_is_named_for_securestrings_alone(moto: Moto, ssm: SSMWorld, key_id: str, sensitive: bool) -> None:
    store = SSMStore(ssm.store._client, ssm.path, kms_key=key_id)  # type: ignore[attr-defined]
    Resource(store, new_scope()).bring(enforce("a", "hush", sensitive=sensitive))
    (write,) = moto.recorded("PutParameter")
    assert write.parameters.get("KeyId") == (key_id if key_id and sensitive else None)


@pytest.mark.parametrize("to_sensitive", [True, False])
def test_a_changed_type_is_deleted_first_and_made_again_by_a_later_pass(
    moto: Moto, ssm: SSMWorld, resource: Resource, to_sensitive: bool
) -> None:
    resource.bring(enforce("a", "hush", sensitive=not to_sensitive))
    moto.reset_calls()
    applied = resource.apply(resource.plan(enforce("a", "hush", sensitive=to_sensitive)))
    assert isinstance(applied.error, Transient)
    assert applied.error.reason is Reason.PROGRESSING
    assert "hush" not in applied.error.message
    assert "a" not in applied.held
    assert moto.calls() == ["GetParameters", "DeleteParameters"]

    resource.bring(enforce("a", "hush", sensitive=to_sensitive))
    assert ssm.parameters(resource.scope)["a"]["Type"] == ("SecureString" if to_sensitive else "String")
    assert ssm.owners(resource.scope) == {"a": resource.owner}


@pytest.mark.parametrize("text", ["x,y", "z"], ids=["the same text", "another"])
def test_a_list_that_others_made_is_observed_as_its_text_and_enforced_as_a_string(
    moto: Moto, ssm: SSMWorld, resource: Resource, text: str
) -> None:
    ssm.direct.put_parameter(Name=ssm.parameter(resource.scope, "a"), Value="x,y", Type="StringList")
    assert resource.bring(observe("a"))["a"].text == "x,y"
    resource.adopt = "unowned"
    moto.reset_calls()
    resource.apply(resource.plan(enforce("a", text)))
    assert "PutParameter" not in moto.calls(), "AWS changes no parameter's type"
    resource.bring(enforce("a", text))
    assert (ssm.parameters(resource.scope)["a"]["Type"], ssm.texts(resource.scope)) == ("String", {"a": text})


# Versions and owners


def test_the_version_is_ssms_own(ssm: SSMWorld, resource: Resource) -> None:
    assert resource.bring(enforce("a", "1"))["a"].version == "1"
    assert resource.bring(enforce("a", "2"))["a"].version == "2"
    assert str(ssm.parameters(resource.scope)["a"]["Version"]) == "2"


def test_a_version_beyond_the_next_means_that_someone_else_wrote(ssm: SSMWorld, resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    stale = resource.plan(enforce("a", "2"))
    ssm.overwrite(resource.scope, "a", "theirs")
    applied = resource.apply(stale)
    assert isinstance(applied.error, Conflict)
    assert "a" not in applied.held
    resource.bring(enforce("a", "2"))
    assert ssm.texts(resource.scope) == {"a": "2"}


def test_the_keys_before_a_failure_are_acknowledged(moto: Moto, ssm: SSMWorld, resource: Resource) -> None:
    changes = resource.plan(enforce("a", "1"), enforce("b", "1"), enforce("c", "1"))
    ssm.overwrite(resource.scope, "b", "theirs")
    applied = resource.apply(changes)
    assert isinstance(applied.error, Conflict)
    assert applied.held.keys() == {"a"}
    assert ssm.texts(resource.scope) == {"a": "1", "b": "theirs"}


def test_adoption_marks_the_new_owner_and_release_removes_both_marks(ssm: SSMWorld, resource: Resource) -> None:
    ssm.overwrite(resource.scope, "a", "theirs")
    ssm.direct.add_tags_to_resource(
        ResourceType="Parameter", ResourceId=ssm.parameter(resource.scope, "a"), Tags=[{"Key": "team", "Value": "x"}]
    )
    resource.adopt = "unowned"
    resource.bring(enforce("a", "1"))
    assert ssm.tags(resource.scope, "a")[OWNER_TAG] == resource.owner
    resource.retain()
    assert ssm.tags(resource.scope, "a") == {"team": "x"}


def test_a_lost_status_does_not_lose_ownership(resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    resource.policies, resource.trusted = {}, {}
    assert not resource.plan(enforce("a", "1"))


def test_what_is_recorded_as_observed_is_not_removed_though_the_tag_is_ours(ssm: SSMWorld, resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    resource.policies, resource.trusted = {"a": Policy.OBSERVE}, {}
    resource.bring()
    assert ssm.texts(resource.scope) == {"a": "1"}


def test_a_value_made_by_a_stranger_in_the_place_of_a_seed_stays(ssm: SSMWorld, resource: Resource) -> None:
    resource.bring(seed("a", "1"))
    ssm.remove(resource.scope, "a")
    ssm.overwrite(resource.scope, "a", "theirs")
    resource.bring()
    assert ssm.texts(resource.scope) == {"a": "theirs"}


def test_the_format_is_not_kept_and_makes_no_difference(resource: Resource) -> None:
    resource.bring(enforce("a", "1"))
    assert not resource.plan(enforce("a", "1", Format.JSON))


# Refusals


@pytest.mark.parametrize(
    ("tier", "value", "said"),
    [
        ("Standard", Value(""), "empty"),
        ("Standard", Value("a {{b}}"), "{{"),
        ("Standard", Value("a { {b} }"), ""),
        ("Standard", Value("x" * 4096), ""),
        ("Standard", Value("x" * 4097), "4096 bytes"),
        ("Standard", Value("ü" * 2048), ""),
        ("Standard", Value("ü" * 2049), "4096 bytes"),
        ("Advanced", Value("x" * 8192), ""),
        ("Advanced", Value("x" * 8193), "8192 bytes"),
        ("Intelligent-Tiering", Value("x" * 8192), ""),
        ("Standard", Value("hush", sensitive=True), ""),
    ],
)
def test_what_is_refused_before_any_write(ssm: SSMWorld, tier: str, value: Value, said: str) -> None:
    refusal = SSMStore(ssm.store._client, ssm.path, tier).refuses(LONGEST_SCOPE, "key", value)  # type: ignore[attr-defined]
    assert bool(refusal) is bool(said)
    assert said in refusal


def test_a_name_beyond_what_ssm_takes_is_refused(ssm: SSMWorld) -> None:
    fixed = len("/" + "/".join(["t" * 63, "e" * 63, "s" * 63, "key"]))
    longest = "/" + "p" * (MAX_NAME - fixed - 1)
    for path, refused in [(longest, False), (longest + "p", True)]:
        assert bool(SSMStore(None, path).refuses(LONGEST_SCOPE, "key", Value("1"))) is refused


@pytest.mark.parametrize(("levels", "refused"), [(11, False), (12, True)])
def test_more_than_15_levels_are_refused(levels: int, refused: bool) -> None:
    path = "".join(f"/level-{number}" for number in range(levels))
    assert bool(SSMStore(None, path).refuses(LONGEST_SCOPE, "key", Value("1"))) is refused


# Faults

FAULTS = [
    ("ThrottlingException", 400, Transient, Reason.THROTTLED),
    ("RequestLimitExceeded", 503, Transient, Reason.THROTTLED),
    ("AccessDeniedException", 400, Transient, Reason.ACCESS_DENIED),
    ("InvalidKeyId", 400, Transient, Reason.ACCESS_DENIED),
    ("ExpiredTokenException", 400, Transient, Reason.ACCESS_DENIED),
    ("ValidationException", 400, Stalled, Reason.STORE_FAILED),
    ("ParameterLimitExceeded", 400, Stalled, Reason.STORE_FAILED),
    ("ParameterMaxVersionLimitExceeded", 400, Stalled, Reason.STORE_FAILED),
    ("HierarchyLevelLimitExceededException", 400, Stalled, Reason.STORE_FAILED),
    ("UnsupportedParameterType", 400, Stalled, Reason.STORE_FAILED),
    ("TooManyUpdates", 400, Conflict, Reason.CONFLICT),
    ("ParameterAlreadyExists", 400, Conflict, Reason.CONFLICT),
    ("InternalServerError", 500, Transient, Reason.STORE_FAILED),
]


@pytest.mark.parametrize(("code", "status", "kind", "reason"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_fault_of_a_write_is_in_the_result(
    moto: Moto, ssm: SSMWorld, resource: Resource, code: str, status: int, kind: type[Exception], reason: Reason
) -> None:
    changes = resource.plan(enforce("a", "hush"))
    moto.reset_calls()
    moto.fail("PutParameter", code, status=status)
    error = resource.apply(changes).error
    assert type(error) is kind
    assert isinstance(error, TenantConfigError)
    assert error.reason is reason
    assert "hush" not in error.message
    assert ssm.path in error.message
    assert moto.calls() == ["PutParameter"], "the pass repeats, not the client"
    assert ssm.texts(resource.scope) == {}


@pytest.mark.parametrize("operation", ["GetParameters", "ListTagsForResource"])
def test_a_fault_of_a_read_is_raised(moto: Moto, ssm: SSMWorld, resource: Resource, operation: str) -> None:
    ssm.overwrite(resource.scope, "a", "hush")
    moto.fail(operation, "ThrottlingException")
    with pytest.raises(Transient) as caught:
        resource.read(enforce("a", "1"))
    assert caught.value.reason is Reason.THROTTLED
    assert operation in caught.value.message
    assert "hush" not in caught.value.message


def test_a_fault_of_a_deletion_is_in_the_result(moto: Moto, ssm: SSMWorld, resource: Resource) -> None:
    resource.bring(*many(12))
    changes = resource.plan()
    moto.fail("DeleteParameters", "ThrottlingException")
    applied = resource.apply(changes)
    assert applied.error is not None
    assert applied.deleted == frozenset()
    assert len(ssm.texts(resource.scope)) == 12


@pytest.mark.parametrize("operation", ["AddTagsToResource", "RemoveTagsFromResource"])
def test_a_fault_of_a_mark_is_in_the_result(moto: Moto, ssm: SSMWorld, resource: Resource, operation: str) -> None:
    Resource(ssm.store, resource.scope, owner("other")).bring(enforce("a", "1"), seed("b", "1"))
    ssm.overwrite(resource.scope, "b", "2")
    resource.adopt = owner("other")
    resource.policies = {"b": Policy.SEED}
    changes = resource.plan(enforce("a", "1"))
    assert ([each.key for each in changes.claims], changes.releases) == (["a"], ("b",))
    moto.fail(operation, "AccessDeniedException")
    error = resource.apply(changes).error
    assert error is not None
    assert error.reason is Reason.ACCESS_DENIED


def test_a_path_that_cannot_be_read_fails_its_probe(moto: Moto, ssm: SSMWorld) -> None:
    moto.fail("GetParameters", "AccessDeniedException")
    with pytest.raises(Transient, match=ssm.path) as caught:
        ssm.store.probe()
    assert caught.value.reason is Reason.ACCESS_DENIED
