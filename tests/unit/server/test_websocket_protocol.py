"""The websocket protocol: handshakes, handover, pings, and the fallback to uvicorn."""

from __future__ import annotations

import pytest
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol as Stock
from websockets.server import ServerProtocol

from bridge.gateway.engineio import ws_frames as frames
from bridge.gateway.engineio.raw_websocket import HANDOVER, take_over
from bridge.server.websocket_protocol import UpgradeRequest, WebSocketProtocol
from tests.unit.gateway.engineio.fakes import RecordingOwner
from tests.unit.gateway.engineio.test_ws_frames import masked
from tests.unit.server.handshake import HANDSHAKE, begun

# -- without handover


async def test_handshake_accepted_by_asgi_is_answered_as_by_uvicorn() -> None:
    answers = []
    for kind in (Stock, WebSocketProtocol):
        protocol, transport = begun(kind)
        await protocol.send({"type": "websocket.accept", "headers": [(b"x-more", b"1")]})
        await protocol.send({"type": "websocket.send", "text": "hello"})
        answers.append(transport.written)
    assert answers[0] == answers[1]
    assert answers[0].startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("end", ["send_500_response", "shutdown"])
def test_handshake_without_a_response_ends_as_in_uvicorn(end: str) -> None:
    answers = []
    for kind in (Stock, WebSocketProtocol):
        protocol, transport = begun(kind)
        getattr(protocol, end)()
        answers.append((transport.written.partition(b"Date")[0], transport.calls))
    assert answers[0] == answers[1]


# -- a handover


def test_handover_accepts_the_websocket() -> None:
    protocol, transport = begun(WebSocketProtocol)
    websocket = take_over(protocol.scope, RecordingOwner(), 1000, lambda: b"first")
    assert transport.written.endswith(b"\r\n\r\nfirst")
    assert transport.protocol is websocket
    assert protocol.connections == {websocket}
    assert HANDOVER not in protocol.scope["extensions"]
    head = transport.written.split(b"\r\n")
    assert head[0] == b"HTTP/1.1 101 Switching Protocols"
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    protocol.transport.close()
    assert protocol.transport.is_closing()
    assert transport.calls == []


async def test_handover_is_not_possible_after_bytes_were_sent_or_received() -> None:
    protocol, _ = begun(WebSocketProtocol)
    await protocol.send({"type": "websocket.accept"})
    assert take_over(protocol.scope, RecordingOwner(), 1000) is None
    protocol, _ = begun(WebSocketProtocol)
    protocol.data_received(b"\x81")
    assert take_over(protocol.scope, RecordingOwner(), 1000) is None
    protocol, transport = begun(WebSocketProtocol)
    transport.close()
    assert take_over(protocol.scope, RecordingOwner(), 1000) is None


def test_handover_is_not_possible_with_compression() -> None:
    protocol, _ = begun(WebSocketProtocol, ws_per_message_deflate=True)
    assert take_over(protocol.scope, RecordingOwner(), 1000) is None


# -- pings


@pytest.mark.parametrize(("unsent", "answers"), [(0, 1), (65_535, 1), (65_536, 0), (10**6, 0)])
async def test_protocol_answers_no_ping_with_64_kb_unsent(unsent: int, answers: int) -> None:
    protocol, transport = begun(WebSocketProtocol)
    await protocol.send({"type": "websocket.accept"})
    transport.written = b""
    transport.unsent = unsent
    protocol.data_received(masked(b"?", frames.PING))
    assert transport.written == frames.frame(frames.PONG, b"?") * answers


async def test_protocol_answers_pings_again_once_its_peer_has_read() -> None:
    protocol, transport = begun(WebSocketProtocol)
    await protocol.send({"type": "websocket.accept"})
    transport.written = b""
    transport.unsent = 65_536
    for _ in range(100):
        protocol.data_received(masked(b"lost", frames.PING))
    transport.unsent = 0
    protocol.data_received(masked(b"answered", frames.PING))
    assert transport.written == frames.frame(frames.PONG, b"answered")


# -- the handshake


def test_usual_handshake_is_parsed() -> None:
    request = UpgradeRequest.read(
        HANDSHAKE.replace(b"connection: Upgrade", b"Connection: x, UPGRADE")
    )
    assert request is not None
    assert request.target == "/socket.io/?EIO=4"
    assert request.headers[0] == (b"host", b"x")


