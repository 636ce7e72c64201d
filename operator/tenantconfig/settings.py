"""Settings of the processes: flags, then TENANTCONFIG_… variables, then defaults."""

import signal
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tenantconfig.isolation import parse_scope
from tenantconfig.model import OPERATOR_NAMESPACE, Scope

PREFIX = "TENANTCONFIG_"
FILE_NAME = r"^(\.?[A-Za-z0-9_-][A-Za-z0-9._-]*)?$"


class SettingsInvalid(Exception):
    """A setting is missing or wrong; the message names its flag and its variable."""


class Settings(BaseSettings):
    """What all settings have in common."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)


class ControllerSettings(Settings):
    """`tenantconfig controller`."""

    lease_namespace: str = OPERATOR_NAMESPACE
    refresh_queue_url: str = Field(default="", pattern=r"^(https?://.+)?$", description="the queue's URL")
    sweep_seconds: float = Field(default=600.0, ge=0)
    stale_seconds: float = Field(default=60.0, ge=0)
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
    max_streams: int = Field(default=20_000, ge=1)
    max_streams_per_peer: int = Field(default=5_000, ge=1)

    @model_validator(mode="after")
    def _one_kind_of_transport(self) -> Self:
        if self.insecure == bool(self.tls_cert or self.tls_key):
            raise ValueError("give --tls-cert and --tls-key, or --insecure for plaintext, and not both")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("--tls-cert and --tls-key belong together")
        return self


class SubscriberSettings(Settings):
    """What every client needs: where to ask, as whom, and for what."""

    server: str
    ca: Path | None = None
    insecure: bool = False
    token_file: Path
    tenant: str
    environment: str = ""
    service: str = ""

    @model_validator(mode="after")
    def _a_server_is_named(self) -> Self:
        if not self.server.strip(" ,"):
            raise ValueError("--server is empty: give HOST:PORT")
        return self

    @model_validator(mode="after")
    def _one_kind_of_transport(self) -> Self:
        if self.insecure and self.ca:
            raise ValueError("give --ca or --insecure, not both")
        return self

    @property
    def scope(self) -> Scope:
        return Scope(self.tenant, self.environment, self.service)


class ClientSettings(SubscriberSettings):
    """`tenantconfig watch` and `tenantconfig get`."""

    output: Literal["table", "json", "yaml"] = "table"


class AgentSettings(SubscriberSettings):
    """`tenantconfig agent`."""

    directory: Path
    json_file: str = Field(default="", pattern=FILE_NAME, description="a file's name, without a directory")
    env_file: str = Field(default="", pattern=FILE_NAME, description="a file's name, without a directory")
    cache: Path | None = None
    listen: str = Field(default="127.0.0.1:9110", pattern=r"^[^:]*:\d+$", description="HOST:PORT")
    notify_url: str = Field(default="", pattern=r"^(https?://.*)?$", description="a URL of http or https")
    signal: str = Field(default="", pattern=r"^(SIG[A-Z0-9]+)?$", description="a signal's name, such as SIGHUP")
    pid_file: Path | None = None
    grace: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _files_have_names_of_their_own(self) -> Self:
        if self.json_file and self.json_file == self.env_file:
            raise ValueError("--json-file and --env-file are one file")
        return self

    @model_validator(mode="after")
    def _a_signal_goes_to_a_process(self) -> Self:
        if bool(self.signal) != bool(self.pid_file):
            raise ValueError("--signal and --pid-file belong together")
        if self.signal and self.signal not in signal.Signals.__members__:
            raise ValueError(f"--signal {self.signal} is none of this system's")
        return self


class IsolationSettings(SubscriberSettings):
    """`tenantconfig verify-isolation`."""

    foreign_scope: str
    foreign_namespace: str
    namespace: str
    push_gateway: str = ""
    output: Literal["table", "json"] = "table"

    @model_validator(mode="after")
    def _somebody_elses(self) -> Self:
        if self.foreign.tenant == self.tenant or self.foreign_namespace == self.namespace:
            raise ValueError("--foreign-scope and --foreign-namespace are another tenant's")
        return self

    @property
    def foreign(self) -> Scope:
        return parse_scope(self.foreign_scope)


S = TypeVar("S", bound=Settings)


def load(kind: type[S], **flags: Any) -> S:
    """Settings from flags (None: not given) and the environment. Raises SettingsInvalid."""
    try:
        return kind(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsInvalid("; ".join(_explain(kind, problem) for problem in error.errors())) from None


def _explain(kind: type[Settings], problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return message
    name = str(problem["loc"][0])
    if problem["type"] == "string_pattern_mismatch":
        message = f"is to be {kind.model_fields[name].description}"
    what = "is required" if problem["type"] == "missing" else message
    return f"--{name.replace('_', '-')} (or {PREFIX}{name.upper()}) {what}"
