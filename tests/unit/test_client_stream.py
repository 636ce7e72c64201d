"""What becomes of a client without a token that can be sent, and of one that may not read all that it asks for."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from click.testing import CliRunner

from tenantconfig.cli import main
from tenantconfig.client import NO_CREDENTIALS, Connection, Disconnected, Gone, View, get, stream, watch
from tenantconfig.model import Scope
from tenantconfig.watch.v1 import watch_pb2 as pb

SCOPE = Scope("acme")
UNUSABLE = {
    "two lines": b"secret\nsecret",
    "not UTF-8": b"secret\xff",
    "not ASCII": "secr\u00e9t".encode(),
    "a NUL": b"secret\0",
    "a space": b"Bearer secret",
    "empty": b"\n",
}


@pytest.fixture(params=UNUSABLE.values(), ids=list(UNUSABLE))
def unusable(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_bytes(request.param)
    return file


@pytest.mark.parametrize("command", ["watch", "get"])
def test_a_file_that_holds_no_token_is_one_line(unusable: Path, command: str) -> None:
    arguments = [command, "--tenant=acme", "--server=127.0.0.1:1", "--insecure", f"--token-file={unusable}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert f"token file {unusable} does not hold a token" in line
    assert "secr" not in line.replace(str(unusable), "")


async def test_a_file_that_is_not_there_is_told_and_tried_again(tmp_path: Path) -> None:
    connection = Connection("127.0.0.1:1", tmp_path / "token", insecure=True)
    async with aclosing(watch(connection, View([SCOPE]))) as events:
        for _ in range(2):
            ended = await anext(events)
            assert isinstance(ended, Disconnected)
            assert (ended.code, ended.lasting) == (NO_CREDENTIALS, True)
            assert ended.detail == f"token file {tmp_path / 'token'} cannot be read: No such file or directory"
        connection.token_file.write_text("x.y.z")
        ended = await anext(events)
        assert isinstance(ended, Disconnected)
        assert (ended.code, ended.lasting) == ("UNAVAILABLE", False)
    connection.token_file.unlink()
    asked, _ = await get(connection, SCOPE)
    assert isinstance(asked, Disconnected)
    assert asked.code == NO_CREDENTIALS


async def test_scopes_that_are_denied_first_do_not_make_the_others_wait_longer_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(requests: AsyncIterator[pb.WatchRequest], context: Any) -> None:
        await context.send_initial_metadata(())
        scope = (await anext(aiter(requests))).subscribe.scope
        if scope.tenant != SCOPE.tenant:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, scope.tenant)
        await context.write(pb.WatchResponse(absent=pb.Absent(scope=scope)))
        async for _ in requests:
            pass

    failures: list[int] = []

    def back_off(number: int) -> float:
        failures.append(number)
        return 0.0

    monkeypatch.setattr(stream, "back_off", back_off)
    read, write = pb.WatchRequest.FromString, pb.WatchResponse.SerializeToString
    handler = grpc.stream_stream_rpc_method_handler(answer, read, write)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tenantconfig.watch.v1.WatchService", {"Watch": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    (tmp_path / "token").write_text("x.y.z")
    connection = Connection(f"127.0.0.1:{port}", tmp_path / "token", insecure=True)
    view = View([*(Scope(f"not-mine-{number}") for number in range(4)), SCOPE])
    async with asyncio.timeout(30), aclosing(watch(connection, view)) as events:
        async for event in events:
            if isinstance(event, Gone):
                break
    await server.stop(0)
    assert failures == [1, 1, 1, 1]


def test_the_client_needs_nothing_of_the_operator() -> None:
    operators = ["aiohttp", "boto3", "jwt", "kopf", "kubernetes", "prometheus_client", "rfc8785"]
    code = f"import sys, tenantconfig.client; print([name for name in {operators} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
