"""The private parts of uvicorn that are relied on, and lines on a transport that does as told."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
import uvicorn

from bridge.gateway.engineio import raw_websocket as transport
from bridge.gateway.engineio import ws_frames as frames
from bridge.gateway.engineio.raw_websocket import (
    READ_BYTES,
    TRANSPORT,
    RawWebSocket,
    keep_transport,
)
from tests.unit.gateway.engineio.test_ws_frames import masked

CHANGED = (
    "uvicorn changed something private that bridge/gateway/transport.py relies on "
    "(its docstring lists it): "
)


# -- what is private and relied on


def test_a_server_stops_what_is_in_its_connections_and_waits_for_them() -> None:
    source = inspect.getsource(uvicorn.Server.shutdown)
    assert "connection.shutdown()" in source, CHANGED + "Server.shutdown()"
    source = inspect.getsource(uvicorn.Server._wait_tasks_to_complete)
    assert "while self.server_state.connections" in source, CHANGED + "Server waits"


def test_a_transport_is_kept_where_the_server_shows_it() -> None:
    class Protocol:
        transport = Transport()

        async def send(self, message: Any) -> None: ...

    scope: dict[str, Any] = {"type": "websocket"}
    keep_transport(scope, Protocol().send)
    assert scope["extensions"][TRANSPORT] is Protocol.transport


def test_a_transport_is_not_invented() -> None:
    async def send(message: Any) -> None: ...

    scope: dict[str, Any] = {"type": "websocket"}
    keep_transport(scope, send)
    assert "extensions" not in scope
    scope = {"type": "lifespan"}
    keep_transport(scope, send)
    assert scope == {"type": "lifespan"}


# -- lines


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 7

    def is_closing(self) -> bool:
        return "close" in self.calls or "abort" in self.calls

    def __getattr__(self, name: str) -> Any:
        if name not in ("close", "abort", "pause_reading", "resume_reading"):
            raise AttributeError(name)
        return lambda: self.calls.append(name)


class Owner:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_message(self, line: RawWebSocket, message: str | bytes) -> None:
        self.told.append(message)

    def on_pause(self, line: RawWebSocket) -> None:
        self.told.append("paused")

    def on_resume(self, line: RawWebSocket) -> None:
        self.told.append("resumed")

    def on_close(self, line: RawWebSocket) -> None:
        assert line.unsent == 0
        line.write(b"never")
        self.told.append("lost")


def line() -> tuple[RawWebSocket, Transport, Owner, set[Any]]:
    carrier, owner, connections = Transport(), Owner(), set[Any]()
    return RawWebSocket(carrier, connections, owner, 1000), carrier, owner, connections  # type: ignore[arg-type]


async def test_a_line_gives_its_owner_what_it_hears_and_answers_pings() -> None:
    it, carrier, owner, _ = line()
    it.data_received(masked("ü".encode()) + masked(b"\x00", frames.BINARY))
    it.data_received(masked(b"?", frames.PING) + masked(b"!", frames.PONG))
    assert owner.told == ["ü", b"\x00"]
    assert carrier.written == b"\x8a\x01?"
    it.pause_writing()
    it.resume_writing()
    assert (it.unsent, owner.told[-2:]) == (7, ["paused", "resumed"])


async def test_of_pings_that_come_together_the_last_is_answered() -> None:
    it, carrier, owner, _ = line()
    it.data_received(b"".join(masked(b"%d" % n, frames.PING) for n in range(100)) + masked(b"x"))
    assert carrier.written == frames.frame(frames.PONG, b"99")
    assert owner.told == ["x"]


async def test_a_line_reads_a_little_at_a_time() -> None:
    it, _, owner, _ = line()
    buffer = it.get_buffer(-1)
    assert len(buffer) == READ_BYTES
    for message in (b"one", b"two"):
        data = masked(message)
        buffer[: len(data)] = data
        it.buffer_updated(len(data))
    assert owner.told == ["one", "two"]


async def test_a_peer_that_pings_and_does_not_read_is_answered_once_when_it_does() -> None:
    it, carrier, _, _ = line()
    it.pause_writing()
    for n in range(100):
        it.data_received(masked(b"%d" % n, frames.PING))
    assert carrier.written == b""
    it.resume_writing()
    assert carrier.written == frames.frame(frames.PONG, b"99")
    it.pause_writing()
    it.resume_writing()
    assert carrier.written == frames.frame(frames.PONG, b"99")


async def test_a_peer_that_closes_is_answered_and_then_not_heard() -> None:
    it, carrier, owner, connections = line()
    it.data_received(masked(b"\x03\xe9", frames.CLOSE) + masked(b"late"))
    assert carrier.written == frames.close(1001)
    assert carrier.calls == ["close"]
    assert it in connections
    it.connection_lost(None)
    assert owner.told == ["paused", "lost"]
    assert connections == set()


@pytest.mark.parametrize(("data", "code"), [(b"\x81\x00", 1002), (masked(b"\xff"), 1007)])
async def test_who_breaks_the_protocol_is_told_so(data: bytes, code: int) -> None:
    it, carrier, owner, _ = line()
    it.data_received(data)
    assert carrier.written == frames.close(code)
    assert carrier.calls == ["close"]
    assert owner.told == ["paused"]
    it.connection_lost(None)


async def test_a_line_that_closes_waits_for_the_answer_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "CLOSE_SECONDS", 0.02)
    it, carrier, owner, _ = line()
    it.write(b"said before")
    it.close()
    it.close()
    it.write(b"said after")
    it.data_received(masked(b"ignored"))
    assert carrier.written == b"said before" + frames.close(1000)
    assert carrier.calls == []
    await asyncio.sleep(0.05)
    assert carrier.calls == ["abort"]
    it.connection_lost(None)
    assert owner.told == ["paused", "lost"]


async def test_a_line_that_was_answered_closes() -> None:
    it, carrier, _, _ = line()
    it.close()
    it.data_received(masked(b"\x03\xe8", frames.CLOSE))
    assert carrier.calls == ["close"]
    it.connection_lost(None)


async def test_a_half_closed_line_is_over() -> None:
    it, carrier, owner, _ = line()
    assert it.eof_received() is False  # the transport closes itself
    it.write(b"late")
    assert carrier.written == b""
    it.connection_lost(None)
    assert owner.told == ["paused", "lost"]


async def test_a_line_can_be_held_and_stops_with_its_server() -> None:
    it, carrier, _, _ = line()
    it.pause_reading()
    it.resume_reading()
    it.shutdown()
    it.pause_reading()
    it.resume_reading()
    assert carrier.calls == ["pause_reading", "resume_reading", "close"]
    assert carrier.written == frames.close(1012)
    it.connection_lost(None)
    it.pause_reading()
    it.abort()
