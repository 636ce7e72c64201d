"""An OpenFeature provider over the client: flags are the entries of a scope.

    api.set_provider_and_wait(TenantConfigProvider(connect(…)))
    api.get_client().get_boolean_value("tenant_config_new_checkout", False)

There is no targeting: who reads what was decided when the scope was chosen. Needs the
extra `openfeature`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import FlagNotFoundError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from tenantconfig.client.aio import Change
from tenantconfig.client.config import Config, State, WrongType
from tenantconfig.client.sync import Client

T = TypeVar("T")
Object = Sequence[FlagValueType] | Mapping[str, FlagValueType]


class TenantConfigProvider(AbstractProvider):
    """Evaluates flags from a client's one scope.

    It opens the client when OpenFeature initialises it, and closes it; one that is open already it leaves open.
    `timeout` is how long it waits for the first values, in seconds.
    """

    def __init__(self, client: Client, timeout: float = 10.0) -> None:
        super().__init__()
        self._client = client
        self._timeout = timeout
        self._stop: list[Callable[[], None]] = []
        self._opened = False

    def get_metadata(self) -> Metadata:
        return Metadata("tenantconfig")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Raises NotReady."""
        if not self._client.is_open:
            self._client.__enter__()
            self._opened = True
        try:
            self._client.wait_ready(self._timeout)
        except BaseException:
            self._close()
            raise
        self._stop = [self._client.on_change(self._changed), self._client.on_state(self._state)]

    def shutdown(self) -> None:
        for stop in self._stop:
            stop()
        self._stop = []
        self._close()

    def _close(self) -> None:
        if self._opened:
            self._client.close()
            self._opened = False

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, self._client.config.get_bool)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, self._client.config.__getitem__)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, self._client.config.get_int)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        return self._resolve(flag_key, self._client.config.get_float)

    def resolve_object_details(
        self, flag_key: str, default_value: Object, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[Object]:
        return self._resolve(flag_key, self._object)

    def _object(self, key: str) -> Any:
        value = self._client.config.get_json(key)
        if not isinstance(value, list | dict):
            raise WrongType(f"{key} is neither an object nor a list")
        return value

    def _resolve(self, key: str, read: Callable[[str], T]) -> FlagResolutionDetails[T]:
        config = self._client.config
        if key not in config:
            raise FlagNotFoundError(f"scope {config.scope} has no key {key}")
        try:
            value = read(key)
        except WrongType as error:
            raise TypeMismatchError(str(error)) from None
        fresh = config.state is State.READY
        return FlagResolutionDetails(value, reason=Reason.STATIC if fresh else Reason.STALE)

    def _changed(self, change: Change) -> None:
        self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=sorted(change.keys)))

    def _state(self, config: Config, state: State) -> None:
        details = ProviderEventDetails(message=config.reason)
        if state is State.READY:
            self.emit_provider_ready(details)
        elif state is State.STALE:
            self.emit_provider_stale(details)
        else:
            self.emit_provider_error(details)
