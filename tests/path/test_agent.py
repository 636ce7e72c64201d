"""The file agent as its own process: what an application in any language finds on its disk."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from harness.aws import free_port
from harness.processes import Process
from harness.system import COMMAND
from harness.wait import wait_for
from path.test_client import vouching
from path.test_watch_server import HOST, TIMEOUT, Home, Site, admitted, home, site

__all__ = ["admitted", "home", "site", "vouching"]


class Agent:
    """An agent process, and the directory that it keeps."""

    def __init__(self, site: Site, home: Home, directory: Path, *flags: str, server: str = "") -> None:
        self.directory = directory / "config"
        self.port = free_port()
        arguments = [f"--server={server or site.address}", f"--ca={site.authority.ca_file}"]
        arguments += [f"--token-file={site.token_file(home.token)}", f"--tenant={home.name}", "--environment=prod"]
        arguments += [f"--directory={self.directory}", f"--listen={HOST}:{self.port}", *flags]
        self.process = Process.start([COMMAND, "agent", *arguments], log=directory / "agent.log")

    def shown(self) -> dict[str, str]:
        listed = self.directory.iterdir() if self.directory.exists() else ()
        return {each.name: each.read_text() for each in listed if not each.name.startswith("..")}

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urlopen(f"http://{HOST}:{self.port}{path}", timeout=TIMEOUT) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.get("/status")[1] or "{}")
        return status


@pytest.fixture
def told() -> Iterator[tuple[str, list[str]]]:
    """An application that is told of changes, and how often it was."""
    calls: list[str] = []

    class Application(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            calls.append(self.path)
            self.send_response(503 if len(calls) == 1 else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    server = HTTPServer((HOST, 0), Application)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{HOST}:{server.server_port}/reload", calls
    server.shutdown()
    server.server_close()
    thread.join()


def test_files_follow_the_scope_and_the_application_is_told(
    site: Site, home: Home, tmp_path: Path, told: tuple[str, list[str]]
) -> None:
    url, calls = told
    home.publish(1, {"limit": "5", "text": "hush"})
    agent = Agent(site, home, tmp_path, f"--notify-url={url}", "--json-file=all.json")
    with agent.process:
        wait_for(lambda: agent.shown().get("limit") == "5", "the files")
        assert json.loads(agent.shown()["all.json"]) == {"limit": "5", "text": "hush"}
        wait_for(lambda: len(calls) == 2, "told again after it did not take it")
        assert agent.get("/ready")[0] == 200
        wait_for(lambda: agent.status()["state"] == "READY", "READY")
        assert agent.status()["revision"] == 1

        home.write(2, {"limit": "6"})
        wait_for(lambda: agent.shown() == {"limit": "6", "all.json": '{\n  "limit": "6"\n}\n'}, "the change")
        wait_for(lambda: len(calls) == 3, "told")
        home.write(2, {"limit": "6"}, withdrawn=True)
        wait_for(lambda: "limit" not in agent.shown(), "the withdrawal")
        assert agent.get("/ready")[0] == 503
        assert "hush" not in agent.process.output() + agent.get("/metrics")[1] + agent.get("/status")[1]
        assert agent.process.stop() == 0


def test_a_process_gets_a_signal_after_the_change(site: Site, home: Home, tmp_path: Path) -> None:
    home.publish(1, {"key": "one"})
    script = "import signal, sys; print('up', flush=True); signal.sigwait([signal.SIGHUP]); print('told', flush=True)"
    block = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [{int(signal.SIGHUP)}]); {script}"
    pid_file = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", block], stdout=subprocess.PIPE, text=True) as application:
        assert application.stdout
        assert application.stdout.readline() == "up\n"
        pid_file.write_text(f"{application.pid}\n")
        agent = Agent(site, home, tmp_path, "--signal=SIGHUP", f"--pid-file={pid_file}")
        with agent.process:
            assert application.stdout.readline() == "told\n"
            assert agent.shown() == {"key": "one"}


@pytest.mark.parametrize("pid", ["0", "-1", "1e3", "99999999999", "", "4194304", None])
def test_who_cannot_be_told_is_tried_again_and_the_files_are_written_once(
    site: Site, home: Home, tmp_path: Path, pid: str | None
) -> None:
    pid_file = tmp_path / "pid"
    if pid is not None:
        pid_file.write_text(pid)
    home.publish(1, {"key": "one"})
    agent = Agent(site, home, tmp_path, "--signal=SIGHUP", f"--pid-file={pid_file}")
    with agent.process:
        wait_for(lambda: agent.process.output().count("trying again") >= 2, "two attempts")
        assert agent.shown() == {"key": "one"}
        assert agent.process.output().count("revision 1 is in") == 1
        assert agent.get("/ready")[0] == 200
        home.write(2, {"key": "two"})
        wait_for(lambda: agent.shown() == {"key": "two"}, "the change")


@pytest.mark.parametrize("answer", [b"no HTTP at all\r\n\r\n", b"", b"HTTP/1.1 500 Broken\r\n\r\n"])
def test_an_application_that_answers_nonsense_is_told_again(
    site: Site, home: Home, tmp_path: Path, answer: bytes
) -> None:
    home.publish(1, {"key": "one"})
    calls: list[bytes] = []
    with socket.create_server((HOST, 0)) as listener:

        def serve() -> None:
            for said in (answer, b"HTTP/1.1 204 Good\r\n\r\n"):
                connection, _ = listener.accept()
                with connection:
                    calls.append(connection.recv(1000))
                    connection.sendall(said)

        application = Thread(target=serve)
        application.start()
        agent = Agent(site, home, tmp_path, f"--notify-url=http://{HOST}:{listener.getsockname()[1]}/reload")
        with agent.process:
            application.join(TIMEOUT)
            assert agent.shown() == {"key": "one"}
            assert agent.process.stop() == 0
    assert len(calls) == 2


def test_it_is_ready_when_the_files_are_there(site: Site, home: Home, tmp_path: Path) -> None:
    home.publish(1, {})
    (tmp_path / "config").write_text("in the way")
    agent = Agent(site, home, tmp_path, "--json-file=all.json")
    with agent.process:
        wait_for(lambda: agent.status().get("revision") == 1, "the version")
        wait_for(lambda: "trying again" in agent.process.output(), "an attempt")
        assert agent.get("/ready")[0] == 503
        (tmp_path / "config").unlink()
        wait_for(lambda: agent.get("/ready")[0] == 200, "ready")
        assert agent.shown() == {"all.json": "{}\n"}


def test_what_was_withdrawn_while_it_was_down_is_gone_when_it_is_back(site: Site, home: Home, tmp_path: Path) -> None:
    home.publish(1, {"key": "one"})
    first = Agent(site, home, tmp_path)
    with first.process:
        wait_for(lambda: first.shown() == {"key": "one"}, "the files")
        first.process.kill()
    home.write(2, {"key": "one"}, withdrawn=True)
    second = Agent(site, home, tmp_path)
    with second.process:
        wait_for(lambda: second.shown() == {}, "the withdrawal")
        assert second.get("/ready")[0] == 503


def test_a_key_with_the_name_of_the_file_with_everything_is_refused(site: Site, home: Home, tmp_path: Path) -> None:
    home.publish(1, {"all.json": "one"})
    agent = Agent(site, home, tmp_path, "--json-file=all.json")
    with agent.process:
        wait_for(lambda: "'all.json' has the name of the file with everything" in agent.process.output(), "why")
        assert agent.get("/ready")[0] == 503
        assert "has the name of" in agent.status()["reason"]


def test_it_says_why_there_is_no_stream(site: Site, home: Home, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("none")
    agent = Agent(site, home, tmp_path, f"--ca={tmp_path / 'ca.crt'}")
    with agent.process:
        wait_for(lambda: "ca.crt does not hold a certificate" in agent.process.output(), "why")
    agent = Agent(site, home, tmp_path, server=f"{HOST}:{free_port()}")
    with agent.process:
        wait_for(lambda: "Connection refused" in agent.process.output(), "why")


def test_it_starts_from_what_it_knew_while_no_server_is_there(site: Site, home: Home, tmp_path: Path) -> None:
    home.publish(1, {"key": "one"})
    cache = f"--cache={tmp_path / 'cache'}"
    first = Agent(site, home, tmp_path / "first", cache)
    with first.process:
        wait_for(lambda: first.shown() == {"key": "one"}, "the files")
    second = Agent(site, home, tmp_path / "second", cache, server=f"{HOST}:{free_port()}")
    with second.process:
        wait_for(lambda: second.shown() == {"key": "one"}, "the files of the last time")
        assert second.get("/ready")[0] == 200
        assert second.status()["state"] == "STALE"


def test_what_it_lacks_is_one_line(site: Site, tmp_path: Path) -> None:
    flags = ["--server=x:1", "--token-file=t", "--tenant=acme", f"--directory={tmp_path}", "--signal=SIGHUP"]
    result = subprocess.run([COMMAND, "agent", *flags], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (2, "tenantconfig: --signal and --pid-file belong together\n")
