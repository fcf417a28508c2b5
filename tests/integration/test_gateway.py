"""Real clients over real sockets, with entries that no pipeline made."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import socketio
from socketio.exceptions import ConnectionError as NotConnected
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge.gateway.engineio.raw_websocket import keep_transport
from bridge.gateway.gateway import Gateway
from tests.fakes import build, entry, settings
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import Receive, Scope, Send

    from bridge.gateway.subscription import Subscription

# Python's client does not read all of its answers to the end. They are collected here, so that no
# other test fails.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed connection:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    yield
    gc.collect()


class Served:
    """A gateway on a port."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self.gateway = gateway
        self.url = url

    def publish(self, *entries: Any) -> None:
        self.gateway.hub.publish(entries)

    async def clients(self, number: int) -> None:
        """Wait until so many clients are there."""
        async with asyncio.timeout(20):
            while self.gateway.hub.counts().clients != number:
                await asyncio.sleep(0.005)

    def subscription_of(self, sid: str) -> Subscription | None:
        client = self.gateway.clients.get(sid)
        return None if client is None else client.subscription

    async def lines(self, number: int) -> int:
        """Wait until so many websockets are open."""
        lines: dict[str, Any] = self.gateway.server.eio.websockets
        async with asyncio.timeout(20):
            while len(lines) != number:
                await asyncio.sleep(0.005)
        return len(lines)


@asynccontextmanager
async def gateway(**overrides: Any) -> AsyncIterator[Served]:
    gate = build(settings(**overrides))
    inner = Starlette(routes=[Mount("/socket.io", app=gate)])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        keep_transport(scope, send)
        await inner(scope, receive, send)

    async with served(app, drain=gate.close) as url:
        yield Served(gate, url)


