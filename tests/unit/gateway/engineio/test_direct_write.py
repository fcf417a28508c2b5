"""Frames written directly to a socket: in order, whole, and never to another connection."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bridge.gateway.delivery.writer import ClientWriter
from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.raw_websocket import NO_FD, RawWebSocket
from bridge.gateway.engineio.send_queue import SendQueue


class Owner:
    """The part of a session that concerns writing."""

    def __init__(self) -> None:
        self.queue = SendQueue(1 << 40, lambda unsent: pytest.fail(f"closed with {unsent} bytes"))
        self.pauses = 0
        self.fd = NO_FD
        self.inode_when_closed: int | None = None
        self.closed = asyncio.Event()

    def on_message(self, websocket: RawWebSocket, message: str | bytes) -> None: ...

    def on_pause(self, _websocket: RawWebSocket) -> None:
        self.pauses += 1
        self.queue.pause()

    def on_resume(self, _websocket: RawWebSocket) -> None:
        self.queue.resume()

    def on_close(self, _websocket: RawWebSocket) -> None:
        self.inode_when_closed = os.fstat(self.fd).st_ino
        self.queue.discard()
        self.closed.set()


class Pair:
    """A websocket on a socket pair, and the peer's end."""

    def __init__(self, owner: Owner, websocket: RawWebSocket, peer: socket.socket) -> None:
        self.owner = owner
        self.websocket = websocket
        self.peer = peer

    async def read(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            part = await asyncio.get_running_loop().sock_recv(self.peer, 1 << 16)
            assert part, f"expected {size} bytes, the stream ended after {len(out)}"
            out += part
        return out


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, peer = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    peer.setblocking(False)
    transport, _ = await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, ours)
    owner = Owner()
    websocket = RawWebSocket(transport, set(), owner, 1000)
    transport.set_protocol(websocket)
    owner.fd = websocket.fd
    owner.queue.attach(websocket)
    yield Pair(owner, websocket, peer)
    transport.abort()
    await owner.closed.wait()
    peer.close()


def test_foreign_transport_has_no_descriptor() -> None:
    class Foreign(asyncio.Transport):
        def write(self, data: Any) -> None: ...

    assert RawWebSocket(Foreign(), set(), Owner(), 1000).fd == NO_FD


async def test_frames_are_written_directly_to_a_plain_socket(pair: Pair) -> None:
    packets = EncodedPackets((b"42[]",))
    ClientWriter._write([pair.owner.queue], [packets])
    assert await pair.read(len(packets.frames)) == packets.frames
    assert pair.owner.pauses == 0


async def test_frames_are_queued_in_order_once_the_socket_buffer_is_full(pair: Pair) -> None:
    queue = pair.owner.queue
    sent = b""
    number = 0
    while not pair.owner.pauses:
        packets = EncodedPackets((b"42[%d,%b]" % (number, b"x" * 3000),))
        ClientWriter._write([queue], [packets])
        sent += packets.frames
        number += 1
    assert queue.fd == NO_FD
    late = EncodedPackets((b"42[late]",))
    ClientWriter._write([queue], [late])
    assert queue.queued_bytes > 0
    assert await pair.read(len(sent + late.frames)) == sent + late.frames
    assert queue.fd == pair.websocket.fd != NO_FD


async def test_frames_arrive_once_and_in_order_by_every_way_of_writing(pair: Pair) -> None:
    dice = random.Random(7)
    queue = pair.owner.queue
    sent = []

    async def send() -> None:
        for number in range(2000):
            size = dice.choice((1, 100, 5000))
            packets = EncodedPackets((b"42[%d,%b]" % (number, b"x" * size),))
            sent.append(packets.frames)
            if dice.random() < 0.3:
                queue.send(packets)
            else:
                ClientWriter._write([queue], [packets])
            if dice.random() < 0.1:
                await asyncio.sleep(0)
        end = EncodedPackets((b"end",))
        sent.append(end.frames)
        queue.send(end)

    sending = asyncio.create_task(send())
    received = b""
    while not received.endswith(b"end"):
        size = dice.choice((100, 40_000))
        received += await asyncio.get_running_loop().sock_recv(pair.peer, size)
    await sending
    assert received == b"".join(sent)
    assert pair.owner.pauses > 10


async def test_transport_notices_a_peer_that_is_gone_after_a_direct_write(pair: Pair) -> None:
    pair.peer.close()
    ClientWriter._write([pair.owner.queue], [EncodedPackets((b"42[]",))])
    await pair.owner.closed.wait()
    assert pair.owner.queue.fd == NO_FD


async def test_descriptor_still_belongs_to_the_websocket_when_it_is_closed(pair: Pair) -> None:
    """Otherwise a direct write could reach the connection that got the same number next."""
    own = os.fstat(pair.owner.fd).st_ino
    pair.websocket.abort()
    assert pair.owner.queue.fd == NO_FD
    await pair.owner.closed.wait()
    assert pair.owner.inode_when_closed == own
    assert pair.websocket.fd == NO_FD
