"""Polls that are forwarded to another machine, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import engineio
import httpx
import pytest

from bridge.gateway import peer_forwarding
from bridge.gateway.peer_forwarding import Peer, PeerForwarding
from bridge.security.peer_request import FORWARDED, HEADER, PeerKey, is_forwarded
from tests.serving import served

POLL = "/socket.io/?EIO=4&transport=polling&sid=bb.R4nd0m"
Answer = Callable[[Any, Any, Any, bytes], Awaitable[None]]


class Other:
    """The machine that has the session: records requests, and answers them with `answer`."""

    def __init__(self) -> None:
        self.key = PeerKey()
        self.requests: list[tuple[dict[str, Any], bytes]] = []
        self.received = asyncio.Event()
        self.gone = asyncio.Event()
        self.answer: Answer = self.answer_text

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        body += message.get("body", b"")
        scope = self.key.accept(scope)
        self.requests.append((scope, body))
        self.received.set()
        await self.answer(scope, receive, send, body)

    async def answer_text(self, scope: Any, receive: Any, send: Any, body: bytes) -> None:
        headers = [(b"content-type", b"text/plain"), (b"x-own", b"1"), (b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": b"6abc"})

    async def answer_never(self, scope: Any, receive: Any, send: Any, body: bytes) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.set()


class Here:
    """The machine at which polls arrive. What it has to refuse itself is answered 400."""

    def __init__(self, peer: Peer | None, *, max_body: int = 1000) -> None:
        self.forwarding = PeerForwarding(
            "aa", lambda process: peer if process == "bb" else None, max_body=max_body
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        peer = self.forwarding.target(scope)
        if peer is not None and await self.forwarding.forward(scope, receive, send, peer):
            return
        await send({"type": "http.response.start", "status": 400, "headers": []})
        await send({"type": "http.response.body", "body": b"refused"})


@asynccontextmanager
async def two(*, key: str | None = None, **options: Any) -> AsyncIterator[tuple[Here, Other, str]]:
    other = Other()
    async with served(other, lifespan="off") as there:
        here = Here(Peer("bb", there, key or other.key.value), **options)
        async with served(here, lifespan="off") as url:
            try:
                yield here, other, url
            finally:
                await here.forwarding.close()


async def test_poll_is_answered_by_the_machine_that_has_its_session() -> None:
    async with two() as (_, other, url), httpx.AsyncClient() as http:
        answer = await http.post(url + POLL, content=b"40", headers={"cookie": "a=b"})
        assert (answer.status_code, answer.text) == (202, "6abc")
        assert answer.headers["x-own"] == "1"
        [(scope, body)] = other.requests
        assert body == b"40"
        assert scope["query_string"] == POLL.partition("?")[2].encode()
        headers = dict(scope["headers"])
        assert headers[b"cookie"] == b"a=b"
        assert headers[b"host"] == url.removeprefix("http://").encode()
        assert is_forwarded(scope)


async def test_headers_of_the_client_are_the_only_ones_of_a_forwarded_poll() -> None:
    async with two() as (_, other, url):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(f"GET {POLL} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
        await reader.readuntil(b"6abc")
        writer.close()
        [(scope, _)] = other.requests
        assert scope["headers"] == [(b"host", b"a.example")]


async def test_forwarding_header_of_a_client_is_not_forwarded() -> None:
    async with two() as (_, other, url), httpx.AsyncClient() as http:
        await http.get(url + POLL, headers={HEADER.decode(): f"{other.key.value} 203.0.113.9"})
        [(scope, _)] = other.requests
        assert scope["client"][0] == "127.0.0.1"
        assert is_forwarded(scope)


async def test_answer_is_streamed() -> None:
    first, rest = asyncio.Event(), asyncio.Event()

    async def answer(scope: Any, receive: Any, send: Any, body: bytes) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        first.set()
        await rest.wait()
        await send({"type": "http.response.body", "body": b"two"})

    async with two() as (_, other, url), httpx.AsyncClient() as http:
        other.answer = answer
        async with http.stream("GET", url + POLL) as response:
            chunks = response.aiter_raw()
            assert await anext(chunks) == b"one"
            rest.set()
            assert await anext(chunks) == b"two"


async def test_end_of_the_client_ends_the_request_to_the_other_machine() -> None:
    async with two() as (_, other, url), httpx.AsyncClient() as http:
        other.answer = other.answer_never
        poll = asyncio.create_task(http.get(url + POLL))
        await other.received.wait()
        poll.cancel()
        async with asyncio.timeout(20):
            await other.gone.wait()


@pytest.mark.parametrize(
    "query",
    [
        "EIO=4&transport=polling",
        "EIO=4&transport=polling&sid=aa.R4nd0m",
        "EIO=4&transport=polling&sid=R4nd0m",
        "EIO=4&transport=polling&sid=cc.R4nd0m",
        "EIO=4&transport=polling&sid=%ff.x",
    ],
)
async def test_request_of_no_other_machine_is_served_here(query: str) -> None:
    async with two() as (_, other, url), httpx.AsyncClient() as http:
        assert (await http.get(f"{url}/socket.io/?{query}")).text == "refused"
        assert other.requests == []


def test_upgrade_to_a_websocket_is_not_forwarded() -> None:
    here = Here(Peer("bb", "http://127.0.0.1:9", ""))
    scope = {"type": "websocket", "query_string": b"sid=bb.x", "headers": []}
    assert here.forwarding.target(scope) is None


def test_forwarded_request_is_not_forwarded_again() -> None:
    here = Here(Peer("bb", "http://127.0.0.1:9", ""))
    scope: dict[str, Any] = {"type": "http", "query_string": b"sid=bb.x", "headers": []}
    assert here.forwarding.target(scope) is not None
    assert here.forwarding.target({**scope, "extensions": {FORWARDED: True}}) is None


async def test_poll_is_refused_when_the_other_machine_can_not_be_reached(
    caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    here = Here(Peer("bb", f"http://127.0.0.1:{unused_tcp_port}", "the key"))
    async with served(here, lifespan="off") as url, httpx.AsyncClient() as http:
        for _ in range(2):
            assert (await http.post(url + POLL, content=b"40")).text == "refused"
        await here.forwarding.close()
    warned = [each for each in caplog.messages if "BRIDGE_PEER_URL" in each]
    assert len(warned) == 1
    assert "the key" not in caplog.text


async def test_answer_that_is_cut_off_ends_the_clients_connection() -> None:
    async def answer(scope: Any, receive: Any, send: Any, body: bytes) -> None:
        headers = [(b"content-length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})

    async with two() as (_, other, url), httpx.AsyncClient() as http:
        other.answer = answer
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get(url + POLL)


async def test_request_that_is_too_large_is_refused() -> None:
    async with two(max_body=10) as (_, other, url), httpx.AsyncClient() as http:
        assert (await http.post(url + POLL, content=b"4" * 11)).text == "refused"
        assert (await http.post(url + POLL, content=b"4" * 10)).status_code == 202
        assert len(other.requests) == 1


async def test_requests_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_forwarding, "MAX_FORWARDED", 1)
    async with two() as (_, other, url), httpx.AsyncClient() as http:
        other.answer = other.answer_never
        poll = asyncio.create_task(http.get(url + POLL))
        await other.received.wait()
        assert (await http.get(url + POLL)).text == "refused"
        poll.cancel()
        await other.gone.wait()
        other.answer = other.answer_text
        async with asyncio.timeout(20):
            while (await http.get(url + POLL)).status_code != 202:
                await asyncio.sleep(0.01)


def test_answer_is_awaited_longer_than_a_poll_lasts() -> None:
    server = engineio.AsyncServer(async_mode="asgi")
    assert server.ping_interval + server.ping_timeout < peer_forwarding.ANSWER_SECONDS
