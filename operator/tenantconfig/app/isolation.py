"""`tenantconfig verify-isolation`: tries, as one tenant, every way to another's values on a live installation.

Nothing is changed: what would be written is sent as a dry run, which admission judges as
it judges the real thing. What one's own tenant may do is tried first, because a refusal
says nothing while everything is refused.
"""

import asyncio
import json
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from http.client import HTTPException
from itertools import chain
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry, Gauge, push_to_gateway

from tenantconfig import isolation, kubeapi
from tenantconfig.app import Failure
from tenantconfig.client.stream import Connection, FileUnusable
from tenantconfig.errors import Reason, TenantConfigError, Transient
from tenantconfig.isolation import Attempt, Guard, Outcome, Result, Series, Side
from tenantconfig.kubeapi import KubeApi
from tenantconfig.model import Scope
from tenantconfig.settings import IsolationSettings
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb
from tenantconfig.watch.v1.watch_pb2_grpc import WatchServiceStub

TIMEOUT_SECONDS = 15.0
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DENIED, UNAUTHENTICATED = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED

Try = Callable[[], Awaitable[str]]  # what was got, in words; raises what refused it


def run(settings: IsolationSettings) -> int:
    """Print what each attempt came to; the exit code says what all did (see `isolation.exit_code`)."""
    results: list[Result] = []
    try:
        results = asyncio.run(_all(settings))
        _print(results, settings)
        if settings.push_gateway:
            _push(results, settings.push_gateway)
    except (Failure, TenantConfigError) as error:  # not as other commands do: their 1 would mean a breach
        print(f"tenantconfig: {error}", file=sys.stderr)
    except Exception:  # a defect is no breach either
        traceback.print_exc()
    else:
        return isolation.exit_code(results)
    return isolation.exit_code(results) or isolation.exit_code([])


async def _all(settings: IsolationSettings) -> list[Result]:
    connection = Connection(settings.server, settings.token_file, settings.ca, settings.insecure)
    try:
        token = connection.metadata()[0][1].removeprefix("Bearer ")
        channel = connection.channel(connection.servers[0])
        isolation.unsigned(token)
    except FileUnusable as error:
        raise Failure(str(error)) from None
    except (TypeError, ValueError):
        raise Failure(f"token file {settings.token_file} holds no JWT, so no claim of it can be altered") from None
    async with channel:
        cluster = await kubeapi.connect()
        try:
            streams = Streams(channel, token, settings)
            return [*await streams.results(), *await Objects(cluster, settings).results()]
        finally:
            await cluster.close()


class Streams:
    """What the watch server is asked for."""

    def __init__(self, channel: grpc.aio.Channel, token: str, settings: IsolationSettings) -> None:
        self._stub = WatchServiceStub(channel)
        self._token = token
        self._own, self._foreign = settings.scope, settings.foreign
        self._foreign_namespace = settings.foreign_namespace

    async def results(self) -> list[Result]:
        own, foreign, token = self._own, self._foreign, self._token
        refused = [await _control("snapshot of one's own scope", partial(self._snapshot, own, token))]
        tokens = {
            "without a token": ("", UNAUTHENTICATED),
            "with a token whose claims were altered": (
                isolation.altered(token, self._foreign_namespace, foreign),
                UNAUTHENTICATED,
            ),
            "with a token that says it needs no signature": (isolation.unsigned(token), UNAUTHENTICATED),
            "with one's own token": (token, DENIED),
        }
        account = ACCOUNT / "token"
        if account.exists():
            tokens["with a token for the API server"] = account.read_text(), UNAUTHENTICATED
        for how, (shown, expected) in tokens.items():
            for kind, ask in (("snapshot", self._snapshot), ("stream", self._stream)):
                name = f"{kind} of {foreign} {how}"
                refused.append(await _refused(name, expected, partial(ask, foreign, shown)))
        later = f"{foreign} on a stream of one's own"
        refused.append(await _refused(later, DENIED, self._later))
        return refused

    async def _snapshot(self, scope: Scope, token: str) -> str:
        request = pb.GetSnapshotRequest(scope=codec.write_scope(scope))
        answer = await self._stub.GetSnapshot(request, metadata=_bearer(token), timeout=TIMEOUT_SECONDS)
        return f"answered with {answer.WhichOneof('response') or 'how stale it is'}"

    async def _stream(self, scope: Scope, token: str) -> str:
        async with self._opened(token) as call:
            await _subscribe(call, scope)
            return await _answer(call, scope)

    async def _later(self) -> str:
        """What the server says of the foreign scope when another was permitted before. Raises _Denied."""
        async with self._opened(self._token) as call:
            await _subscribe(call, self._own)
            await _answer(call, self._own)
            await _subscribe(call, self._foreign)
            return await _answer(call, self._foreign)

    @asynccontextmanager
    async def _opened(self, token: str) -> AsyncIterator[Any]:
        call = self._stub.Watch(metadata=_bearer(token), timeout=TIMEOUT_SECONDS)
        try:
            yield call
        finally:
            call.cancel()


class _Denied(Exception):
    """The server denies one scope of a stream."""


class _Silent(Exception):
    """The server ends a stream without a word: that is no refusal."""


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()


