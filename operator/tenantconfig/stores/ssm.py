"""Values in SSM Parameter Store: `<pathPrefix>/<tenant>/<environment>/<service>/<key>`.

Theory of operation. SSM has no preconditions and its reads may lag. What stands in
their place: creation is the claim (`Overwrite=false`, the owner as a tag, which AWS
takes only then); names that are not known as ours are looked up by tag; an update
that returns another Version than the one read + 1 means that someone else wrote.

AWS changes no parameter's type, and wants 30 s between the deletion of a name and its
next creation. So a change of type is a deletion, and the creation of a name that this
process deleted less than 30 s ago is left to a later pass; the rest goes on.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from tenantconfig.errors import Conflict, Reason, TenantConfigError, Transient
from tenantconfig.model import MANAGED_BY, Scope, Value
from tenantconfig.plan import Changes, Claim, Contents, Held, Put, written
from tenantconfig.stores import limits
from tenantconfig.stores.aws import FAILURES, translate, translated
from tenantconfig.stores.base import Applied, Gate, always, chunks

MAX_BATCH = 10  # names in one GetParameters or DeleteParameters
REST_SECONDS = 30.0  # between a name's deletion and its next creation (AWS: DeleteParameter)
OWNER_TAG = "tenantconfig.dev/owner"
MANAGED_BY_TAG = "tenantconfig.dev/managed-by"


class Deletions:
    """When names were deleted, as long as it matters. `clock` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._resting: dict[str, float] = {}  # until when

    def note(self, names: Iterable[str]) -> None:
        """The names were deleted just now."""
        now = self._clock()
        self._resting = {name: until for name, until in self._resting.copy().items() if until > now}
        self._resting |= dict.fromkeys(names, now + REST_SECONDS)

    def rest(self, name: str) -> float:
        """Seconds until the name may be created again."""
        return max(0.0, self._resting.get(name, 0.0) - self._clock())


DELETIONS = Deletions()  # one for the process: a ConfigStore's options change, what was deleted does not


