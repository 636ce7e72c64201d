"""The client for threads, at its end."""

import threading
from pathlib import Path

import pytest

from harness.wait import wait_for
from tenantconfig.client import Client, NotReady, State, connect
from tenantconfig.model import Scope

NOWHERE = "127.0.0.1:9"


def client(token_file: Path) -> Client:
    return connect(NOWHERE, Scope("acme"), token_file=token_file, insecure=True)


def test_who_waits_when_the_client_is_closed_is_told_so_whenever_that_is(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("a.b.c")

    def wait(closing: Client) -> None:
        while True:
            try:
                closing.wait_ready(0.001)
            except NotReady:
                pass
            except RuntimeError:  # it is not open
                return

    for _ in range(50):
        with client(token_file) as closing:
            waiting = threading.Thread(target=wait, args=(closing,), daemon=True)
            waiting.start()
            waiting.join(0.003)
        waiting.join(10)
        assert not waiting.is_alive()


def test_a_client_that_its_callback_closed_is_not_open_and_can_be_opened_again(tmp_path: Path) -> None:
    closed = client(tmp_path / "no token")

    def close(_: object, state: State) -> None:
        assert state is State.ERROR
        closed.close()

    stop = closed.on_state(close)
    with closed:
        wait_for(lambda: not closed.is_open, "end")
        with pytest.raises(RuntimeError, match="is not open"):
            closed.wait_ready(1)
    stop()
    with closed:
        assert closed.is_open
    assert not closed.is_open
