"""Engine.IO upgrades from polling to a websocket: requirements of the official test suite."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from bridge.gateway.engineio import upgrade
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
        assert await polls.answer() == (200, "6")  # no poll is left waiting
        await ws.send("5", "4hello")
        assert await ws.answer() == "4hello"


async def test_probe_releases_a_waiting_poll(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    poll = asyncio.create_task(polls.answer())
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


# -- an upgrade that fails half-way


async def test_events_are_polled_while_an_upgrade_is_open(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        for text in ("4one", "4two", "4three"):
            assert await polls.post(text) == (200, "ok")
            assert await polls.answer() == (200, text)


async def test_waiting_poll_gets_an_event_while_an_upgrade_is_open(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        assert await polls.answer() == (200, "6")
        poll = asyncio.create_task(polls.answer())
        await echoes.polled(polls.sid)
        assert await polls.post("4hello") == (200, "ok")
        assert await poll == (200, "4hello")


async def test_probe_answers_at_most_one_poll_with_noop(session: Http, echoes: Echoes) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        answers = []
        for _ in range(3):  # one is released, the others wait for the next ping
            answers.append(await polls.get())
            if answers[-1] == (200, "2"):
                await polls.post("3")
        assert sorted(answers) == [(200, "2"), (200, "2"), (200, "6")]


async def test_poll_that_starts_after_the_release_gets_the_noop(
    session: Http, echoes: Echoes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "RELEASE_SECONDS", 0)
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        await asyncio.sleep(0)
        assert await polls.answer() == (200, "6")
        assert await polls.get() == (200, "2")


@pytest.mark.parametrize("sent", [[], ["2probe"]], ids=["no probe", "probe"])
async def test_upgrade_that_takes_too_long_is_given_up(
    session: Http, echoes: Echoes, monkeypatch: pytest.MonkeyPatch, sent: list[str]
) -> None:
    monkeypatch.setattr(upgrade, "UPGRADE_SECONDS", 0.15)
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send(*sent)
        assert await ws.end() == ["3probe"] * len(sent)
    assert await polls.post("4hello") == (200, "ok")
    assert await polls.answer() == (200, "4hello")
    monkeypatch.undo()
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await _upgrade(ws)
        await ws.send("4again")
        assert await ws.answer() == "4again"


async def test_second_websocket_is_closed_while_an_upgrade_is_open(session: Http, url: str) -> None:
    polls = await Polls.open(session, url)
    async with websocket(session, url, sid=polls.sid) as ws:
        async with websocket(session, url, sid=polls.sid) as second:
            assert await second.end() == []
        await _upgrade(ws)


async def test_end_of_the_session_closes_a_websocket_that_is_probed(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        assert await polls.post("1") == (200, "ok")
        assert await ws.end() == []


async def test_client_that_moves_reads_close_by_its_poll_when_the_server_ends_the_session(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    poll = asyncio.create_task(polls.get())
    await echoes.polled(polls.sid)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        await echoes.engine.sockets[polls.sid].close(abort=True)
        assert await poll == (200, "1")


async def test_websocket_of_an_ended_session_stays_open_until_the_client_has_moved(
    session: Http, echoes: Echoes
) -> None:
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        assert await polls.get() == (200, "6")  # the client has paused its polls
        await echoes.engine.sockets[polls.sid].close(abort=True)
        ending = asyncio.create_task(ws.end())
        done, _ = await asyncio.wait({ending}, timeout=0.2)
        assert not done
        await ws.send("5")
        assert await ending == []


async def test_websocket_of_an_ended_session_is_forgotten_once_its_client_has_closed_it(
    session: Http, echoes: Echoes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrade, "LINGER_SECONDS", 0.3)
    loop = asyncio.get_running_loop()
    errors: list[dict[str, Any]] = []
    monkeypatch.setattr(loop, "call_exception_handler", errors.append)
    polls = await Polls.open(session, echoes.engineio)
    async with websocket(session, echoes.engineio, sid=polls.sid) as ws:
        await ws.send("2probe")
        assert await ws.next() == "3probe"
        await echoes.engine.sockets[polls.sid].close(abort=True)
    await asyncio.sleep(0.4)  # until after the time at which it would have been closed
    assert errors == []


async def _upgrade(ws: Any) -> None:
    await ws.send("2probe")
    assert await ws.next() == "3probe"
    await ws.send("5")
