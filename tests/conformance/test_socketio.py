"""Socket.IO, protocol 5: the requirements of its official test suite for servers, beyond those of
Engine.IO. Pings are answered, so that no session ends by a ping timeout.
"""

from __future__ import annotations

import asyncio
import json
import logging
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
    """Open an Engine.IO session without a Socket.IO client."""
    async with websocket(http, echoes.socketio) as ws:
        assert str(await ws.next())[0] == "0"
        yield ws


@asynccontextmanager
async def connected(http: Http, echoes: Echoes) -> AsyncIterator[Websocket]:
    """Connect a client to the main namespace."""
    async with opened(http, echoes) as ws:
        await ws.send("40")
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
async def test_client_connects_to_a_namespace(
    session: Http, echoes: Echoes, packet: str, prefix: str, greeting: str
) -> None:
    async with opened(session, echoes) as ws:
        await ws.send(packet)
        answer = str(await ws.answer())
        assert answer.startswith(prefix)
        connect = json.loads(answer.removeprefix(prefix))
        assert list(connect) == ["sid"]
        assert isinstance(connect["sid"], str)
        assert await ws.answer() == greeting


async def test_unknown_namespace_is_rejected_with_a_message(session: Http, echoes: Echoes) -> None:
    async with opened(session, echoes) as ws:
        await ws.send("40/random")
        assert await ws.answer() == '44/random,{"message":"Invalid namespace"}'
        await ws.send("40")  # the connection stays usable
        assert str(await ws.answer()).startswith("40{")


async def test_invalid_handshake_closes_the_connection(session: Http, echoes: Echoes) -> None:
    async with opened(session, echoes) as ws:
        await ws.send("4abc")
        assert await ws.end() == []


async def test_connection_without_a_handshake_is_closed_though_it_answers_pings(
    session: Http, echoes: Echoes
) -> None:
    async with websocket(session, echoes.socketio) as ws:
        opening = str(await ws.next())
        assert await ws.end() == []
        assert ws.pings >= echo.CONNECT_SECONDS / echo.PING_SECONDS // 2
    sid = json.loads(opening[1:])["sid"]
    assert await echoes.reason(sid) == echoes.engine.reason.SERVER_DISCONNECT


# -- disconnect


async def test_disconnect_from_the_main_namespace_keeps_the_connection(
    session: Http, echoes: Echoes
) -> None:
    async with connected(session, echoes) as ws:
        echoes.echo.reasons.clear()
        await ws.send("41")
        assert await ws.next() == "2"
        assert echoes.echo.reasons == [echoes.echo.server.reason.CLIENT_DISCONNECT]
        await ws.send("3", '42["message","x"]', "40")
        assert str(await ws.answer()).startswith("40{")  # the message was ignored


async def test_disconnect_from_one_namespace_keeps_the_other(session: Http, echoes: Echoes) -> None:
    async with connected(session, echoes) as ws:
        await ws.send("40/custom")
        assert str(await ws.answer()).startswith("40/custom,{")
        assert await ws.answer() == '42/custom,["auth",{}]'
        await ws.send("41/custom", '42["message","message to main namespace"]')
        assert await ws.answer() == '42["message-back","message to main namespace"]'


# -- messages

TWO = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
"""The placeholders of two attachments."""

ONE_TWO_THREE, FOUR_FIVE_SIX = b"\x01\x02\x03", b"\x04\x05\x06"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ('42["message",1,"2",{"3":[true]}]', '42["message-back",1,"2",{"3":[true]}]'),
        ('42456["message-with-ack",1,"2",{"3":[false]}]', '43456[1,"2",{"3":[false]}]'),
    ],
    ids=["event", "ack"],
)
async def test_values_are_sent_back_unchanged(
    session: Http, echoes: Echoes, sent: str, expected: str
) -> None:
    async with connected(session, echoes) as ws:
        await ws.send(sent)
        assert await ws.answer() == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (f'452-["message",{TWO}]', f'452-["message-back",{TWO}]'),
        (f'452-789["message-with-ack",{TWO}]', f"462-789[{TWO}]"),
    ],
    ids=["event", "ack"],
)
async def test_bytes_are_sent_back_unchanged_each_in_its_own_frame(
    session: Http, echoes: Echoes, sent: str, expected: str
) -> None:
    async with connected(session, echoes) as ws:
        await ws.send(sent, ONE_TWO_THREE, FOUR_FIVE_SIX)
        assert [await ws.answer() for _ in range(3)] == [expected, ONE_TWO_THREE, FOUR_FIVE_SIX]


BROKEN: dict[str, tuple[str | bytes, ...]] = {
    "unknown type": ("4abc",),
    "no list": ("42{}",),
    "an ack id that is no number": ('42abc["message-with-ack",1,"2",{"3":[false]}]',),
    "an attachment without a packet": (ONE_TWO_THREE,),
    "text in place of an attachment": (f'452-["message",{TWO}]', '42["message"]'),
}


@pytest.mark.parametrize("packets", BROKEN.values(), ids=BROKEN)
async def test_invalid_packet_closes_the_connection(
    session: Http, echoes: Echoes, packets: Any
) -> None:
    async with connected(session, echoes) as ws:
        echoes.echo.reasons.clear()
        await ws.send(*packets)
        assert await ws.end() == []
        assert echoes.echo.reasons == [echoes.echo.server.reason.TRANSPORT_ERROR]


async def test_invalid_packet_ends_a_polling_session(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.socketio)
    assert await polls.post("40") == (200, "ok")
    assert (await polls.get())[1].startswith("40{")
    poll = asyncio.create_task(polls.get())
    await asyncio.sleep(0)  # the poll is sent first, on every version of Python
    await polls.post("42{}")
    assert await poll == (200, "6")
    assert (await polls.get())[0] == 400


@pytest.mark.parametrize(
    "packet", ['42/custom,["a"]', '42/nothing,["a"]', "431[]", "43/custom,1[]", "41/custom,"]
)
async def test_packet_out_of_place_is_ignored_without_a_warning(
    session: Http, echoes: Echoes, packet: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(session, echoes) as ws:
        await ws.send(packet, '42["message","x"]')
        assert await ws.answer() == '42["message-back","x"]'
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
