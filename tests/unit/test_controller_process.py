"""The controller's process ends with the first of its tasks that does."""

import asyncio

import pytest

from tenantconfig.app.controller import until_one_ends


async def test_a_defect_in_one_task_ends_all_and_is_raised() -> None:
    ended = asyncio.Event()

    async def serve() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await until_one_ends(serve(), fail())
    assert ended.is_set()


async def test_a_signal_ends_all_in_good_order() -> None:
    async def serve() -> None:
        return

    async def tick() -> None:
        await asyncio.Event().wait()

    await until_one_ends(serve(), tick())
