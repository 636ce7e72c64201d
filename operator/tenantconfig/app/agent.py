"""The file agent, put together: a client, a directory that it keeps current, and who is told of a change."""

import asyncio
import logging
import os
import re
import signal
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tenantconfig.app import Failure, log_to_stderr, probes
from tenantconfig.backoff import delay
from tenantconfig.client import aio
from tenantconfig.client.config import Config
from tenantconfig.client.files import ConfigDirectory, NoFileName
from tenantconfig.model import Snapshot
from tenantconfig.settings import AgentSettings

NOTICE_SECONDS = 5.0  # for the application to answer
PROCESS_ID = re.compile(rb"[1-9][0-9]{0,8}")
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 30.0

logger = logging.getLogger(__name__)


def run(settings: AgentSettings) -> None:
    """Keep the directory current until SIGTERM."""
    log_to_stderr()
    asyncio.run(_run(settings))


async def _run(settings: AgentSettings) -> None:
    directory = ConfigDirectory(settings.directory, settings.json_file, settings.env_file)
    client = _client(settings, directory)
    agent = Agent(client.config, directory, settings)
    client.on_change(lambda _: agent.changed.set())
    client.on_state(lambda config, state: logger.info("%s%s", state, f": {config.reason}" if config.reason else ""))
    _expose(settings.listen, client.config, agent)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with client, asyncio.TaskGroup() as group:
        keeping = group.create_task(agent.keep())
        await stopped.wait()
        keeping.cancel()


def _client(settings: AgentSettings, directory: ConfigDirectory) -> aio.Client:
    try:
        return aio.connect(
            settings.server,
            settings.scope,
            token_file=settings.token_file,
            ca_file=settings.ca,
            insecure=settings.insecure,
            cache=settings.cache,
            validator=lambda _, entries: unusable(directory, entries),
            grace=settings.grace,
        )
    except ValueError as error:
        raise Failure(str(error)) from None


class Agent:
    """Writes the files, and tells the application, for every version that it gets round to."""

    def __init__(self, config: Config, directory: ConfigDirectory, settings: AgentSettings) -> None:
        self.changed = asyncio.Event()
        self._config = config
        self._directory = directory
        self._settings = settings
        self._failures = 0
        self._shown: Snapshot | None = None  # what the files are
        self._withdrawn = False  # the files are gone, as the values are
        self._owed = False  # the application has not been told of it

    @property
    def ready(self) -> bool:
        """Whether the files are there."""
        return self._shown is not None

    async def keep(self) -> None:
        """Never returns. What fails is tried again, with whatever the values are by then."""
        with suppress(OSError):  # what is the matter is told when the files cannot be written
            self._directory.sweep()
        if self._config.snapshot:  # of the last time
            self.changed.set()
        while True:
            await self.changed.wait()
            self.changed.clear()
            try:
                await self._show()
                await self._tell()
            except (OSError, HTTPException, ValueError) as error:
                self._failures += 1
                seconds = delay(self._failures, FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
                logger.warning("%s; trying again in %.1f s", error, seconds)
                asyncio.get_running_loop().call_later(seconds, self.changed.set)
            else:
                self._failures = 0

    async def _show(self) -> None:
        """Write the files, unless they are of this version: who watches the directory is not woken for nothing."""
        snapshot = self._config.snapshot
        if snapshot == self._shown and (snapshot or self._withdrawn):
            return
        await asyncio.to_thread(self._directory.write, snapshot.entries if snapshot else {})
        self._shown, self._withdrawn, self._owed = snapshot, snapshot is None, True
        logger.info("revision %s is in %s", snapshot.version.revision if snapshot else "none", self._directory.root)

    async def _tell(self) -> None:
        if self._owed:
            await asyncio.to_thread(notify, self._settings)
            self._owed = False


def unusable(directory: ConfigDirectory, entries: Mapping[str, str]) -> str:
    """Why a version cannot become files."""
    try:
        directory.refuse(entries)
    except NoFileName as error:
        return str(error)
    return ""


def notify(settings: AgentSettings) -> None:
    """Tell the application that the files have changed, in the ways that were asked for.

    Raises OSError, HTTPException, ValueError.
    """
    if settings.signal and settings.pid_file:
        os.kill(_process(settings.pid_file), signal.Signals[settings.signal])
    if settings.notify_url:
        request = urllib.request.Request(settings.notify_url, method="POST")  # noqa: S310  as the settings checked
        urllib.request.urlopen(request, timeout=NOTICE_SECONDS).close()  # noqa: S310


def _process(file: Path) -> int:
    """The process id in a file. Raises OSError, ValueError."""
    text = file.read_bytes().strip()
    # Zero and less stand for whole groups of processes.
    if not PROCESS_ID.fullmatch(text):
        raise ValueError(f"{file} does not hold a process id")
    return int(text)


def _expose(listen: str, config: Config, agent: Agent) -> None:
    host, _, port = listen.rpartition(":")

    def status(_: Mapping[str, str]) -> dict[str, Any]:
        version, staleness = config.version, config.staleness
        return {
            "state": config.state,
            "reason": config.reason,
            "revision": version.revision if version else None,
            "digest": version.digest if version else None,
            "stalenessSeconds": staleness.total_seconds() if staleness is not None else None,
        }

    try:
        probes.serve(int(port), lambda: agent.ready, {"/status": status}, host)
    except (OSError, ValueError, OverflowError) as error:
        raise Failure(f"cannot listen on {listen}: {error}") from None
