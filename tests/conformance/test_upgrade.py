"""How an Engine.IO session moves from polls to a websocket: what the official test suite asks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conformance.peer import Polls, request, websocket

if TYPE_CHECKING:
    from tests.conformance.conftest import Echoes

Http = aiohttp.ClientSession


async def test_a_session_moves_from_polls_to_a_websocket(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.say("2probe")
        assert await ws.next() == "3probe"
        assert await polls.get() == (200, "6")  # so that no poll is left open
        await ws.say("5", "4hello")
        assert await ws.answer() == "4hello"


async def test_a_poll_that_waits_is_let_go_when_the_websocket_is_tried(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    poll = asyncio.create_task(polls.get())
    await echoes.polled(polls.sid)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.say("2probe")
        assert await ws.next() == "3probe"
        assert await poll == (200, "6")
        await ws.say("5", "4hello")
        assert await ws.answer() == "4hello"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_who_has_moved_to_a_websocket_polls_no_more(
    session: Http, url: str, method: str
) -> None:
    polls = await Polls.open(session, url)
    async with websocket(session, url, sid=polls.sid) as ws:
        await _move(ws)
        status, _ = await request(session, method, polls.url, "4x" if method == "POST" else None)
        assert status == 400
        assert await ws.next() == "2"  # it lives


async def test_a_second_websocket_of_a_session_is_closed_and_the_first_lives(
    session: Http, url: str
) -> None:
    polls = await Polls.open(session, url)
    async with websocket(session, url, sid=polls.sid) as ws:
        await _move(ws)
        async with websocket(session, url, sid=polls.sid) as second:
            assert await second.end() == []
        assert await ws.next() == "2"


async def test_what_is_no_probe_leaves_a_session_with_its_polls(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.say("abc")
        assert await ws.end() == []
    assert await polls.post("4hello") == (200, "ok")
    assert await polls.get() == (200, "4hello")


async def _move(ws: Any) -> None:
    await ws.say("2probe")
    assert await ws.next() == "3probe"
    await ws.say("5")
