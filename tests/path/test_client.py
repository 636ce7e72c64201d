"""The client library over the network, on real servers: what an application sees."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from harness.aws import free_port
from harness.certificates import CertificateAuthority
from harness.wait import wait_for
from path.test_watch_server import HOST, Home, Site, admitted, home, site, write_tick
from tenantconfig.client import Change, Client, NotReady, State, aio, connect
from tenantconfig.model import Scope

__all__ = ["admitted", "home", "site"]

TIMEOUT = 60


@pytest.fixture(scope="module", autouse=True)
def vouching(site: Site) -> Iterator[None]:
    """Somebody does what the controller does: say every second that all is projected."""
    stopped = threading.Event()

    def vouch() -> None:
        while not stopped.wait(1):
            write_tick(site, datetime.now(UTC).isoformat())

    thread = threading.Thread(target=vouch)
    thread.start()
    yield
    stopped.set()
    thread.join()


def options(site: Site, home: Home, **more: Any) -> dict[str, Any]:
    return {"token_file": site.token_file(home.token), "ca_file": site.authority.ca_file, "subscriber": "pod", **more}


@pytest.fixture
def client(site: Site, home: Home) -> Iterator[Client]:
    with connect(site.address, home.scope, **options(site, home)) as client:
        yield client


def is_ready(client: Client) -> bool:
    return client.config.state is State.READY


def test_an_application_reads_current_values_and_hears_of_changes(home: Home, client: Client) -> None:
    heard: list[Change] = []
    stop = client.on_change(heard.append)
    version = home.publish(1, {"limit": "5", "flag": "true"})
    wait_for(lambda: client.config.version == version, "the first version")
    assert (client.config.get_int("limit"), client.config.get_bool("flag")) == (5, True)
    wait_for(lambda: is_ready(client), "READY")

    home.write(2, {"limit": "6", "flag": "true"})
    wait_for(lambda: client.config["limit"] == "6", "the change")
    wait_for(lambda: len(heard) == 2, "the callbacks")
    assert {each.scope for each in heard} == {home.scope}
    assert [sorted(each.keys) for each in heard] == [["flag", "limit"], ["limit"]]
    stop()
    home.write(3, {"limit": "7", "flag": "true"}, withdrawn=True)
    wait_for(lambda: not client.config, "the withdrawal")
    assert (client.config.state, client.config.reason) == (State.NOT_READY, "withdrawn")
    assert len(heard) == 2


async def test_the_asyncio_face_says_the_same(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    async with aio.connect(site.address, home.scope, **options(site, home)) as client, asyncio.timeout(TIMEOUT):
        await client.wait_ready()
        assert client.config["key"] == "one"
        changes = client.changes()
        following = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        home.write(2, {"key": "two", "new": ""})
        assert (await following).keys == {"key", "new"}
        assert dict(client.config) == {"key": "two", "new": ""}
        home.write(3, {"key": "three", "new": ""})
        home.write(4, {"key": "three"})
        await asyncio.to_thread(wait_for, lambda: "new" not in client.config, "both changes")
        assert (await anext(changes)).keys == {"key", "new"}, "told as one to who was busy"


def test_states_follow_the_servers_and_the_stream_resumes(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    port, states = free_port(), list[State]()
    with ExitStack() as stack:
        first = stack.enter_context(site.start(port, "first"))
        client = stack.enter_context(connect(f"{HOST}:{port}", home.scope, **options(site, home, grace=3)))
        client.on_state(lambda _, state: states.append(state))
        wait_for(lambda: is_ready(client), "READY")
        first.kill()
        wait_for(lambda: client.config.state is State.STALE, "STALE")
        assert client.config["key"] == "one"
        home.write(2, {"key": "two"})
        wait_for(lambda: client.config.state is State.ERROR, "ERROR after the grace")
        assert client.config["key"] == "one"
        stack.enter_context(site.start(port, "second"))
        wait_for(lambda: client.config["key"] == "two" and is_ready(client), "READY with what it missed")
        wait_for(lambda: states[-1] is State.READY, "the last callback")
    assert [each for each in states if each is not State.STALE] == [State.READY, State.ERROR, State.READY]
    assert State.STALE in states


def test_another_server_serves_when_one_is_gone(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    ports = [free_port(), free_port()]
    servers = ",".join(f"{HOST}:{port}" for port in ports)
    with ExitStack() as stack:
        running = [stack.enter_context(site.start(port, f"server-{port}")) for port in ports]
        client = stack.enter_context(connect(servers, home.scope, **options(site, home)))
        wait_for(lambda: is_ready(client), "READY")
        running[0].kill()
        home.write(2, {"key": "two"})
        wait_for(lambda: client.config["key"] == "two" and is_ready(client), "READY from the other")


def test_what_the_validator_refuses_is_reported_and_the_former_version_stays(site: Site, home: Home) -> None:
    def validate(scope: Scope, entries: Any) -> str:
        return "" if entries["limit"].isdigit() else "limit is not a number"

    first = home.publish(1, {"limit": "5"})
    with connect(site.address, home.scope, **options(site, home, validator=validate)) as client:
        client.wait_ready(TIMEOUT)
        home.write(2, {"limit": "many"})
        told = {"revision": 1, "digest": first.digest}

        def refused() -> bool:
            view = f"http://{HOST}:{site.metrics_port}/delivery?tenant={home.name}"
            with urlopen(view, timeout=TIMEOUT) as answer:
                ((subscriber,),) = [each["subscribers"] for each in json.loads(answer.read())]
            return (subscriber["acknowledged"], subscriber["error"]) == (told, "limit is not a number")

        wait_for(refused, "the refusal, seen by operators")
        assert client.config["limit"] == "5"
        why = "revision 2 was refused: limit is not a number"
        wait_for(lambda: (client.config.state, client.config.reason) == (State.STALE, why), "not the latest")
        home.write(3, {"limit": "7"})
        wait_for(lambda: client.config["limit"] == "7" and is_ready(client), "what is valid again")


def test_a_change_leaves_a_client_ready(site: Site, home: Home, client: Client) -> None:
    home.publish(1, {"key": "one"})
    wait_for(lambda: is_ready(client), "READY")
    states: list[State] = []
    client.on_state(lambda _, state: states.append(state))
    beats = client.config.fresh_as_of
    home.write(2, {"key": "two"})
    wait_for(lambda: client.config["key"] == "two" and client.config.fresh_as_of != beats, "the change, vouched for")
    assert states == []


def test_a_pod_starts_from_what_it_knew_while_no_server_is_there(site: Site, home: Home, tmp_path: Path) -> None:
    first, port = home.publish(1, {"key": "one"}), free_port()
    kept = options(site, home, cache=tmp_path)
    with connect(site.address, home.scope, **kept) as client:
        client.wait_ready(TIMEOUT)
    with connect(f"{HOST}:{port}", home.scope, **kept) as client:
        client.wait_ready(TIMEOUT)
        assert (client.config["key"], client.config.version, client.config.state) == ("one", first, State.STALE)
        with site.start(port, "late"):
            wait_for(lambda: is_ready(client), "READY, confirmed")
            home.write(2, {"key": "one"}, withdrawn=True)
            wait_for(lambda: not client.config, "the withdrawal")
    with connect(f"{HOST}:{port}", home.scope, **kept) as client, pytest.raises(NotReady, match=str(home.scope)):
        client.wait_ready(0.5)


def test_what_the_validator_refuses_at_first_is_why_there_are_no_values(
    site: Site, home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    def validate(scope: Scope, entries: Any) -> Any:
        entries.clear()  # no way to have other values than the server

    home.publish(1, {"limit": "many"})
    for validator, why in (
        (lambda *_: "not a number\ud800" + "!" * 100_000, "revision 1 was refused: not a number"),
        (lambda *_: True, "revision 1 was refused: True"),
        (validate, "revision 1 was refused: the validator failed with AttributeError"),
    ):
        with connect(site.address, home.scope, **options(site, home, validator=validator)) as client:
            wait_for(lambda client=client: "refused" in client.config.reason, "the refusal")  # type: ignore[misc]
            with pytest.raises(NotReady, match=why):
                client.wait_ready(0)
        assert why in caplog.text.replace("is refused", "was refused").replace(f" of scope {home.scope}", "")


def test_a_ca_that_cannot_be_used_is_why_and_is_read_again(site: Site, home: Home, tmp_path: Path) -> None:
    home.publish(1, {"key": "one"})
    ca = tmp_path / "ca.crt"
    with connect(site.address, home.scope, **options(site, home, ca_file=ca)) as client:
        with pytest.raises(NotReady, match=f"CA file {ca} cannot be read: No such file"):
            client.wait_ready(TIMEOUT)
        ca.write_text("none")
        wait_for(lambda: client.config.reason == f"CA file {ca} does not hold a certificate: PEM is wanted", "why")
        ca.write_bytes(CertificateAuthority(tmp_path / "another").ca_file.read_bytes())
        wait_for(lambda: "andshake failed" in client.config.reason, "a CA of others")
        ca.write_bytes(site.authority.ca_file.read_bytes())
        wait_for(lambda: is_ready(client), "READY with the CA that was put there")


def test_a_scope_that_is_denied_first_leaves_the_others(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    denied = [Scope("not-mine"), Scope("not-mine", "either")]
    with connect(site.address, [*denied, home.scope], **options(site, home)) as client:
        wait_for(lambda: client.configs[home.scope].state is State.READY, "the one that is permitted")
        wait_for(lambda: all(client.configs[each].state is State.ERROR for each in denied), "those that are not")
        assert all(str(each) in client.configs[each].reason for each in denied)


@pytest.mark.parametrize(
    ("scopes", "why"),
    [
        ([], "no scope is wanted"),
        ("acme", "'a' is not a Scope"),
        ([Scope("acme"), Scope("Acme")], "tenant: is not a DNS label"),
        (Scope(""), "tenant: is required"),
    ],
)
def test_what_is_no_scope_is_told_at_once(site: Site, home: Home, scopes: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        connect(site.address, scopes, **options(site, home))
    with pytest.raises(ValueError, match="no server is named"):
        connect(" , ", home.scope, **options(site, home))


def test_the_one_config_of_several_is_no_question(site: Site, home: Home) -> None:
    with pytest.raises(ValueError, match="has 2 scopes: `configs`"):
        _ = connect(site.address, [home.scope, Scope("acme")], **options(site, home)).config


def test_a_callback_may_close_the_client_and_may_not_wait_for_it(site: Site, home: Home) -> None:
    failed: list[str] = []
    with connect(site.address, home.scope, **options(site, home)) as client:

        def close(_: Change) -> None:
            try:
                client.wait_ready()
            except RuntimeError as error:
                failed.append(str(error))
            client.close()

        client.on_change(close)
        home.publish(1, {"key": "one"})
        wait_for(lambda: threads() == set(), "no thread left")
    assert failed == ["a callback cannot wait for the client: both run in the same thread"]
    assert client.config["key"] == "one"
    client.close()


def test_a_callback_is_stopped_once_and_for_all_and_leaves_its_like(home: Home, client: Client) -> None:
    heard: list[Change] = []
    stop = client.on_change(heard.append)
    client.on_change(heard.append)
    stop()
    stop()
    home.publish(1, {"key": "one"})
    wait_for(lambda: heard, "the other")
    assert len(heard) == 1


def test_a_callback_that_nobody_would_await_is_refused(client: Client) -> None:
    async def callback(_: object) -> None: ...

    with pytest.raises(TypeError, match="a plain function"):
        client.on_change(callback)  # type: ignore[arg-type]


def test_a_client_is_opened_once_at_a_time_and_again_after_it_was_closed(site: Site, home: Home) -> None:
    client = connect(site.address, home.scope, **options(site, home))
    with client:
        with pytest.raises(RuntimeError, match="open already"):
            client.__enter__()
        with pytest.raises(NotReady):
            client.wait_ready(0.1)
    home.publish(1, {"key": "one"})
    with client:
        client.wait_ready(TIMEOUT)
        assert client.config["key"] == "one"
    assert threads() == set()


def test_who_waits_for_a_client_that_is_closed_hears_of_it(site: Site, home: Home) -> None:
    caught: list[BaseException] = []

    def wait(client: Client) -> None:
        try:
            client.wait_ready()
        except NotReady as error:
            caught.append(error)

    with connect(site.address, home.scope, **options(site, home)) as client:
        waiting = threading.Thread(target=wait, args=[client])
        waiting.start()
        wait_for(lambda: client.config.reason == "not found", "an answer")
    waiting.join(TIMEOUT)
    assert caught


async def test_an_iterator_tells_what_came_since_it_was_asked_for_and_ends_with_the_client(
    site: Site, home: Home
) -> None:
    home.publish(1, {"key": "one"})
    async with asyncio.timeout(TIMEOUT):
        async with aio.connect(site.address, home.scope, **options(site, home)) as client:
            await client.wait_ready()
            changes, abandoned = client.changes(), client.changes()
            home.write(2, {"key": "two"})
            await asyncio.to_thread(wait_for, lambda: client.config["key"] == "two", "the change")
            assert (await anext(changes)).keys == {"key"}
            following = asyncio.ensure_future(anext(changes, None))
        assert await following is None
        assert [change.keys async for change in abandoned] == [{"key"}], "what it had not told yet, and the end"
        assert [change async for change in client.changes()] == []
        with pytest.raises(RuntimeError, match="not open"):
            await client.wait_ready()


def test_a_scope_that_may_not_be_read_says_so_at_once(site: Site, home: Home) -> None:
    with (
        connect(site.address, Scope("not-mine"), **options(site, home)) as client,
        pytest.raises(NotReady, match="not-mine"),
    ):
        client.wait_ready()
    assert client.config.state is State.ERROR


def test_one_client_serves_many_scopes_and_one_that_is_denied_leaves_the_others(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    scopes = [home.scope, Scope("not-mine")]
    with connect(site.address, scopes, **options(site, home)) as client:
        mine, other = (client.configs[scope] for scope in scopes)
        wait_for(lambda: (mine.state, other.state) == (State.READY, State.ERROR), "both states")
        assert mine["key"] == "one"


def threads() -> set[str]:
    return {each.name for each in threading.enumerate() if each.name == "tenantconfig"}


def test_nothing_is_left_of_a_client_that_was_closed(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    for _ in range(3):
        with connect(site.address, home.scope, **options(site, home)) as client:
            client.wait_ready(TIMEOUT)
            assert threads() == {"tenantconfig"}
        assert threads() == set()
        client.close()
        with pytest.raises(RuntimeError, match="not open"):
            client.wait_ready()
    assert client.config["key"] == "one"
    wait_for(lambda: streams(site) == 0, "no stream left")


def streams(site: Site) -> float:
    with urlopen(f"http://{HOST}:{site.metrics_port}/metrics", timeout=TIMEOUT) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("tenantconfig_watch_streams ")))


async def test_no_task_is_left_of_a_client_that_was_closed(site: Site, home: Home) -> None:
    home.publish(1, {"key": "one"})
    async with aio.connect(site.address, home.scope, **options(site, home)) as client:
        await client.wait_ready(TIMEOUT)
    await asyncio.to_thread(wait_for, lambda: streams(site) == 0, "no stream left")
    assert [each.get_name() for each in asyncio.all_tasks() - {asyncio.current_task()}] == []
