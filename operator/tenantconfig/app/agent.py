"""The file agent, put together: a client, a directory that it keeps current, and who is told of a change."""

import asyncio
import logging
import os
import signal
import urllib.request
from collections.abc import Mapping
from typing import Any

from tenantconfig.app import Failure, log_to_stderr, probes
from tenantconfig.backoff import delay
from tenantconfig.client import aio
from tenantconfig.client.config import Config
from tenantconfig.client.files import ConfigDirectory, NoFileName, refuse_name
from tenantconfig.model import Scope
from tenantconfig.settings import AgentSettings

NOTICE_SECONDS = 5.0  # for the application to answer
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.5, 30.0

logger = logging.getLogger(__name__)


def run(settings: AgentSettings) -> None:
    """Keep the directory current until SIGTERM."""
    log_to_stderr()
    asyncio.run(_run(settings))


async def _run(settings: AgentSettings) -> None:
    client = aio.connect(
        settings.server,
        settings.scope,
        token_file=settings.token_file,
        ca_file=settings.ca,
        insecure=settings.insecure,
        cache=settings.cache,
        validator=unusable,
        grace=settings.grace,
    )
    agent = Agent(client.config, ConfigDirectory(settings.directory, settings.json_file, settings.env_file), settings)
    client.on_change(lambda _: agent.changed.set())
    client.on_state(lambda config, state: logger.info("%s%s", state, f": {config.reason}" if config.reason else ""))
    _expose(settings.listen, client.config)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with client, asyncio.TaskGroup() as group:
        keeping = group.create_task(agent.keep())
        await stopped.wait()
        keeping.cancel()


class Agent:
    """Writes the files, and tells the application, for every version that it gets round to."""

    def __init__(self, config: Config, directory: ConfigDirectory, settings: AgentSettings) -> None:
        self.changed = asyncio.Event()
        self._config = config
        self._directory = directory
        self._settings = settings
        self._failures = 0

    async def keep(self) -> None:
        """Never returns. What fails is tried again, with whatever the values are by then."""
        if self._config.snapshot:  # of the last time
            self.changed.set()
        while True:
            await self.changed.wait()
            self.changed.clear()
            try:
                await asyncio.to_thread(self._directory.write, dict(self._config))
                await asyncio.to_thread(notify, self._settings)
            except OSError as error:  # urllib's errors among them
                self._failures += 1
                seconds = delay(self._failures, FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
                logger.warning("%s; trying again in %.1f s", error, seconds)
                asyncio.get_running_loop().call_later(seconds, self.changed.set)
            else:
                self._failures = 0
                version = self._config.version
                logger.info("revision %s is in %s", version.revision if version else "none", self._directory.root)


def unusable(scope: Scope, entries: Mapping[str, str]) -> str:
    """Why a version cannot become files."""
    try:
        for key in entries:
            refuse_name(key)
    except NoFileName as error:
        return str(error)
    return ""


def notify(settings: AgentSettings) -> None:
    """Tell the application that the files have changed, in the ways that were asked for. Raises OSError."""
    if settings.signal and settings.pid_file:
        try:
            os.kill(int(settings.pid_file.read_text()), signal.Signals[settings.signal])
        except ValueError:
            raise OSError(f"{settings.pid_file} does not hold a process id") from None
    if settings.notify_url:
        request = urllib.request.Request(settings.notify_url, method="POST")  # noqa: S310  as the settings checked
        urllib.request.urlopen(request, timeout=NOTICE_SECONDS).close()  # noqa: S310


def _expose(listen: str, config: Config) -> None:
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
        probes.serve(int(port), lambda: config.snapshot is not None, {"/status": status}, host)
    except (OSError, ValueError) as error:
        raise Failure(f"cannot listen on {listen}: {error}") from None
