"""Child processes end when they should, and lead nowhere but to local servers."""

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.processes import Process, ProcessEnded, local_environment, stop_kept
from harness.wait import NotInTime, wait_for

SLEEPER = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()",
]


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    process = Process.start(STUBBORN, log=tmp_path / "stubborn.log")
    process.wait_until(lambda: "up" in process.output(), "up")
    assert process.stop(timeout=0.2) == -signal.SIGKILL


def test_waiting_ends_with_the_process_and_shows_its_log(tmp_path: Path) -> None:
    process = Process.start([sys.executable, "-c", "print('no such luck'); exit(3)"], log=tmp_path / "short.log")
    with pytest.raises(ProcessEnded, match=r"(?s)exit code 3 before luck.*no such luck"):
        process.wait_until(lambda: False, "luck")


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from harness.processes import Process\n"
        f"p = Process.start({SLEEPER!r}, log=Path(sys.argv[1]))\n"
        "p.wait_until(lambda: 'up' in p.output(), 'up'); print(p.pid, flush=True)\n"
        "import signal; signal.pause()"
    )
    tests = str(Path(__file__).parents[2])
    parent = Process.start(
        [sys.executable, "-c", script, tmp_path / "child.log"],
        log=tmp_path / "parent.log",
        environment={"PYTHONPATH": tests},
    )
    child = int(parent.wait_until(parent.output, "child started"))
    assert _alive(child)
    parent.kill()
    wait_for(lambda: not _alive(child), "end of the child")


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        process = thread.submit(Process.start, SLEEPER, log=tmp_path / "child.log").result()
        process.wait_until(lambda: "up" in process.output(), "up")
    assert process.stop() == -signal.SIGTERM


def test_what_is_kept_is_found_and_ended_by_its_file(tmp_path: Path) -> None:
    process = Process.start(SLEEPER, log=tmp_path / "kept.log", keep=True)
    process.wait_until(lambda: "up" in process.output(), "up")
    assert stop_kept(tmp_path) == ["kept"]
    assert process.wait() == -signal.SIGTERM
    assert stop_kept(tmp_path) == []


def test_a_later_process_with_the_same_id_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other.pid").write_text(f"{os.getpid()} 1\n")
    assert stop_kept(tmp_path) == []


def test_children_see_no_proxy_bundle_or_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "no_proxy", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "AWS_PROFILE", "KUBECONFIG"):
        monkeypatch.setenv(name, "elsewhere")
    environment = local_environment({"AWS_DEFAULT_REGION": "eu-west-1"})
    assert "elsewhere" not in environment.values()
    assert environment["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert environment["PATH"] == os.environ["PATH"]


def test_an_assertion_that_never_holds_is_the_cause(tmp_path: Path) -> None:
    def condition() -> bool:
        assert tmp_path.name == "other"
        return True

    with pytest.raises(NotInTime, match="the name: not within") as failure:
        wait_for(condition, "the name", timeout=0.05)
    assert isinstance(failure.value.__cause__, AssertionError)
