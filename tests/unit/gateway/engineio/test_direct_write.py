"""Frames written past the transport: in order, whole, and never to another connection."""

from __future__ import annotations

import asyncio
import asyncio.selector_events
import os
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.gateway.delivery.writer import ClientWriter
from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.raw_websocket import DIRECT_WRITE_TRANSPORT, NO_FD, RawWebSocket
from bridge.gateway.engineio.send_queue import SendQueue

CHANGED = (
    "asyncio changed something private that bridge/gateway/transport.py relies on "
    "(its docstring says what): "
)


class Owner:
    """What a session does with its line, as far as it concerns writing."""

    def __init__(self) -> None:
        self.outbox = SendQueue(1 << 40, lambda unsent: pytest.fail(f"cut off with {unsent}"))
        self.pauses = 0
        self.fd_when_lost: int | None = None
        self.fd = NO_FD
        self.gone = asyncio.Event()

    def on_message(self, line: RawWebSocket, message: str | bytes) -> None: ...

    def on_pause(self, _line: RawWebSocket) -> None:
        self.pauses += 1
        self.outbox.pause()

    def on_resume(self, _line: RawWebSocket) -> None:
        self.outbox.resume()

    def on_close(self, _line: RawWebSocket) -> None:
        self.fd_when_lost = os.fstat(self.fd).st_ino
        self.outbox.discard()
        self.gone.set()


class Pair:
    """A line on a real socket, and its peer's end."""

    def __init__(self, owner: Owner, line: RawWebSocket, peer: socket.socket) -> None:
        self.owner = owner
        self.line = line
        self.peer = peer

    async def read(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            part = await asyncio.get_running_loop().sock_recv(self.peer, 1 << 16)
            assert part, f"expected {size} bytes, the end came after {len(out)}"
            out += part
        return out


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, peer = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    peer.setblocking(False)
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, ours)
    owner = Owner()
    line = RawWebSocket(transport, set(), owner, 1000)
    transport.set_protocol(line)
    owner.fd = line.fd
    owner.outbox.attach(line)
    yield Pair(owner, line, peer)
    transport.abort()
    await owner.gone.wait()
    peer.close()


def test_asyncios_own_transport_is_known_by_its_name() -> None:
    kind = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    assert (kind.__module__, kind.__qualname__) == DIRECT_WRITE_TRANSPORT, (
        CHANGED + "the transport's name"
    )


def test_another_transport_has_no_descriptor_to_write_to() -> None:
    class Foreign(asyncio.Transport):
        def write(self, data: Any) -> None: ...

    assert RawWebSocket(Foreign(), set(), Owner(), 1000).fd == NO_FD


async def test_a_plain_socket_is_written_to_straight(pair: Pair) -> None:
    piece = EncodedPackets((b"42[]",))
    ClientWriter._write([pair.owner.outbox], [piece])
    assert await pair.read(len(piece.frames)) == piece.frames
    assert pair.owner.pauses == 0


async def test_as_soon_as_the_system_takes_no_more_the_rest_is_kept_in_order(pair: Pair) -> None:
    outbox = pair.owner.outbox
    told = b""
    number = 0
    while not pair.owner.pauses:
        piece = EncodedPackets((b"42[%d,%b]" % (number, b"x" * 3000),))
        ClientWriter._write([outbox], [piece])
        told += piece.frames
        number += 1
    assert outbox.fd == NO_FD
    late = EncodedPackets((b"42[late]",))
    ClientWriter._write([outbox], [late])
    assert outbox.queued_bytes > 0
    assert await pair.read(len(told + late.frames)) == told + late.frames
    assert outbox.fd == pair.line.fd != NO_FD


async def test_whatever_way_it_is_told_everything_arrives_once_and_in_order(pair: Pair) -> None:
    dice = random.Random(7)
    outbox = pair.owner.outbox
    told = []

    async def tell() -> None:
        for number in range(2000):
            piece = EncodedPackets((b"42[%d,%b]" % (number, b"x" * dice.choice((1, 100, 5000))),))
            told.append(piece.frames)
            if dice.random() < 0.3:
                outbox.send(piece)
            else:
                ClientWriter._write([outbox], [piece])
            if dice.random() < 0.1:
                await asyncio.sleep(0)
        end = EncodedPackets((b"end",))
        told.append(end.frames)
        outbox.send(end)

    telling = asyncio.create_task(tell())
    heard = b""
    while not heard.endswith(b"end"):
        heard += await asyncio.get_running_loop().sock_recv(pair.peer, dice.choice((100, 40_000)))
    await telling
    assert heard == b"".join(told)
    assert pair.owner.pauses > 10


async def test_a_peer_that_is_gone_is_noticed_by_the_transport(pair: Pair) -> None:
    pair.peer.close()
    ClientWriter._write([pair.owner.outbox], [EncodedPackets((b"42[]",))])
    await pair.owner.gone.wait()
    assert pair.owner.outbox.fd == NO_FD


async def test_a_lines_descriptor_is_still_its_own_when_it_is_lost(pair: Pair) -> None:
    """Else what is written to it could reach whoever was given the number next."""
    own = os.fstat(pair.owner.fd).st_ino
    pair.line.abort()
    assert pair.owner.outbox.fd == NO_FD
    await pair.owner.gone.wait()
    assert pair.owner.fd_when_lost == own, CHANGED + "sockets are closed before connection_lost"
    assert pair.line.fd == NO_FD
