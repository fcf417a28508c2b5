"""`bridge dev --web` starts everything with one command, and ends it."""

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

    from tests.browser.conftest import OpenTab


async def addresses(process: BridgeProcess) -> dict[str, Any]:
    """Return the printed addresses; a slow machine may take several timeouts."""
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            return await process.next("bridge_url")
    return await process.next("bridge_url")


@pytest.mark.usefixtures("app")  # built
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_dev_shows_a_change_and_leaves_no_process(
    open_tab: OpenTab, number: signal.Signals, tmp_path: Path
) -> None:
    command = ("dev", "--json", "--no-activity", "--port", str(quiet_port()))
    async with bridge_process(tmp_path, *command, "--web-port", str(quiet_port())) as process:
        where = await addresses(process)
        tab = await open_tab(None, url=where["web_url"])
        tab.may_be_offline = True  # at the end
        await tab.open("/?region=TX")
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
        await tab.until_card_has(row[0], price=4_242_000)
        assert await process.end(number) == (0 if number == signal.SIGINT else -number)
        async with httpx.AsyncClient() as http, asyncio.timeout(15):
            while True:
                try:
                    await http.get(where["web_url"])
                except httpx.ConnectError:
                    break
                await asyncio.sleep(0.05)
