"""Engine.IO upgrades from polling to a websocket: requirements of the official test suite."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conformance.peer import Polls, request, websocket

if TYPE_CHECKING:
    from tests.conformance.conftest import Echoes

Http = aiohttp.ClientSession


async def test_session_is_upgraded_from_polling_to_a_websocket(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        assert await polls.get() == (200, "6")  # no poll is left waiting
        await ws.send("5", "4hello")
        assert await ws.answer() == "4hello"


async def test_probe_releases_a_waiting_poll(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    poll = asyncio.create_task(polls.get())
    await echoes.polled(polls.sid)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        assert await poll == (200, "6")
        await ws.send("5", "4hello")
        assert await ws.answer() == "4hello"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_upgraded_session_rejects_polling(session: Http, url: str, method: str) -> None:
    polls = await Polls.open(session, url)
    async with websocket(session, url, sid=polls.sid) as ws:
        await _upgrade(ws)
        status, _ = await request(session, method, polls.url, "4x" if method == "POST" else None)
        assert status == 400
        assert await ws.next() == "2"  # still open


async def test_second_websocket_of_a_session_is_closed_and_the_first_stays_open(
    session: Http, url: str
) -> None:
    polls = await Polls.open(session, url)
    async with websocket(session, url, sid=polls.sid) as ws:
        await _upgrade(ws)
        async with websocket(session, url, sid=polls.sid) as second:
            assert await second.end() == []
        assert await ws.next() == "2"


async def test_invalid_probe_leaves_the_session_polling(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("abc")
        assert await ws.end() == []
    assert await polls.post("4hello") == (200, "ok")
    assert await polls.answer() == (200, "4hello")


async def _upgrade(ws: Any) -> None:
    await ws.send("2probe")
    assert await ws.next() == "3probe"
    await ws.send("5")
