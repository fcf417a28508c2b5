"""Time limits of the HTTP protocol, on an in-memory transport and a manual clock."""

from __future__ import annotations

from typing import Any

import pytest
import uvicorn

from bridge.clock import ManualClock
from bridge.server import file_limit
from bridge.server.http_protocol import REQUEST_SECONDS, UNREAD_SECONDS, HttpProtocol
from bridge.server.websocket_protocol import WebSocketProtocol
from tests.unit.gateway.engineio.fakes import FakeTransport
from tests.unit.server.handshake import HANDSHAKE, NoTasksLoop

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class ManualLoop(NoTasksLoop):
    """Runs no task, and timers on a manual clock."""

    def __init__(self, clock: ManualClock) -> None:
        self.call_later = clock.call_later


def connected() -> tuple[Any, FakeTransport, ManualClock]:
    """A protocol on a new connection, its transport and the time."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    config = uvicorn.Config(app, http=HttpProtocol, ws=WebSocketProtocol)
    config.load()
    clock, transport = ManualClock(), FakeTransport()
    loop: Any = ManualLoop(clock)
    protocol: Any = HttpProtocol(config, uvicorn.server.ServerState(), {}, _loop=loop)
    protocol.connection_made(transport)
    return protocol, transport, clock


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"G",
        b"GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"x" * 1000,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"\r\n\r\n",
    ],
    ids=["nothing", "method", "line", "header", "body", "chunk", "empty lines"],
)
def test_incomplete_request_is_aborted_after_request_seconds(sent: bytes) -> None:
    protocol, transport, clock = connected()
    protocol.data_received(sent)
    clock.advance(REQUEST_SECONDS - 0.1)
    assert transport.calls == []
    clock.advance(0.1)
    assert transport.calls == ["abort"]


def test_request_seconds_are_not_extended_by_more_bytes() -> None:
    protocol, transport, clock = connected()
    protocol.data_received(b"GET / HTTP/1.1\r\n")
    for _ in range(19):
        clock.advance(1)
        protocol.data_received(b"X-A: b\r\n")
    assert transport.calls == []
    clock.advance(REQUEST_SECONDS - 19)
    assert transport.calls == ["abort"]


def test_received_request_has_no_time_limit_for_its_response() -> None:
    protocol, transport, clock = connected()
    protocol.data_received(GET)
    assert clock.timers == []
    clock.advance(10 * REQUEST_SECONDS)
    assert transport.calls == []


def test_bytes_after_a_response_that_are_no_request_are_aborted() -> None:
    protocol, transport, clock = connected()
    protocol.data_received(GET)
    protocol.cycle.response_complete = True
    protocol.on_response_complete()
    protocol.data_received(b"\r\n")
    clock.advance(REQUEST_SECONDS)
    assert transport.calls == ["abort"]


async def test_websocket_has_no_time_limit_of_a_request() -> None:
    protocol, transport, clock = connected()
    protocol.data_received(HANDSHAKE)
    assert type(transport.protocol) is WebSocketProtocol
    assert clock.timers == []
    clock.advance(10 * REQUEST_SECONDS)
    assert transport.calls == []


def test_response_that_is_not_read_is_aborted_after_unread_seconds() -> None:
    protocol, transport, clock = connected()
    protocol.data_received(GET)
    protocol.pause_writing()
    clock.advance(UNREAD_SECONDS - 0.1)
    assert transport.calls == []
    clock.advance(0.1)
    assert transport.calls == ["abort"]


def test_client_that_reads_slowly_is_not_aborted() -> None:
    protocol, transport, clock = connected()
    protocol.data_received(GET)
    for _ in range(10):
        protocol.pause_writing()
        clock.advance(UNREAD_SECONDS - 0.1)
        protocol.resume_writing()
    assert transport.calls == []
    assert clock.timers == []


def test_closed_connection_with_unread_bytes_is_aborted_after_unread_seconds() -> None:
    protocol, transport, clock = connected()
    protocol.data_received(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    protocol.cycle.response_complete = True
    transport.close()
    protocol.on_response_complete()
    clock.advance(UNREAD_SECONDS)
    assert transport.calls == ["close", "abort"]


# -- requests that are rejected


@pytest.mark.parametrize(
    "sent",
    [
        HANDSHAKE.replace(b"GET", b"POST"),
        HANDSHAKE.replace(b"GET", b"POST").replace(b"host", b"content-length: 3\r\nhost") + b"abc",
        HANDSHAKE.replace(b"GET", b"HEAD"),
        HANDSHAKE.replace(b"GET", b"CONNECT"),
        HANDSHAKE.replace(b"GET", b"OPTIONS"),
        HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
    ids=["POST", "POST with body", "HEAD", "CONNECT", "OPTIONS", "HTTP/1.0", "TLS"],
)
def test_invalid_request_is_answered_400_and_closed_without_a_warning(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    protocol, transport, clock = connected()
    protocol.data_received(sent)
    assert transport.written.startswith(b"HTTP/1.1 400 ")
    assert transport.calls == ["close"]
    assert clock.timers == []
    assert caplog.text == ""


@pytest.mark.parametrize("start", [HANDSHAKE[:-2], GET[:-2]], ids=["websocket", "HTTP"])
@pytest.mark.parametrize(
    "headers",
    [b"X: %b\r\n" % (b"x" * 40_000), b"".join(b"X-%d: y\r\n" % n for n in range(129))],
    ids=["long", "many"],
)
def test_request_with_too_large_headers_is_answered_431_and_closed(
    start: bytes, headers: bytes
) -> None:
    protocol, transport, clock = connected()
    protocol.data_received(start + headers + b"\r\n")
    assert transport.written.startswith(b"HTTP/1.1 431 ")
    assert transport.calls == ["close"]
    assert clock.timers == []


def test_request_for_another_upgrade_is_answered_as_any_request() -> None:
    protocol, transport, _ = connected()
    protocol.data_received(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert protocol.cycle is not None
    assert transport.calls == []


def test_connection_beyond_the_limit_of_open_files_is_answered_503_and_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(file_limit, "open_files_limit", lambda: 0)
    _, transport, clock = connected()
    assert transport.written.startswith(b"HTTP/1.1 503 ")
    assert transport.calls == ["close"]
    assert clock.timers == []


def test_lost_connection_cancels_its_timers() -> None:
    protocol, _, clock = connected()
    protocol.data_received(b"G")
    protocol.pause_writing()
    assert len(clock.timers) == 2
    protocol.connection_lost(None)
    assert clock.timers == []
