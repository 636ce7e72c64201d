"""Progress of steps that run side by side: one line at a time, each with the step's name."""

import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

_print_lock = threading.Lock()
TAIL_LINES = 30


class StepFailed(Exception):
    """A step could not be done; the message says what to do about it."""


class Report:
    """Speaks for one step."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._started = time.monotonic()

    def say(self, message: str) -> None:
        """Prints one line."""
        seconds = int(time.monotonic() - self._started)
        with _print_lock:
            print(f"[{self._step:<14}] {seconds // 60}:{seconds % 60:02d}  {message}", flush=True)

    def run(
        self,
        command: Sequence[str],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        each: Callable[[str], None] = lambda line: None,
    ) -> list[str]:
        """Runs a command to its end, gives each line of its output to `each`, and returns them all."""
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        lines: list[str] = []
        try:
            for line in _lines(process):
                lines.append(line)
                each(line)
        finally:
            process.terminate()
            code = process.wait()
        if code:
            for line in lines[-TAIL_LINES:]:
                self.say(line)
            raise StepFailed(f"{shlex.join(command)} failed with exit code {code}")
        return lines


def _lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.rstrip()
    process.wait()
