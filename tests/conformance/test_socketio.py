"""Socket.IO, protocol 5: what its official test suite asks of a server beyond Engine.IO, in our
words. Pings are answered, so that nothing ends for want of a pong.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conformance import echo
from tests.conformance.peer import Polls, Websocket, websocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.conformance.conftest import Echoes

Http = aiohttp.ClientSession


@asynccontextmanager
async def opened(http: Http, echoes: Echoes) -> AsyncIterator[Websocket]:
    """A connection through which no client has come yet."""
    async with websocket(http, echoes.socketio) as ws:
        assert str(await ws.next())[0] == "0"
        yield ws


@asynccontextmanager
async def connected(http: Http, echoes: Echoes) -> AsyncIterator[Websocket]:
    """A client of the main namespace."""
    async with opened(http, echoes) as ws:
        await ws.say("40")
        assert str(await ws.answer()).startswith("40{")
        assert await ws.answer() == '42["auth",{}]'
        yield ws


# -- connect


@pytest.mark.parametrize(
    ("packet", "prefix", "greeting"),
    [
        ("40", "40", '42["auth",{}]'),
        ('40{"token":"123"}', "40", '42["auth",{"token":"123"}]'),
        ("40/custom,", "40/custom,", '42/custom,["auth",{}]'),
        ('40/custom,{"token":"abc"}', "40/custom,", '42/custom,["auth",{"token":"abc"}]'),
    ],
    ids=["main", "main with auth", "custom", "custom with auth"],
)
async def test_a_client_connects_to_a_namespace(
    session: Http, echoes: Echoes, packet: str, prefix: str, greeting: str
) -> None:
    async with opened(session, echoes) as ws:
        await ws.say(packet)
        answer = str(await ws.answer())
        assert answer.startswith(prefix)
        connect = json.loads(answer.removeprefix(prefix))
        assert list(connect) == ["sid"]
        assert isinstance(connect["sid"], str)
        assert await ws.answer() == greeting


async def test_a_namespace_that_there_is_not_is_refused_with_a_message(
    session: Http, echoes: Echoes
) -> None:
    async with opened(session, echoes) as ws:
        await ws.say("40/random")
        assert await ws.answer() == '44/random,{"message":"Invalid namespace"}'
        await ws.say("40")  # and nothing is lost by it
        assert str(await ws.answer()).startswith("40{")


async def test_a_handshake_that_is_no_packet_closes_the_connection(
    session: Http, echoes: Echoes
) -> None:
    async with opened(session, echoes) as ws:
        await ws.say("4abc")
        assert await ws.end() == []


async def test_a_connection_without_a_handshake_is_closed_though_it_answers_pings(
    session: Http, echoes: Echoes
) -> None:
    began = time.monotonic()
    async with opened(session, echoes) as ws:
        assert await ws.end() == []
    assert time.monotonic() - began > echo.CONNECT_SECONDS / 2


# -- disconnect


async def test_who_leaves_the_main_namespace_keeps_its_connection(
    session: Http, echoes: Echoes
) -> None:
    async with connected(session, echoes) as ws:
        echoes.echo.ended.clear()
        await ws.say("41")
        assert await ws.next() == "2"
        assert echoes.echo.ended == [echoes.echo.server.reason.CLIENT_DISCONNECT]
        await ws.say("3", '42["message","x"]', "40")
        assert str(await ws.answer()).startswith("40{")  # and nobody heard the message


async def test_who_leaves_one_namespace_stays_in_the_other(session: Http, echoes: Echoes) -> None:
    async with connected(session, echoes) as ws:
        await ws.say("40/custom")
        assert str(await ws.answer()).startswith("40/custom,{")
        assert await ws.answer() == '42/custom,["auth",{}]'
        await ws.say("41/custom", '42["message","message to main namespace"]')
        assert await ws.answer() == '42["message-back","message to main namespace"]'


# -- messages

TWO = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
"""The places of two attachments."""

ONE_TWO_THREE, FOUR_FIVE_SIX = b"\x01\x02\x03", b"\x04\x05\x06"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ('42["message",1,"2",{"3":[true]}]', '42["message-back",1,"2",{"3":[true]}]'),
        ('42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]'),
    ],
    ids=["event", "ack"],
)
async def test_values_come_back_as_they_were(
    session: Http, echoes: Echoes, said: str, heard: str
) -> None:
    async with connected(session, echoes) as ws:
        await ws.say(said)
        assert await ws.answer() == heard


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (f'452-["message",{TWO}]', f'452-["message-back",{TWO}]'),
        (f'452-789["message-with-ack",{TWO}]', f"462-789[{TWO}]"),
    ],
    ids=["event", "ack"],
)
async def test_bytes_come_back_as_they_were_each_in_a_frame_of_its_own(
    session: Http, echoes: Echoes, said: str, heard: str
) -> None:
    async with connected(session, echoes) as ws:
        await ws.say(said, ONE_TWO_THREE, FOUR_FIVE_SIX)
        assert [await ws.answer() for _ in range(3)] == [heard, ONE_TWO_THREE, FOUR_FIVE_SIX]


BROKEN: dict[str, tuple[str | bytes, ...]] = {
    "unknown type": ("4abc",),
    "no list": ("42{}",),
    "no number for an ack": ('42abc["message-with-ack",1,"2",{"3":[false]}]',),
    "an attachment of nothing": (ONE_TWO_THREE,),
    "text for an attachment": (f'452-["message",{TWO}]', '42["message"]'),
}


@pytest.mark.parametrize("packets", BROKEN.values(), ids=BROKEN)
async def test_what_is_no_packet_closes_the_connection(
    session: Http, echoes: Echoes, packets: Any
) -> None:
    async with connected(session, echoes) as ws:
        echoes.echo.ended.clear()
        await ws.say(*packets)
        assert await ws.end() == []
        assert echoes.echo.ended == [echoes.echo.server.reason.TRANSPORT_ERROR]


async def test_what_is_no_packet_ends_a_session_that_polls_too(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.socketio)
    assert await polls.post("40") == (200, "ok")
    assert (await polls.get())[1].startswith("40{")
    poll = asyncio.create_task(polls.get())
    await asyncio.sleep(0)  # the poll is sent first, on every version of Python
    await polls.post("42{}")
    assert await poll == (200, "6")
    assert (await polls.get())[0] == 400