class Client:
    """A Socket.IO client and everything it received, acks as ("ack", answer)."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self.sio = socketio.AsyncClient(reconnection=False, handle_sigint=False, http_session=http)
        self.heard: list[tuple[str, Any]] = []
        self.refusal: Any = None
        self._news = asyncio.Event()
        self.sio.on("*", self._hear)
        self.sio.on("connect_error", self._refused)

    async def _hear(self, name: str, *args: Any) -> None:
        self.heard.append((name, *args))
        self._news.set()

    async def _refused(self, why: Any) -> None:
        self.refusal = why

    async def say(self, name: str, *args: Any) -> Any:
        data = args[0] if len(args) == 1 else args or None
        return await self.sio.call(name, data, timeout=5)

    async def until(self, count: int) -> list[int]:
        """Return the `seq` of the received events, once there are `count`."""
        async with asyncio.timeout(10):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()
        return self.seqs

    @property
    def seqs(self) -> list[int]:
        return [envelope["data"]["seq"] for _, envelope in self.heard]


@asynccontextmanager
async def client(url: str, transport: str = "websocket", auth: Any = None) -> AsyncIterator[Client]:
    transports = ["polling", "websocket"] if transport == "upgrade" else [transport]
    # A session of our own: the library leaves its own open in some endings.
    async with aiohttp.ClientSession() as http:
        it = Client(http)
        await it.sio.connect(url, transports=transports, auth=auth)
        try:
            yield it
        finally:
            await it.sio.disconnect()


transports = pytest.mark.parametrize("transport", ["polling", "websocket", "upgrade"])


@transports
async def test_client_without_names_receives_everything_in_order(transport: str) -> None:
    async with gateway() as served, client(served.url, transport) as one:
        served.publish(*(entry(n, "TX") for n in range(50)))
        served.publish(entry(50, "CA", name="property-deleted"))
        assert await one.until(51) == list(range(51))
        name, envelope = one.heard[-1]
        assert name == envelope["event"] == "property-deleted"
        assert envelope["data"] == {"property_id": "p1", "seq": 50}


@transports
async def test_client_receives_what_it_named_and_nothing_else(transport: str) -> None:
    async with (
        gateway() as served,
        client(served.url, transport, {"regions": ["TX"]}) as tx,
        client(served.url, transport, {"regions": ["CA"], "properties": ["p9"]}) as ca,
        client(served.url, transport) as everything,
    ):
        served.publish(entry(1, "TX"), entry(2, "CA"), entry(3, "TX", "CA"), entry(4, key="p9"))
        served.publish(entry(5, "TX", "CA"))
        assert await tx.until(3) == [1, 3, 5]
        assert await ca.until(4) == [2, 3, 4, 5]
        assert await everything.until(5) == [1, 2, 3, 4, 5]


async def test_acks_of_requests_have_the_whole_subscription() -> None:
    async with gateway() as served, client(served.url) as one:
        assert await one.say("subscribe", {"regions": ["TX"]}) == {
            "ok": True,
            "regions": ["TX"],
            "properties": [],
        }
        answer = await one.say("subscribe", {"regions": ["CA"], "properties": ["p1"], "more": 1})
        assert answer == {"ok": True, "regions": ["TX", "CA"], "properties": ["p1"]}
        answer = await one.say("unsubscribe", {"regions": ["TX", "CA"]})
        assert answer == {"ok": True, "regions": [], "properties": ["p1"]}
        assert await one.say("subscribe") == {"ok": True, "regions": None, "properties": []}
        answer = await one.say("unsubscribe", {"properties": ["p1"]})
        assert answer == {"ok": True, "regions": None, "properties": []}


@pytest.mark.parametrize(
    ("event", "args", "code"),
    [
        ("subscribe", ("TX",), "bad_request"),
        ("subscribe", ({"regions": [1]},), "bad_request"),
        ("subscribe", ({"regions": ["CA"]}, {}), "bad_request"),
        ("subscribe", ({"regions": [str(n) for n in range(5)]},), "too_many_rooms"),
        ("subscribe", ({"regions": ["CA"], "snapshot": True},), "not_supported"),
        ("subscribe", ({"regions": ["CA"], "snapshot": 1},), "bad_request"),
        ("unsubscribe", ({"regions": "TX"},), "bad_request"),
        ("unsubscribe", (b"\x00",), "bad_request"),
        ("authenticate", ({"token": "x"},), "token_invalid"),
        ("authenticate", (), "bad_request"),
    ],
)
async def test_rejected_request_has_a_reason_and_changes_nothing(
    event: str, args: tuple[Any, ...], code: str
) -> None:
    async with (
        gateway(max_rooms=4) as served,
        client(served.url, auth={"regions": ["TX"]}) as one,
    ):
        answer = await one.say(event, *args)
        assert answer["ok"] is False
        assert answer["error"]["code"] == code
        assert answer["error"]["message"]
        served.publish(entry(1, "CA"), entry(2, "TX"))
        assert await one.until(1) == [2]


@pytest.mark.parametrize(
    ("auth", "code"),
    [
        ("TX", "bad_request"),
        ({"regions": "TX"}, "bad_request"),
        ({"properties": [None]}, "bad_request"),
        ({"batch": "x"}, "bad_request"),
        ({"regions": ["a", "b", "c"]}, "too_many_rooms"),
    ],
)
async def test_a_refused_handshake_carries_code_and_message(auth: Any, code: str) -> None:
    async with gateway(max_rooms=2) as served, aiohttp.ClientSession() as http:
        one = Client(http)
        with pytest.raises(NotConnected):
            await one.sio.connect(served.url, auth=auth)
        assert one.refusal["message"]
        assert one.refusal["data"]["code"] == code
        assert one.refusal["data"]["message"] == one.refusal["message"]
        assert served.gateway.hub.counts().clients == 0


async def test_handshake_members_of_others_are_passed_over() -> None:
    auth = {"pid": [], "offset": 2, "snapshot": 3, "regions": None}
    async with gateway() as served, client(served.url, auth=auth) as one:
        served.publish(entry(1, "TX"))
        assert await one.until(1) == [1]


@transports
async def test_acks_and_events_keep_their_order(transport: str) -> None:
    async with (
        gateway() as served,
        client(served.url, transport, {"regions": ["CA"]}) as one,
    ):
        async with asyncio.timeout(10):
            for turn in range(20):
                before = len(one.heard)
                asked = asyncio.create_task(one.say("subscribe", {"regions": ["TX"]}))
                while (sub := served.subscription_of(one.sio.get_sid())) is None or (
                    "TX" not in (sub.regions or ())
                ):
                    served.publish(entry(-1, "TX"))
                    await asyncio.sleep(0)
                served.publish(entry(turn, "TX"))
                assert (await asked)["regions"] == ["CA", "TX"]
                await one.until(before + 1)
                assert one.seqs[before:] == [turn]
                answer = await one.say("unsubscribe", {"regions": ["TX"]})
                assert answer["regions"] == ["CA"]


async def test_requests_need_no_ack_and_unknown_events_no_answer() -> None:
    async with gateway() as served, client(served.url) as one:
        await one.sio.emit("subscribe", {"regions": ["TX"]})
        await one.sio.emit("subscribe", {"regions": 5})
        await one.sio.emit("nobody-knows", {"x": 1})
        assert (await one.say("unsubscribe", {"regions": ["CA"]}))["regions"] == ["TX"]


async def test_events_named_as_the_librarys_own_change_nothing() -> None:
    async with gateway() as served, client(served.url, auth={"regions": ["TX"]}) as one:
        # The client's library would not send these.
        for name in ("connect", "disconnect"):
            packet = socketio.packet.Packet(data=[name, {}, {"regions": ["CA"]}])
            await one.sio._send_packet(packet)
        assert (await one.say("unsubscribe", {"regions": ["CA"]}))["regions"] == ["TX"]
        served.publish(entry(1, "CA"), entry(2, "TX"))
        assert await one.until(1) == [2]


async def test_client_that_disconnects_is_removed_from_every_part() -> None:
    async with gateway() as served:
        hub, batcher = served.gateway.hub, served.gateway.batcher
        batching = {"batch": True, "regions": ["TX"]}
        async with (
            client(served.url),
            client(served.url, "polling"),
            client(served.url, auth=batching),
            client(served.url, "polling", batching),
        ):
            await served.clients(4)
            assert (hub.counts().rooms, batcher.clients) == (1, 2)
        await served.clients(0)
        served.publish(entry(1, "TX"))
        assert (hub.counts().rooms, batcher.clients, batcher.waiting) == (0, 0, 0)
        assert len(served.gateway.clients) == 0


async def test_event_is_not_sent_before_connect() -> None:
    """Otherwise a client that sets up its listeners on `connect`, as many do, would lose it."""
    async with gateway() as served, aiohttp.ClientSession() as http:
        stop = asyncio.Event()

        async def fire() -> None:
            while not stop.is_set():
                served.publish(entry(1, "TX"))
                await asyncio.sleep(0)

        firing = asyncio.create_task(fire())
        url = served.url + "/socket.io/?EIO=4&transport=websocket"
        for _ in range(20):
            async with http.ws_connect(url) as ws:
                assert (await ws.receive_str()).startswith("0{")
                await ws.send_str("40")
                assert (await ws.receive_str()).startswith("40{")
                assert (await ws.receive_str()).startswith("42[")
        stop.set()
        await firing


async def test_an_upgrade_under_fire_loses_and_repeats_nothing() -> None:
    async with gateway() as served:
        stop, sent = asyncio.Event(), 0

        async def fire() -> None:
            nonlocal sent
            while not stop.is_set():
                served.publish(entry(sent, "TX"))
                sent += 1
                await asyncio.sleep(0.001)

        firing = asyncio.create_task(fire())
        for _ in range(10):
            async with client(served.url, "upgrade") as one:
                assert one.sio.transport() == "websocket"
                seqs = await one.until(60)
                assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        stop.set()
        await firing


@pytest.mark.parametrize("shown", [True, False])
async def test_slow_client_is_disconnected_and_the_others_are_not(
    shown: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shown:  # as on a server that doesn't show its transports
        monkeypatch.setattr("tests.integration.test_gateway.keep_transport", lambda *_: None)
    async with gateway(client_bytes=200_000) as served:
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        # 40, masked with zeroes; then it reads nothing more.
        writer.write(b"\x81\x82\x00\x00\x00\x0040")
        await served.clients(1)
        async with client(served.url) as healthy, client(served.url, "polling") as polling:
            big = "x" * 10_000
            async with asyncio.timeout(20):
                count = 0
                while served.gateway.hub.counts().clients == 3:
                    served.publish(*(entry(count + n, pad=big) for n in range(10)))
                    count += 10
                    await healthy.until(count)
                    await polling.until(count)
            served.publish(entry(count))
            assert await healthy.until(count + 1) == list(range(count + 1))
            assert await polling.until(count + 1) == list(range(count + 1))
        assert served.gateway.slow_clients_closed == 1
        assert "slow client" in caplog.text
        assert await served.lines(0) == 0
        async with asyncio.timeout(20):
            while await reader.read(65536):
                pass
        writer.transport.abort()


async def test_slow_polling_client_is_disconnected() -> None:
    async with gateway(client_bytes=100_000) as served, aiohttp.ClientSession() as http:
        url = served.url + "/socket.io/?EIO=4&transport=polling"
        async with http.get(url) as response:
            sid = json.loads((await response.text())[1:])["sid"]
        async with http.post(f"{url}&sid={sid}", data="40") as response:
            assert response.status == 200
        await served.clients(1)
        served.publish(*(entry(n, pad="x" * 1000) for n in range(200)))
        await served.clients(0)
        async with http.get(f"{url}&sid={sid}") as response:
            assert response.status == 400


async def test_closing_ends_polls_and_websockets_and_takes_no_more() -> None:
    async with (
        gateway() as served,
        client(served.url) as one,
        client(served.url, "polling") as two,
        aiohttp.ClientSession() as http,
    ):
        async with asyncio.timeout(20):
            await served.gateway.close()
            await served.gateway.close()
            while one.sio.connected or two.sio.connected:
                await asyncio.sleep(0.005)
        assert served.gateway.hub.counts().clients == 0
        async with http.get(served.url + "/socket.io/?EIO=4&transport=polling") as response:
            assert response.status == 503
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(served.url + "/socket.io/?EIO=4&transport=websocket")


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        ("http://a.example,http://b.example", "http://b.example", 200),
        ("http://a.example", "http://evil.example", 400),
        ("*", "http://evil.example", 200),
        ("", "http://evil.example", 400),
    ],
)
async def test_only_pages_of_the_origins_that_are_set_may_connect(
    origins: str, origin: str, status: int
) -> None:
    async with gateway(cors_origins=origins) as served, aiohttp.ClientSession() as http:
        url = served.url + "/socket.io/?EIO=4&transport=polling"
        async with http.get(url, headers={"Origin": origin}) as response:
            assert response.status == status
            if status == 200:
                assert response.headers["Access-Control-Allow-Origin"] == origin