async def _subscribe(call: Any, scope: Scope) -> None:
    await call.initial_metadata()
    with suppress(asyncio.InvalidStateError):  # refused as a whole: reading tells how
        await call.write(pb.WatchRequest(subscribe=pb.Subscribe(scope=codec.write_scope(scope), subscriber="canary")))


async def _answer(call: Any, scope: Scope) -> str:
    """The first that is said of `scope` itself."""
    async for response in call:
        kind = response.WhichOneof("response")
        if kind == "heartbeat":
            about = [each.scope for each in response.heartbeat.stale]
        else:
            about = [getattr(response, kind).scope]
        if any(codec.scope_of(each) == scope for each in about):
            if kind == "denied":
                raise _Denied
            return f"answered with {kind}"
    raise _Silent


class Objects:
    """What the API server is asked for."""

    def __init__(self, cluster: KubeApi, settings: IsolationSettings) -> None:
        self._cluster = cluster
        own = Side(settings.scope, settings.namespace)
        self._attempts = isolation.attempts(own, Side(settings.foreign, settings.foreign_namespace))

    async def results(self) -> list[Result]:
        # At once: an API server that answers nothing must not take longer than a job may.
        groups = await asyncio.gather(
            *(self._found(each) if each.sought else self._made(each) for each in self._attempts)
        )
        return [await self._who(), *chain.from_iterable(groups)]

    async def _who(self) -> Result:
        attempt = "who one is, from the API server"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        try:
            answer = await self._cluster.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
        except TenantConfigError as error:
            return Result(attempt, Outcome.UNTRIED, f"{isolation.NEEDED}: {error.message}")
        return Result(attempt, Outcome.PERMITTED, str(answer["status"]["userInfo"]["username"]))

    async def _found(self, series: Series) -> list[Result]:
        """The attempts on an object that has to be found first."""
        try:
            names = [each["metadata"]["name"] for each in (await self._cluster.get(series.sought))["items"]]
        except TenantConfigError as error:
            return isolation.untried(series, isolation.explained(error))
        if not names:
            return isolation.untried(series, f"there is none to try on: {series.absent}")
        return await self._made(series.about(names[0]))

    async def _made(self, series: Series) -> list[Result]:
        control = isolation.judged(series.control, await self._error(series.control)) if series.control else None
        errors = await asyncio.gather(*map(self._error, series.attempts))
        results = [isolation.judged(*each, control) for each in zip(series.attempts, errors, strict=True)]
        return [control, *results] if control else results

    async def _error(self, attempt: Attempt) -> TenantConfigError | None:
        """What refuses an attempt; None: nothing does."""
        try:
            match attempt.verb:
                case "list":
                    await self._cluster.get(attempt.path)
                case "create":
                    await self._cluster.try_post(attempt.path, attempt.body)
                case "patch":
                    await self._cluster.try_merge(attempt.path, attempt.body)
                case "review":
                    answer = await self._cluster.post(attempt.path, attempt.body)
                    if not answer["status"]["allowed"]:
                        return Transient(Reason.ACCESS_DENIED, Guard.REVIEW)
        except TenantConfigError as error:
            return error
        return None


async def _control(attempt: str, ask: Try) -> Result:
    """What has to succeed; if it does not, refusals prove nothing."""
    result = await _refused(attempt, None, ask)
    if result.outcome is Outcome.BREACH:
        return Result(attempt, Outcome.PERMITTED, result.detail)
    return Result(attempt, Outcome.UNTRIED, f"{isolation.NEEDED}: {result.detail}")


async def _refused(attempt: str, expected: grpc.StatusCode | None, ask: Try) -> Result:
    """What the watch server must refuse; `expected` is how it says so."""
    try:
        return Result(attempt, Outcome.BREACH, await ask())
    except _Denied:
        return Result(attempt, Outcome.REFUSED if expected is DENIED else Outcome.UNTRIED, "Denied")
    except _Silent:
        return Result(attempt, Outcome.UNTRIED, "the stream ended without a word")
    except grpc.aio.AioRpcError as error:
        refused = error.code() is expected
        detail = error.code().name if refused else f"{error.code().name}: {error.details()}"
        return Result(attempt, Outcome.REFUSED if refused else Outcome.UNTRIED, detail)


def _print(results: list[Result], settings: IsolationSettings) -> None:
    if settings.output == "json":
        print(
            json.dumps([{"attempt": each.attempt, "outcome": each.outcome, "detail": each.detail} for each in results])
        )
        return
    for each in results:
        print(f"{each.outcome:9}  {each.attempt}: {each.detail}")


def _push(results: list[Result], gateway: str) -> None:
    registry = CollectorRegistry()
    attempts = Gauge("tenantconfig_isolation_attempts", "Attempts by outcome.", ["outcome"], registry=registry)
    for outcome in Outcome:
        attempts.labels(outcome.lower()).set(sum(each.outcome is outcome for each in results))
    finished = Gauge("tenantconfig_isolation_finished_timestamp_seconds", "When all were made.", registry=registry)
    finished.set(time.time())
    try:
        push_to_gateway(gateway, job="tenantconfig-verify-isolation", registry=registry)
    except (OSError, HTTPException, ValueError) as error:
        raise Failure(f"--push-gateway {gateway} takes no metrics: {error}") from None