@pytest.mark.parametrize(("offered", "chosen"), [(b"", None), (b"chat", b"chat"), (b"b,  a", b"b")])
def test_handover_chooses_the_first_subprotocol(offered: bytes, chosen: bytes | None) -> None:
    header = b"host: x\r\nsec-websocket-protocol: " + offered if offered else b"host: x"
    protocol, transport = begun(WebSocketProtocol, HANDSHAKE.replace(b"host: x", header))
    assert take_over(protocol.scope, RecordingOwner(), 1000) is not None
    names = [
        line.partition(b": ")[2]
        for line in transport.written.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-protocol:")
    ]
    assert names == ([] if chosen is None else [chosen])


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"/socket.io", b"/socket io"),
        (b"/socket.io", b"/\xc3\xbc"),
        (b"host: x", b"host:x"),
        (b"host: x", b"h\xffst: x"),
    ],
)
def test_request_that_is_no_handshake_is_answered_400_and_closed(
    part: bytes, instead: bytes
) -> None:
    assert part in HANDSHAKE
    _, transport = begun(WebSocketProtocol, HANDSHAKE.replace(part, instead))
    assert transport.written.startswith(b"HTTP/1.1 400 ")
    assert transport.calls == ["close"]


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"upgrade: websocket", b"upgrade: h2c"),
        (b"connection: Upgrade", b"connection: close"),
        (b"version: 13", b"version: 8"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ"),
        (b"host: x", b"host: x\r\nhost: y"),
        (b"host: x", b"host: \xff"),
        (b"host: x", b"sec-websocket-protocol: a b"),
    ],
)
def test_unusual_handshake_is_answered_as_by_the_library(part: bytes, instead: bytes) -> None:
    data = HANDSHAKE.replace(part, instead)
    request = UpgradeRequest.read(data)
    assert request is not None
    assert not request.usual
    answers = []
    for kind in (Stock, WebSocketProtocol):
        protocol, transport = begun(kind, data)
        status = transport.written.partition(b"\r\n")[0]
        answers.append((status, transport.calls, len(protocol.tasks)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"host: x", b"host: x\r\nsec-websocket-protocol: \xc3\xa9"),
        (b"host: x", b"host: x\r\nsec-websocket-extensions: \xc3\xa9"),
        (b"upgrade: websocket", b"upgrade: \xc3\xa9"),
        (b"connection: Upgrade", b"connection: \xc3\xa9"),
        (b"version: 13", b"version: \xc3\xa9"),
        (b"dGhlIHNhbXBsZSBub25jZQ==", b"\xc3\xa9"),
    ],
)
def test_handshake_that_is_not_ascii_is_answered_400_and_closed(
    part: bytes, instead: bytes
) -> None:
    assert part in HANDSHAKE
    _, transport = begun(WebSocketProtocol, HANDSHAKE.replace(part, instead))
    assert transport.written.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 426 "))
    assert transport.calls == ["close"]


@pytest.mark.parametrize(
    "header",
    [
        b"origin: http://" + b"x" * 9000,
        b"sec-websocket-protocol: " + b"x" * 9000,
        b"sec-websocket-extensions: " + b"x" * 9000,
    ],
)
def test_handshake_beyond_the_librarys_limits_is_answered_431_and_closed(header: bytes) -> None:
    data = HANDSHAKE.replace(b"host: x", b"host: x\r\n" + header)
    _, transport = begun(WebSocketProtocol, data)
    assert transport.written.startswith(b"HTTP/1.1 431 ")
    assert transport.calls == ["close"]


@pytest.mark.parametrize(
    "unusual", [b"", b"sec-websocket-extensions: x\r\nsec-websocket-extensions: y\r\n"]
)
async def test_handshake_with_a_cookie_of_9_kb_is_accepted_behind_asgi(unusual: bytes) -> None:
    cookie = b"x" * 9000
    data = HANDSHAKE.replace(b"host: x", b"%bhost: x\r\ncookie: %b" % (unusual, cookie))
    protocol, transport = begun(WebSocketProtocol, data)
    assert (b"cookie", cookie) in protocol.scope["headers"]
    await protocol.send({"type": "websocket.accept"})
    assert transport.written.startswith(b"HTTP/1.1 101 ")


def test_parsed_handshake_gets_the_key_that_the_library_computes() -> None:
    library = ServerProtocol()
    library.receive_data(HANDSHAKE)
    [request] = library.events_received()
    theirs = library.accept(request)  # type: ignore[arg-type]
    ours = UpgradeRequest.read(HANDSHAKE)
    assert ours is not None
    accept = theirs.headers["Sec-WebSocket-Accept"].encode()
    assert b"Sec-WebSocket-Accept: %b\r\n" % accept in ours.accept([(b"date", b"now")])