class SSMStore:
    """The store protocol over one path of one region. `client` is a boto3 SSM client."""

    def __init__(
        self,
        client: Any,
        path_prefix: str,
        tier: str = "Standard",
        kms_key: str = "",
        deletions: Deletions = DELETIONS,
    ) -> None:
        self._client = client
        self._prefix = path_prefix.rstrip("/")
        self._tier = tier
        self._kms_key = kms_key
        self._deletions = deletions
        self._name = f"SSM path {self._prefix}"

    def probe(self) -> None:
        with translated(self._name):
            self._client.get_parameters(Names=[self._parameter(Scope("_"), "_")])

    def refuses(self, scope: Scope, key: str, value: Value) -> str:
        return limits.ssm(self._prefix, self._tier, scope, key, value)

    def read(self, scope: Scope, keys: Collection[str], claim: Claim, gate: Gate = always) -> Contents:
        names = {self._parameter(scope, key): key for key in sorted(keys)}
        held: dict[str, Held] = {}
        with translated(self._name):
            for chunk in chunks(list(names), MAX_BATCH):
                gate()
                answer = self._client.get_parameters(Names=chunk, WithDecryption=True)
                held |= {names[each["Name"]]: held_from(each) for each in answer["Parameters"]}
            if claim.thorough:
                held |= self._list(scope, gate)
            trusted = {key for key, each in held.items() if claim.trusted.get(key) == each.version}
            unknown = held.keys() - trusted - (claim.indifferent - claim.trusted.keys())
            owners = dict.fromkeys(trusted, claim.owner)
            owners |= {key: self._owner(self._parameter(scope, key), gate) for key in sorted(unknown)}
        return Contents({key: replace(each, owner=owners.get(key, "")) for key, each in held.items()})

    def apply(self, scope: Scope, changes: Changes, gate: Gate = always) -> Applied:
        held: dict[str, Held] = {}
        deleted: set[str] = set()
        released: set[str] = set()
        error: TenantConfigError | None = None
        # What is claimed is written too: its former owner knows by the version that it is not theirs any more.
        puts = (*changes.puts, *changes.claims)
        retyped = [put.key for put in puts if put.replaces and not _same_type(put.replaces, put.value)]
        resting = {put.key: self._rest(scope, put) for put in puts}
        try:
            for put in puts:
                if put.key not in retyped and not resting[put.key]:
                    name = self._parameter(scope, put.key)
                    gate()
                    held[put.key] = self._put(name, put, changes.owner)
                    if put.replaces and put.replaces.owner != changes.owner:
                        gate()
                        self._tag(name, changes.owner)
                        held[put.key] = replace(held[put.key], owner=changes.owner)
            for chunk in chunks([*retyped, *(each.key for each in changes.deletes)], MAX_BATCH):
                gate()
                self._delete([self._parameter(scope, key) for key in chunk])
                deleted |= set(chunk)
            for key in changes.releases:
                gate()
                self._untag(self._parameter(scope, key))
                released.add(key)
            error = self._unfinished(retyped, resting)
        except FAILURES as failure:
            error = translate(failure, self._name)
        except TenantConfigError as failure:
            error = failure
        return Applied(held, frozenset(deleted), frozenset(released), error)

    def shown(self, names: Collection[tuple[Scope, str]]) -> Mapping[tuple[Scope, str], Held]:
        parameters = {self._parameter(scope, key): (scope, key) for scope, key in names}
        found: dict[tuple[Scope, str], Held] = {}
        with translated(self._name):
            for chunk in chunks(sorted(parameters), MAX_BATCH):
                answer = self._client.get_parameters(Names=chunk, WithDecryption=True)
                found |= {parameters[each["Name"]]: held_from(each) for each in answer["Parameters"]}
        return found

    def author(self, scope: Scope, key: str) -> str:
        named = [{"Key": "Name", "Option": "Equals", "Values": [self._parameter(scope, key)]}]
        with translated(self._name):
            found = self._client.describe_parameters(ParameterFilters=named)["Parameters"]
        return str(found[0].get("LastModifiedUser", "")) if found else ""

    def _rest(self, scope: Scope, put: Put) -> float:
        return 0.0 if put.replaces else self._deletions.rest(self._parameter(scope, put.key))

    def _unfinished(self, retyped: Collection[str], resting: dict[str, float]) -> TenantConfigError | None:
        """What a later pass has to create, if anything."""
        seconds = max([REST_SECONDS] if retyped else [0.0, *resting.values()])
        if not seconds:
            return None
        keys = sorted({*retyped, *(key for key, rest in resting.items() if rest)})
        message = f"{keys[0]} and {len(keys) - 1} more were" if len(keys) > 1 else f"{keys[0]} was"
        message += f" deleted, and AWS wants {REST_SECONDS:.0f} s before a name is created again"
        return Transient(Reason.PROGRESSING, f"{self._name}: {message}", after=seconds)

    def _list(self, scope: Scope, gate: Gate) -> dict[str, Held]:
        request = {"Path": f"{self._prefix}/{scope}", "WithDecryption": True}
        found: dict[str, Held] = {}
        while True:
            gate()
            page = self._client.get_parameters_by_path(**request)
            found |= {each["Name"].rpartition("/")[2]: held_from(each) for each in page["Parameters"]}
            if not page.get("NextToken"):
                return found
            request["NextToken"] = page["NextToken"]

    def _parameter(self, scope: Scope, key: str) -> str:
        return limits.parameter_name(self._prefix, scope, key)

    def _put(self, name: str, put: Put, owner: str) -> Held:
        """Write a value; one that was there keeps its owner for the moment."""
        request: dict[str, Any] = {
            "Name": name,
            "Value": put.value.text,
            "Type": "SecureString" if put.value.sensitive else "String",
            "Tier": self._tier,
        }
        if put.value.sensitive and self._kms_key:
            request["KeyId"] = self._kms_key
        if put.replaces:
            version = self._client.put_parameter(**request, Overwrite=True)["Version"]
            if version != int(put.replaces.version) + 1:
                raise Conflict(f"{self._name}: {put.key} was written by someone else at the same time")
            owner = put.replaces.owner
        else:
            tags = {"Tags": owner_tags(owner)} if put.owned else {}
            version = self._client.put_parameter(**request, Overwrite=False, **tags)["Version"]
        return replace(written(put, str(version), owner), format=None)

    def _delete(self, names: list[str]) -> None:
        self._client.delete_parameters(Names=names)
        self._deletions.note(names)

    def _owner(self, name: str, gate: Gate) -> str:
        gate()
        tags = self._client.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        return next((str(tag["Value"]) for tag in tags if tag["Key"] == OWNER_TAG), "")

    def _tag(self, name: str, owner: str) -> None:
        self._client.add_tags_to_resource(ResourceType="Parameter", ResourceId=name, Tags=owner_tags(owner))

    def _untag(self, name: str) -> None:
        keys = [OWNER_TAG, MANAGED_BY_TAG]
        self._client.remove_tags_from_resource(ResourceType="Parameter", ResourceId=name, TagKeys=keys)


def requests(changes: Changes) -> int:
    """How many requests the changes take, as far as can be told before."""
    marks = sum(put.replaces is not None and put.replaces.owner != changes.owner for put in changes.puts)
    writes = len(changes.puts) + marks + 2 * len(changes.claims)
    return writes + -(-len(changes.deletes) // MAX_BATCH) + len(changes.releases)


def owner_tags(owner: str) -> list[dict[str, str]]:
    return [{"Key": OWNER_TAG, "Value": owner}, {"Key": MANAGED_BY_TAG, "Value": MANAGED_BY}]


def _same_type(held: Held, value: Value) -> bool:
    return held.intact and held.sensitive == value.sensitive


def held_from(parameter: dict[str, Any]) -> Held:
    version = parameter["Version"]
    kind = parameter["Type"]
    intact = kind != "StringList"  # we make none
    pristine = intact and version == 1
    return Held(parameter["Value"], str(version), sensitive=kind == "SecureString", intact=intact, pristine=pristine)
