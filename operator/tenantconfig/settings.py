"""Settings of the processes: flags, then TENANTCONFIG_… variables, then defaults."""

from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tenantconfig.model import OPERATOR_NAMESPACE, Scope

PREFIX = "TENANTCONFIG_"


class SettingsInvalid(Exception):
    """A setting is missing or wrong; the message names its flag and its variable."""


class Settings(BaseSettings):
    """What all settings have in common."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)


class ControllerSettings(Settings):
    """`tenantconfig controller`."""

    lease_namespace: str = OPERATOR_NAMESPACE
    metrics_port: int | None = Field(default=None, ge=0, le=65535)


class WatchServerSettings(Settings):
    """`tenantconfig watch-server`."""

    listen: str
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    issuers: Path
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    operator_namespace: str = OPERATOR_NAMESPACE

    @model_validator(mode="after")
    def _one_kind_of_transport(self) -> Self:
        if self.insecure == bool(self.tls_cert or self.tls_key):
            raise ValueError("give --tls-cert and --tls-key, or --insecure for plaintext, and not both")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("--tls-cert and --tls-key belong together")
        return self


class ClientSettings(Settings):
    """`tenantconfig watch` and `tenantconfig get`."""

    server: str
    ca: Path | None = None
    insecure: bool = False
    token_file: Path
    tenant: str
    environment: str = ""
    service: str = ""
    output: Literal["table", "json", "yaml"] = "table"

    @model_validator(mode="after")
    def _one_kind_of_transport(self) -> Self:
        if self.insecure and self.ca:
            raise ValueError("give --ca or --insecure, not both")
        return self

    @property
    def scope(self) -> Scope:
        return Scope(self.tenant, self.environment, self.service)


S = TypeVar("S", bound=Settings)


def load(kind: type[S], **flags: Any) -> S:
    """Settings from flags (None: not given) and the environment. Raises SettingsInvalid."""
    try:
        return kind(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsInvalid("; ".join(_explain(problem) for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    what = "is required" if problem["type"] == "missing" else message
    return f"--{name.replace('_', '-')} (or {PREFIX}{name.upper()}) {what}"
