"""Values in SSM Parameter Store: `<pathPrefix>/<tenant>/<environment>/<service>/<key>`.

SSM has no preconditions and its reads may lag. What stands in their place:
creation is the claim (`Overwrite=false`, the owner as a tag, which AWS takes only
then); names that are not known as ours are looked up by tag; an update that
returns another Version than the one read + 1 means that someone else wrote.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tenantconfig.errors import Conflict, Reason, TenantConfigError, Transient
from tenantconfig.model import MANAGED_BY, Scope, Value
from tenantconfig.plan import Changes, Claim, Contents, Held, Put, written
from tenantconfig.stores.aws import translate, translated
from tenantconfig.stores.base import Applied, MayWrite, always, chunks

MAX_BATCH = 10  # names in one GetParameters or DeleteParameters
MAX_LEVELS = 15
MAX_NAME = 1011  # characters, the ARN's head left aside
MAX_BYTES = {"Standard": 4 * 1024, "Advanced": 8 * 1024, "Intelligent-Tiering": 8 * 1024}
OWNER_TAG = "tenantconfig.dev/owner"
MANAGED_BY_TAG = "tenantconfig.dev/managed-by"


class SSMStore:
    """The store protocol over one path of one region. `client` is a boto3 SSM client."""

    def __init__(self, client: Any, path_prefix: str, tier: str = "Standard", kms_key: str = "") -> None:
        self._client = client
        self._prefix = path_prefix.rstrip("/")
        self._tier = tier
        self._kms_key = kms_key
        self._name = f"SSM path {self._prefix}"

    def probe(self) -> None:
        with translated(self._name):
            self._client.get_parameters(Names=[f"{self._prefix}/_"])

    def refuses(self, key: str, value: Value) -> str:
        if not value.text:
            return "is empty, which SSM does not take: leave the entry out, or give it a key of a DynamoDB store"
        if "{{" in value.text:
            return "contains '{{', which SSM does not take: give it a key of a DynamoDB store"
        limit = MAX_BYTES[self._tier]
        if len(value.text.encode()) > limit:
            return f"is larger than the {limit} bytes of a parameter of tier {self._tier}"
        name = self._parameter(Scope("t" * 63, "e" * 63, "s" * 63), key)
        if name.count("/") > MAX_LEVELS or len(name) > MAX_NAME:
            return f"makes a parameter name beyond {MAX_LEVELS} levels or {MAX_NAME} characters: shorten the key"
        return ""

    def read(self, scope: Scope, keys: Collection[str], claim: Claim) -> Contents:
        names = {self._parameter(scope, key): key for key in sorted(keys)}
        held: dict[str, Held] = {}
        with translated(self._name):
            for chunk in chunks(list(names), MAX_BATCH):
                answer = self._client.get_parameters(Names=chunk, WithDecryption=True)
                held |= {names[each["Name"]]: held_from(each) for each in answer["Parameters"]}
            if claim.thorough:
                held |= self._list(scope)
            unknown = {key for key, each in held.items() if claim.trusted.get(key) != each.version}
            unknown -= claim.indifferent
            owners = dict.fromkeys(claim.trusted, claim.owner)
            owners |= {key: self._owner(self._parameter(scope, key)) for key in sorted(unknown)}
        return Contents({key: replace(each, owner=owners.get(key, "")) for key, each in held.items()})

    def apply(self, scope: Scope, changes: Changes, may_write: MayWrite = always) -> Applied:
        held: dict[str, Held] = {}
        deleted: set[str] = set()
        try:
            # What is claimed is written too: its former owner knows by the version that it is not theirs any more.
            for put in (*changes.puts, *changes.claims):
                may_write()
                if put.replaces and put.replaces.sensitive != put.value.sensitive:
                    self._delete([self._parameter(scope, put.key)])
                    raise Transient(Reason.PROGRESSING, f"{put.key} changes its type: made again when SSM allows it")
                held[put.key] = self._put(self._parameter(scope, put.key), put, changes.owner)
            for chunk in chunks([each.key for each in changes.deletes], MAX_BATCH):
                may_write()
                self._delete(self._parameter(scope, key) for key in chunk)
                deleted |= set(chunk)
            for key in changes.releases:
                may_write()
                self._untag(self._parameter(scope, key))
        except (ClientError, BotoCoreError) as error:
            return Applied(held, frozenset(deleted), translate(error, self._name))
        except TenantConfigError as error:
            return Applied(held, frozenset(deleted), error)
        return Applied(held, frozenset(deleted))

    def _list(self, scope: Scope) -> dict[str, Held]:
        path = f"{self._prefix}/{scope}"
        pages = self._client.get_paginator("get_parameters_by_path").paginate(Path=path, WithDecryption=True)
        found = [each for page in pages for each in page["Parameters"]]
        return {each["Name"].rpartition("/")[2]: held_from(each) for each in found}

    def _parameter(self, scope: Scope, key: str) -> str:
        return f"{self._prefix}/{scope}/{key}"

    def _put(self, name: str, put: Put, owner: str) -> Held:
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
            if put.replaces.owner != owner:
                self._tag(name, owner)
        else:
            tags = [{"Key": OWNER_TAG, "Value": owner}, {"Key": MANAGED_BY_TAG, "Value": MANAGED_BY}]
            version = self._client.put_parameter(**request, Overwrite=False, Tags=tags)["Version"]
        return replace(written(put, str(version), owner), format=None)

    def _delete(self, names: Iterable[str]) -> None:
        self._client.delete_parameters(Names=list(names))

    def _owner(self, name: str) -> str:
        tags = self._client.list_tags_for_resource(ResourceType="Parameter", ResourceId=name)["TagList"]
        return next((str(tag["Value"]) for tag in tags if tag["Key"] == OWNER_TAG), "")

    def _tag(self, name: str, owner: str) -> None:
        tags = [{"Key": OWNER_TAG, "Value": owner}, {"Key": MANAGED_BY_TAG, "Value": MANAGED_BY}]
        self._client.add_tags_to_resource(ResourceType="Parameter", ResourceId=name, Tags=tags)

    def _untag(self, name: str) -> None:
        keys = [OWNER_TAG, MANAGED_BY_TAG]
        self._client.remove_tags_from_resource(ResourceType="Parameter", ResourceId=name, TagKeys=keys)


def held_from(parameter: dict[str, Any]) -> Held:
    version = parameter["Version"]
    secure = parameter["Type"] == "SecureString"
    return Held(parameter["Value"], str(version), sensitive=secure, pristine=version == 1)
