"""Raw websockets on an in-memory transport."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bridge.clock import ManualClock
from bridge.gateway.engineio import ws_frames as frames
from bridge.gateway.engineio.raw_websocket import (
    CLOSE_SECONDS,
    HANDOVER,
    READ_BYTES,
    TRANSPORT,
    RawWebSocket,
    keep_transport,
    limit_read_size,
    take_over,
)
from tests.unit.gateway.engineio.fakes import FakeTransport, RecordingOwner
from tests.unit.gateway.engineio.test_ws_frames import masked

Opened = tuple[RawWebSocket, FakeTransport, RecordingOwner, set[Any]]


def opened() -> Opened:
    """An open websocket, its transport, its owner, and the server's open connections."""
    transport, owner, connections = FakeTransport(), RecordingOwner(), set[Any]()
    return RawWebSocket(transport, connections, owner, 1000), transport, owner, connections  # type: ignore[arg-type]


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Time of the running loop's `call_later`."""
    manual = ManualClock()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", manual.call_later)
    return manual


# -- the transport under a request


def test_keep_transport_stores_the_transport_that_the_server_exposes() -> None:
    class Protocol:
        transport = FakeTransport()

        async def send(self, message: Any) -> None: ...

    scope: dict[str, Any] = {"type": "websocket"}
    keep_transport(scope, Protocol().send)
    assert scope["extensions"][TRANSPORT] is Protocol.transport


def test_keep_transport_stores_nothing_without_an_exposed_transport() -> None:
    async def send(message: Any) -> None: ...

    scope: dict[str, Any] = {"type": "websocket"}
    keep_transport(scope, send)
    assert "extensions" not in scope
    scope = {"type": "lifespan"}
    keep_transport(scope, send)
    assert scope == {"type": "lifespan"}


def test_limit_read_size_leaves_a_transport_without_such_a_limit() -> None:
    class Selector:
        max_size = 262_144

    selector, other = Selector(), object()
    limit_read_size(selector)
    limit_read_size(other)
    assert selector.max_size == READ_BYTES == 4096


def test_take_over_returns_none_if_the_server_does_not_offer_it() -> None:
    for extensions in ({}, {HANDOVER: object()}):
        scope = {"type": "websocket", "extensions": extensions}
        assert take_over(scope, RecordingOwner(), 1) is None
    assert take_over({"type": "websocket"}, RecordingOwner(), 1) is None


# -- reading


async def test_websocket_passes_messages_to_its_owner_and_answers_pings() -> None:
    websocket, transport, owner, _ = opened()
    websocket.data_received(masked("ü".encode()) + masked(b"\x00", frames.BINARY))
    websocket.data_received(masked(b"?", frames.PING) + masked(b"!", frames.PONG))
    assert owner.events == ["ü", b"\x00"]
    assert transport.written == b"\x8a\x01?"


async def test_websocket_passes_backpressure_to_its_owner() -> None:
    websocket, _, owner, _ = opened()
    websocket.pause_writing()
    websocket.resume_writing()
    assert (websocket.unsent, owner.events) == (7, ["pause", "resume"])


async def test_websocket_answers_the_last_of_pings_that_are_read_together() -> None:
    websocket, transport, owner, _ = opened()
    pings = b"".join(masked(b"%d" % number, frames.PING) for number in range(100))
    websocket.data_received(pings + masked(b"x"))
    assert transport.written == frames.frame(frames.PONG, b"99")
    assert owner.events == ["x"]


async def test_websocket_reads_at_most_read_bytes_at_a_time() -> None:
    websocket, _, owner, _ = opened()
    buffer = websocket.get_buffer(-1)
    assert len(buffer) == READ_BYTES
    for message in (b"one", b"two"):
        data = masked(message)
        buffer[: len(data)] = data
        websocket.buffer_updated(len(data))
    assert owner.events == ["one", "two"]


