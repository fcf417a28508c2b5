"""Engine.IO, protocol 4: what its official test suite asks of a server, in our words.

The official one of Socket.IO begins with the same questions, so some are put to both servers.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conformance import echo
from tests.conformance.peer import Polls, request, websocket

if TYPE_CHECKING:
    from tests.conformance.conftest import Echoes

Http = aiohttp.ClientSession


OPENING = {
    "pingInterval": int(echo.PING_SECONDS * 1000),
    "pingTimeout": int(echo.PONG_SECONDS * 1000),
    "maxPayload": echo.PAYLOAD_BYTES,
}


# -- handshake


async def test_polling_opens_a_session_and_offers_websockets(session: Http, url: str) -> None:
    opening = (await Polls.open(session, url)).opening
    assert isinstance(opening.pop("sid"), str)
    assert opening == {"upgrades": ["websocket"], **OPENING}


async def test_a_websocket_opens_a_session_and_offers_nothing_better(
    session: Http, url: str
) -> None:
    async with websocket(session, url) as ws:
        packet = str(await ws.next())
    assert packet[0] == "0"
    opening = json.loads(packet[1:])
    assert isinstance(opening.pop("sid"), str)
    assert opening == {"upgrades": [], **OPENING}


QUERIES = {
    "transport={}": "no protocol version",
    "EIO=abc&transport={}": "no number for a version",
    "EIO=4": "no transport",
    "EIO=4&transport=abc": "a transport that there isn't",
}


@pytest.mark.parametrize("query", QUERIES, ids=QUERIES.values())
async def test_polling_with_an_invalid_query_is_a_bad_request(
    session: Http, url: str, query: str
) -> None:
    status, _ = await request(session, "GET", f"{url}?{query.format('polling')}")
    assert status == 400


@pytest.mark.parametrize("query", QUERIES, ids=QUERIES.values())
async def test_a_websocket_with_an_invalid_query_is_refused(
    session: Http, url: str, query: str
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with websocket(session, url, query.format("websocket")):
            pass


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_only_get_opens_a_session(session: Http, url: str, method: str) -> None:
    status, _ = await request(session, method, f"{url}?EIO=4&transport=polling", "")
    assert status == 400


# -- messages


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("4hello", id="one"),
        pytest.param("4test1\x1e4test2\x1e4test3", id="several"),
        pytest.param("4hello\x1ebAQIDBA==", id="text and bytes"),
        pytest.param("\x1e".join(f"4{n}" for n in range(40)), id="more than the library takes"),
    ],
)
async def test_what_is_posted_comes_back_in_a_poll(
    session: Http, echoes: Echoes, payload: str
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    assert await polls.post(payload) == (200, "ok")
    assert await polls.get() == (200, payload)


@pytest.mark.parametrize("payload", ["abc", "", "4good\x1ebad"])
async def test_what_is_no_packet_ends_a_session_that_polls(
    session: Http, echoes: Echoes, payload: str
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    assert (await polls.post(payload))[0] == 400
    assert (await polls.get())[0] == 400
    assert polls.sid not in echoes.engine.sockets


async def test_more_than_the_payload_allowed_ends_a_session_that_polls(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    assert (await polls.post("4" + "x" * echo.PAYLOAD_BYTES))[0] == 400
    assert (await polls.get())[0] == 400


async def test_a_second_poll_beside_one_that_waits_ends_the_session(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    first = asyncio.create_task(polls.get())
    await echoes.polled(polls.sid)
    assert (await polls.get())[0] == 400
    assert await first == (200, "1")
    assert (await polls.get())[0] == 400


async def test_who_hangs_up_while_it_polls_has_ended_its_session(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    poll = asyncio.create_task(polls.get())
    await echoes.polled(polls.sid)
    poll.cancel()
    began = time.monotonic()
    await echoes.ended(polls.sid)
    assert time.monotonic() - began < echo.PING_SECONDS  # not for want of a pong
    assert (await polls.get())[0] == 400


@pytest.mark.parametrize("packet", ["4hello", b"\x01\x02\x03\x04"], ids=["text", "bytes"])
async def test_what_is_said_on_a_websocket_comes_back(
    session: Http, echoes: Echoes, packet: Any
) -> None:
    async with websocket(session, echoes.engineio) as ws:
        await ws.next()
        await ws.say(packet)
        assert await ws.answer() == packet


async def test_what_is_no_packet_closes_a_websocket(session: Http, echoes: Echoes) -> None:
    async with websocket(session, echoes.engineio) as ws:
        await ws.next()
        await ws.say("abc")
        assert await ws.end() == []


# -- heartbeat


async def test_a_session_that_polls_is_pinged_as_long_as_it_answers(
    session: Http, url: str
) -> None:
    polls = await Polls.open(session, url)
    for _ in range(3):
        assert await polls.get() == (200, "2")
        assert await polls.post("3") == (200, "ok")


async def test_a_session_that_polls_and_answers_no_ping_ends(session: Http, url: str) -> None:
    polls = await Polls.open(session, url)
    assert await polls.get() == (200, "2")
    began = time.monotonic()
    assert await polls.get() == (200, "6")  # let go
    assert time.monotonic() - began > echo.PONG_SECONDS / 2
    assert (await polls.get())[0] == 400


async def test_a_session_that_does_not_even_poll_ends_at_the_same_time(
    session: Http, echoes: Echoes, url: str
) -> None:
    polls = await Polls.open(session, url)
    await echoes.ended(polls.sid)
    assert (await polls.get())[0] == 400


async def test_a_websocket_is_pinged_as_long_as_it_answers(session: Http, url: str) -> None:
    async with websocket(session, url) as ws:
        await ws.next()
        for _ in range(3):
            assert await ws.next() == "2"
            await ws.say("3")


async def test_a_websocket_that_answers_no_ping_is_closed(session: Http, url: str) -> None:
    async with websocket(session, url) as ws:
        assert str(await ws.next())[0] == "0"
        began = time.monotonic()
        assert await ws.next() == "2"
        try:
            while await ws.next() == "1":  # it is told, and cut off whether it listens or not
                pass
        except EOFError:
            pass
        took = time.monotonic() - began
        assert 0.9 * (echo.PING_SECONDS + echo.PONG_SECONDS) < took < 2


# -- close


async def test_a_client_that_polls_can_end_its_session(session: Http, url: str) -> None:
    polls = await Polls.open(session, url)
    poll, post = await asyncio.gather(polls.get(), polls.post("1"))
    assert (poll, post) == ((200, "6"), (200, "ok"))
    assert (await polls.get())[0] == 400


async def test_a_client_with_a_websocket_can_end_its_session(session: Http, url: str) -> None:
    async with websocket(session, url) as ws:
        await ws.next()
        await ws.say("1")
        assert await ws.end() == []
