"""The issuers file, and where the keys come from that it names."""

import asyncio
import json
import logging
import ssl
import urllib.request
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tenantconfig.app import Failure
from tenantconfig.errors import TenantConfigError
from tenantconfig.identity import FetchKeys, Keys
from tenantconfig.issuers import Issuer, IssuersInvalid, parse_issuers, refuse_overlaps
from tenantconfig.kubeapi import KubeApi
from tenantconfig.manifests import repeated
from tenantconfig.watch.informer import back_off

JWKS_TIMEOUT_SECONDS = 5.0
JWKS_MAX_BYTES = 1024 * 1024

logger = logging.getLogger(__name__)


class _Loader(yaml.SafeLoader):
    """Refuses what is there twice: of two lists of tenants, the reader of the file might miss the one that counts."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        if key := repeated(node):
            raise yaml.constructor.ConstructorError(None, None, f"{key.value} is there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_issuers(file: Path) -> tuple[Issuer, ...]:
    """The issuers that the file names. Raises Failure, naming the field."""
    try:
        content = yaml.load(file.read_bytes(), _Loader)  # noqa: S506  a safe loader
    except OSError as error:
        raise Failure(f"issuers file {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:  # the latter of odd scalars, or depth
        raise Failure(f"issuers file {file} is not YAML: {error}") from None
    try:
        issuers = parse_issuers(content)
    except IssuersInvalid as error:
        raise Failure(f"issuers file {file}: {error}") from None
    for issuer in issuers:
        if issuer.jwks_file and not Path(issuer.jwks_file).is_file():
            raise Failure(f"issuers file {file}: jwksFile {issuer.jwks_file} of {issuer.name} is not a file")
    return issuers


async def name_issuers(keys: Sequence[Keys], cluster: KubeApi) -> None:
    """Ask the API server what it calls itself, where the issuers file leaves it out. Raises Failure.

    By that name two entries may turn out to be for the same tokens.
    """
    unnamed, failures = [each for each in keys if not each.issuer.issuer], 0
    while unnamed:
        try:
            document = await cluster.get("/.well-known/openid-configuration")
            name = str(document["issuer"])
        except (TenantConfigError, KeyError) as error:
            failures += 1
            logger.warning("the API server does not say what it calls itself (`issuer`): %s", error)
            await asyncio.sleep(back_off(failures))
        else:
            for each in unnamed:
                each.issuer = replace(each.issuer, issuer=name)
            try:
                refuse_overlaps([each.issuer for each in keys])
            except IssuersInvalid as error:
                raise Failure(f"issuers file: {error}") from None
            return


def fetcher(issuer: Issuer, cluster: KubeApi) -> FetchKeys:
    """What brings an issuer's JWKS."""

    async def fetch() -> Mapping[str, Any]:
        if issuer.kubernetes:
            text = await cluster.read("/openid/v1/jwks")
        elif issuer.jwks_file:
            text = await asyncio.to_thread(Path(issuer.jwks_file).read_bytes)
        else:
            text = await asyncio.to_thread(_download, issuer.jwks_uri)
        document = json.loads(text)
        if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
            raise ValueError("not a JWKS")
        return document

    return fetch


def _download(uri: str) -> bytes:
    context = ssl.create_default_context()
    with urllib.request.urlopen(uri, timeout=JWKS_TIMEOUT_SECONDS, context=context) as answer:  # noqa: S310  https only
        content: bytes = answer.read(JWKS_MAX_BYTES + 1)
    if len(content) > JWKS_MAX_BYTES:
        raise ValueError(f"a JWKS of more than {JWKS_MAX_BYTES} bytes")
    return content