async def test_websocket_defers_one_pong_while_its_peer_does_not_read() -> None:
    websocket, transport, _, _ = opened()
    websocket.pause_writing()
    for number in range(100):
        websocket.data_received(masked(b"%d" % number, frames.PING))
    assert transport.written == b""
    websocket.resume_writing()
    assert transport.written == frames.frame(frames.PONG, b"99")
    websocket.pause_writing()
    websocket.resume_writing()
    assert transport.written == frames.frame(frames.PONG, b"99")


# -- closing


async def test_websocket_answers_a_close_frame_and_ignores_later_messages() -> None:
    websocket, transport, owner, connections = opened()
    websocket.data_received(masked(b"\x03\xe9", frames.CLOSE) + masked(b"late"))
    assert transport.written == frames.close(1001)
    assert transport.calls == ["close"]
    assert websocket in connections
    websocket.connection_lost(None)
    assert owner.events == ["pause", "close"]
    assert connections == set()


@pytest.mark.parametrize(("data", "code"), [(b"\x81\x00", 1002), (masked(b"\xff"), 1007)])
async def test_websocket_closes_with_the_code_of_a_protocol_violation(
    data: bytes, code: int
) -> None:
    websocket, transport, owner, _ = opened()
    websocket.data_received(data)
    assert transport.written == frames.close(code)
    assert transport.calls == ["close"]
    assert owner.events == ["pause"]
    websocket.connection_lost(None)


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", 1000),
        *(
            (number.to_bytes(2, "big") + b"bye", number)
            for number in (1000, 1001, 1014, 3000, 4999)
        ),
        *(
            (code.to_bytes(2, "big"), 1002)
            for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
        ),
        (b"\x03", 1002),
        (b"\x03\xe8\xff", 1007),
    ],
)
async def test_websocket_answers_a_close_frame_with_a_code_that_may_be_sent(
    sent: bytes, code: int
) -> None:
    websocket, transport, _, _ = opened()
    websocket.data_received(masked(sent, frames.CLOSE))
    assert transport.written == frames.close(code)
    assert transport.calls == ["close"]


async def test_websocket_aborts_if_its_close_frame_is_not_answered(clock: ManualClock) -> None:
    websocket, transport, owner, _ = opened()
    websocket.write(b"written before")
    websocket.close()
    websocket.close()
    websocket.write(b"written after")
    websocket.data_received(masked(b"ignored"))
    assert transport.written == b"written before" + frames.close(1000)
    clock.advance(CLOSE_SECONDS - 0.1)
    assert transport.calls == []
    clock.advance(0.1)
    assert transport.calls == ["abort"]
    websocket.connection_lost(None)
    assert owner.events == ["pause", "close"]


async def test_websocket_closes_its_transport_once_its_close_frame_is_answered(
    clock: ManualClock,
) -> None:
    websocket, transport, _, _ = opened()
    websocket.close()
    websocket.data_received(masked(b"\x03\xe8", frames.CLOSE))
    assert transport.calls == ["close"]
    websocket.connection_lost(None)
    assert clock.timers == []


async def test_websocket_ends_if_its_peer_closes_one_side() -> None:
    websocket, transport, owner, _ = opened()
    assert websocket.eof_received() is False  # asyncio closes the transport then
    websocket.write(b"late")
    assert transport.written == b""
    websocket.connection_lost(None)
    assert owner.events == ["pause", "close"]


async def test_websocket_pauses_reading_and_closes_with_1012_on_shutdown() -> None:
    websocket, transport, _, _ = opened()
    websocket.pause_reading()
    websocket.resume_reading()
    websocket.shutdown()
    websocket.pause_reading()
    websocket.resume_reading()
    assert transport.calls == ["pause_reading", "resume_reading", "close"]
    assert transport.written == frames.close(1012)
    websocket.connection_lost(None)
    websocket.pause_reading()
    websocket.abort()
    assert transport.calls == ["pause_reading", "resume_reading", "close"]
