"""One command, and the map moves: `bridge dev --web`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from tests.acceptance.conftest import BridgeProcess, bridge_process
from tests.browser.ports import quiet_port

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.conftest import Visit


async def said(process: BridgeProcess) -> dict[str, Any]:
    """Where everything is; a slow machine takes its time."""
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            return await process.next("bridge_url")
    return await process.next("bridge_url")


@pytest.mark.usefixtures("app")  # built
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_newcomer_sees_a_change_and_nothing_is_left(
    visit: Visit, number: signal.Signals, tmp_path: Path
) -> None:
    command = ("dev", "--json", "--no-activity", "--port", str(quiet_port()))
    async with bridge_process(tmp_path, *command, "--web-port", str(quiet_port())) as process:
        where = await said(process)
        visitor = await visit(None, url=where["web_url"])
        visitor.may_be_offline = True  # at the end
        await visitor.go("/?region=TX")
        async with await psycopg.AsyncConnection.connect(
            where["database_url"], autocommit=True
        ) as database:
            done = await database.execute(
                "update properties set price = 4242000 where id ="
                " (select id from properties where state = 'TX' order by created_at desc limit 1)"
                " returning id::text"
            )
            row = await done.fetchone()
        assert row is not None
        await visitor.says(row[0], price=4_242_000)
        assert await process.end(number) == (0 if number == signal.SIGINT else -number)
        async with httpx.AsyncClient() as http, asyncio.timeout(15):
            while True:
                try:
                    await http.get(where["web_url"])
                except httpx.ConnectError:
                    break
                await asyncio.sleep(0.05)
