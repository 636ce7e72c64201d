"""Child processes: started with a log, waited for, ended by their process id.

A child dies with this process (Linux sends it SIGKILL), however that ends, unless
it is to be kept. What is kept leaves a file `<name>.pid` beside its log, by which
`stop_kept` ends it later from another process.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, Self, TypeVar

from harness.wait import TIMEOUT, wait_for

T = TypeVar("T")

STOP_TIMEOUT = 10.0
LOG_TAIL = 4000  # characters
GUARD = Path(__file__).with_name("guard.py")

# Linux ends a child with the thread that started it: all are started by this one, which lives as long as the process.
_starter = ThreadPoolExecutor(1, "starter")


class ProcessEnded(Exception):
    """A child ended while something was expected of it."""


def local_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would lead a child anywhere but to local servers.

    A CA bundle or a proxy slows local AWS calls several times over or breaks
    them; credentials and clusters of the person who runs the tests are not theirs.
    """
    kept = {name: value for name, value in os.environ.items() if not leads_elsewhere(name)}
    return {**kept, "PYTHONUNBUFFERED": "1", **(extra or {})}


def leads_elsewhere(name: str) -> bool:
    """Whether a variable points at the world outside, or at another configuration."""
    upper = name.upper()
    return upper.endswith(("CA_BUNDLE", "_PROXY")) or upper.startswith(
        ("AWS_", "KUBE", "SSL_CERT_", "TENANTCONFIG_", "BOTO_")
    )


class Process:
    """One child process."""

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen

    @classmethod
    def start(
        cls,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        keep: bool = False,
    ) -> Self:
        """Runs a command; its output goes to `log`, whose stem names it.

        `environment` is added to `local_environment()`. `keep` lets it outlive this process.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = [str(part) for part in command]
        if not keep and sys.platform == "linux":
            arguments = [sys.executable, "-S", "-E", str(GUARD), str(os.getpid()), *arguments]
        with log.open("ab") as output:
            started = _starter.submit(
                subprocess.Popen,
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=local_environment(environment),
                cwd=cwd,
                start_new_session=keep,  # so that Ctrl-C in the terminal does not end it
            )
            popen: subprocess.Popen[bytes] = started.result()
        if keep:
            log.with_suffix(".pid").write_text(f"{popen.pid} {_started(popen.pid)}\n")
        return cls(log.stem, popen, log)

    @property
    def pid(self) -> int:
        """Its process id; it stays the same, since nothing is forked in between."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def cpu_seconds(self) -> float:
        """The processor time that it has used."""
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Its memory that is not swapped out."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def output(self) -> str:
        """All that it has printed."""
        return self.log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], T | Literal[False] | None], what: str, timeout: float = TIMEOUT) -> T:
        """Waits for a condition, and raises ProcessEnded as soon as the process ends without it."""

        def check() -> T | Literal[False] | None:
            result = condition()
            if not result and not self.running:
                raise ProcessEnded(
                    f"{self.name} ended with exit code {self._popen.returncode} before {what}:\n"
                    f"{self.output()[-LOG_TAIL:]}"
                )
            return result

        return wait_for(check, f"{self.name}: {what} (log: {self.log})", timeout)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Waits for its end and returns its exit code."""
        return self._popen.wait(timeout)

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self._popen.kill()
        self._popen.wait()

    def stop(self, timeout: float = STOP_TIMEOUT) -> int:
        """Asks it to end, insists after the timeout, and returns its exit code."""
        self._popen.terminate()
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._popen.returncode
        finally:
            self.log.with_suffix(".pid").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def stop_kept(directory: Path, timeout: float = STOP_TIMEOUT) -> list[str]:
    """Ends the processes that were kept with logs under `directory`, latest first, and returns their names."""
    stopped = []
    for file in sorted(directory.rglob("*.pid"), key=lambda file: file.stat().st_mtime, reverse=True):
        pid, started = (int(part) for part in file.read_text().split())
        if _signal(pid, started, signal.SIGTERM):
            stopped.append(file.stem)
            _wait_for_end(pid, started, timeout)
        file.unlink()
    return stopped


def children(pid: int) -> list[list[str]]:
    """The command lines of a process's children."""
    pids = [child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]
    return [Path(f"/proc/{child}/cmdline").read_text().split("\0")[:-1] for child in pids]


def _wait_for_end(pid: int, started: int, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while _started(pid) == started:
        if time.monotonic() > deadline:
            _signal(pid, started, signal.SIGKILL)
            return
        time.sleep(0.02)


def _signal(pid: int, started: int, number: signal.Signals) -> bool:
    """Signals a process unless it is gone; its start time tells it from a later one with the same id."""
    if _started(pid) != started:
        return False
    os.kill(pid, number)
    return True


def _started(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0
    return 0 if fields[0] == "Z" else int(fields[19])
