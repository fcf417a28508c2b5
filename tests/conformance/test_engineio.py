"""Engine.IO, protocol 4: the requirements of its official test suite for servers.

The official suite of Socket.IO begins with the same tests, so some run against both servers.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.conformance import echo
from tests.conformance.conftest import PONG_SECONDS
from tests.conformance.peer import Polls, request, websocket

if TYPE_CHECKING:
    from tests.conformance.conftest import Echoes

Http = aiohttp.ClientSession


OPENING = {
    "pingInterval": int(echo.PING_SECONDS * 1000),
    "pingTimeout": int(PONG_SECONDS * 1000),
    "maxPayload": echo.PAYLOAD_BYTES,
}


# -- handshake


async def test_polling_opens_a_session_and_offers_websockets(session: Http, url: str) -> None:
    opening = (await Polls.open(session, url)).opening
    assert isinstance(opening.pop("sid"), str)
    assert opening == {"upgrades": ["websocket"], **OPENING}


async def test_websocket_opens_a_session_and_offers_no_upgrade(session: Http, url: str) -> None:
    async with websocket(session, url) as ws:
        packet = str(await ws.next())
    assert packet[0] == "0"
    opening = json.loads(packet[1:])
    assert isinstance(opening.pop("sid"), str)
    assert opening == {"upgrades": [], **OPENING}


@pytest.mark.parametrize(("offered", "chosen"), [([], None), (["chat"], "chat"), (["b", "a"], "b")])
async def test_first_subprotocol_that_is_offered_is_chosen(
    session: Http, echoes: Echoes, offered: list[str], chosen: str | None
) -> None:
    for url in (echoes.engineio, echoes.socketio):
        address = f"{url}?EIO=4&transport=websocket"
        async with asyncio.timeout(20), session.ws_connect(address, protocols=offered) as ws:
            assert ws.protocol == chosen
            assert (await ws.receive_str())[0] == "0"


async def test_subprotocol_is_chosen_for_an_upgrade(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    address = polls.url.replace("transport=polling", "transport=websocket")
    async with asyncio.timeout(20), session.ws_connect(address, protocols=["a"]) as ws:
        assert ws.protocol == "a"
        async with session.ws_connect(address, protocols=["a"]) as second:  # accepted and closed
            assert second.protocol == "a"


QUERIES = {
    "transport={}": "no protocol version",
    "EIO=abc&transport={}": "an invalid version",
    "EIO=4": "no transport",
    "EIO=4&transport=abc": "an unknown transport",
}


@pytest.mark.parametrize("query", QUERIES, ids=QUERIES.values())
async def test_polling_with_an_invalid_query_is_rejected_with_400(
    session: Http, url: str, query: str
) -> None:
    status, _ = await request(session, "GET", f"{url}?{query.format('polling')}")
    assert status == 400


@pytest.mark.parametrize("query", QUERIES, ids=QUERIES.values())
async def test_websocket_with_an_invalid_query_is_rejected(
    session: Http, url: str, query: str
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with websocket(session, url, query.format("websocket")):
            pass


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD", "DELETE"])
async def test_method_other_than_get_does_not_open_a_session(
    session: Http, url: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, _ = await request(session, method, f"{url}?EIO=4&transport=polling", "")
    assert status == 400
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_polling_responses_have_a_length_and_are_not_stored(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    for method, url, body in (
        ("GET", f"{echoes.engineio}?EIO=4&transport=polling", None),
        ("POST", polls.url, "4hello"),
        ("GET", polls.url, None),
        ("GET", f"{echoes.engineio}?EIO=4&transport=polling&sid=unknown", None),
    ):
        async with session.request(method, url, data=body) as response:
            text = await response.read()
            assert response.headers.getall("Content-Length") == [str(len(text))]
            assert "Transfer-Encoding" not in response.headers
            assert response.headers.getall("Cache-Control") == ["no-store"]


# -- messages


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param("4hello", id="one"),
        pytest.param("4test1\x1e4test2\x1e4test3", id="several"),
        pytest.param("4hello\x1ebAQIDBA==", id="text and bytes"),
        pytest.param("\x1e".join(f"4{n}" for n in range(40)), id="more than the library accepts"),
    ],
)
async def test_posted_packets_are_sent_back_in_a_poll(
    session: Http, echoes: Echoes, payload: str
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    assert await polls.post(payload) == (200, "ok")
    assert await polls.answer() == (200, payload)


async def test_packets_posted_by_jsonp_are_sent_back(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with session.post(f"{polls.url}&j=0", data={"d": '4["a\\"b"]\x1e4you'}) as response:
        assert (response.status, await response.text()) == (200, "ok")
    status, body = await request(session, "GET", f"{polls.url}&j=0")
    assert status == 200
    assert json.loads(body.removeprefix("___eio[0](").removesuffix(");")) == '4["a\\"b"]\x1e4you'


async def test_form_posted_without_jsonp_ends_a_session(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with session.post(polls.url, data={"d": "4hello"}) as response:
        assert response.status == 400


@pytest.mark.parametrize("payload", ["abc", "", "4good\x1ebad"])
async def test_invalid_packet_ends_a_polling_session(
    session: Http, echoes: Echoes, payload: str
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    assert (await polls.post(payload))[0] == 400
    assert (await polls.get())[0] == 400
    assert polls.sid not in echoes.engine.sockets


async def test_payload_over_the_limit_ends_a_polling_session(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    assert (await polls.post("4" + "x" * echo.PAYLOAD_BYTES))[0] == 400
    assert (await polls.get())[0] == 400


async def test_second_poll_at_a_time_ends_the_session(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    first = asyncio.create_task(polls.get())
    await echoes.polled(polls.sid)
    assert (await polls.get())[0] == 400
    assert await first == (200, "1")
    assert (await polls.get())[0] == 400


async def test_disconnect_during_a_poll_ends_the_session(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    poll = asyncio.create_task(polls.get())
    await echoes.polled(polls.sid)
    poll.cancel()
    assert await echoes.reason(polls.sid) == echoes.engine.reason.TRANSPORT_CLOSE
    assert (await polls.get())[0] == 400


@pytest.mark.parametrize("packet", ["4hello", b"\x01\x02\x03\x04"], ids=["text", "bytes"])
async def test_message_on_a_websocket_is_sent_back(
    session: Http, echoes: Echoes, packet: Any
) -> None:
    async with websocket(session, echoes.engineio) as ws:
        await ws.next()
        await ws.send(packet)
        assert await ws.answer() == packet


async def test_invalid_packet_closes_a_websocket(session: Http, echoes: Echoes) -> None:
    async with websocket(session, echoes.engineio) as ws:
        await ws.next()
        await ws.send("abc")
        assert await ws.end() == []


# -- heartbeat


async def test_polling_session_is_pinged_while_it_answers(session: Http, url: str) -> None:
    polls = await Polls.open(session, url)
    for _ in range(3):
        assert await polls.get() == (200, "2")
        assert await polls.post("3") == (200, "ok")


async def test_polling_session_that_does_not_answer_a_ping_ends(
    session: Http, impatient: Echoes, impatient_url: str
) -> None:
    polls = await Polls.open(session, impatient_url)
    assert await polls.get() == (200, "2")
    # Released at the end; on a busy machine it may arrive after that.
    status, body = await polls.get()
    assert (status, body) == (200, "6") or status == 400
    assert await impatient.reason(polls.sid) == impatient.engine.reason.PING_TIMEOUT
    assert (await polls.get())[0] == 400


async def test_session_that_does_not_poll_ends_by_ping_timeout(
    session: Http, impatient: Echoes, impatient_url: str
) -> None:
    polls = await Polls.open(session, impatient_url)
    assert await impatient.reason(polls.sid) == impatient.engine.reason.PING_TIMEOUT
    assert (await polls.get())[0] == 400


async def test_websocket_is_pinged_while_it_answers(session: Http, url: str) -> None:
    async with websocket(session, url) as ws:
        await ws.next()
        for _ in range(3):
            assert await ws.next() == "2"
            await ws.send("3")


async def test_websocket_that_does_not_answer_a_ping_is_closed(
    session: Http, impatient: Echoes, impatient_url: str
) -> None:
    async with websocket(session, impatient_url) as ws:
        opening = str(await ws.next())
        assert opening[0] == "0"
        assert await ws.next() == "2"
        # CLOSE behind ASGI, nothing otherwise; the connection is aborted in both cases.
        packets = []
        with suppress(EOFError):
            while True:
                packets.append(await ws.next())
        assert set(packets) <= {"1"}
    reason = impatient.engine.reason
    # Behind ASGI the library's reader waits for as long as the heartbeat, and may end first.
    ended = await impatient.reason(json.loads(opening[1:])["sid"])
    assert ended in (reason.PING_TIMEOUT, reason.TRANSPORT_CLOSE)


# -- close


async def test_polling_client_can_end_its_session(session: Http, url: str) -> None:
    polls = await Polls.open(session, url)
    poll, post = await asyncio.gather(polls.get(), polls.post("1"))
    assert (poll, post) == ((200, "6"), (200, "ok"))
    assert (await polls.get())[0] == 400


async def test_websocket_client_can_end_its_session(session: Http, url: str) -> None:
    async with websocket(session, url) as ws:
        await ws.next()
        await ws.send("1")
        assert await ws.end() == []
