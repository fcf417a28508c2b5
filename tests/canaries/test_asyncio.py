"""Private names of asyncio that bridge/gateway/engineio uses.

A failure names the part that changed; bridge/README.md, "Private names", lists its uses.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from asyncio import selector_events
from typing import Any

from bridge.gateway.engineio.raw_websocket import (
    DIRECT_WRITE_TRANSPORT,
    READ_BYTES,
    limit_read_size,
)
from bridge.server.file_limit import ACCEPT_FAILED

CHANGED = 'asyncio changed a name listed in bridge/README.md, "Private names": '


class Receiver(asyncio.Protocol):
    """Records the reads, and the inode of its socket when the connection is lost."""

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.fd = -1
        self.inode_when_lost: int | None = None
        self.first_read = asyncio.Event()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.reads.append(len(data))
        self.first_read.set()

    def connection_lost(self, _error: Exception | None) -> None:
        self.inode_when_lost = os.fstat(self.fd).st_ino
        self.lost.set()


async def connected() -> tuple[asyncio.Transport, Receiver, socket.socket]:
    """A transport over a socket pair, with its protocol and the peer's end."""
    ours, peer = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, receiver = await loop.connect_accepted_socket(Receiver, ours)
    receiver.fd = ours.fileno()
    return transport, receiver, peer


async def test_transport_of_a_plain_socket_has_the_known_name() -> None:
    transport, receiver, peer = await connected()
    kind = type(transport)
    assert (kind.__module__, kind.__qualname__) == DIRECT_WRITE_TRANSPORT, (
        CHANGED + "the name of the transport's class"
    )
    transport.abort()
    await receiver.lost.wait()
    peer.close()


async def test_transport_closes_its_socket_after_connection_lost() -> None:
    """Otherwise a direct write could reach the connection that got the same number next."""
    transport, receiver, peer = await connected()
    inode = os.fstat(receiver.fd).st_ino
    transport.abort()
    await receiver.lost.wait()
    assert receiver.inode_when_lost == inode, CHANGED + "when a transport closes its socket"
    peer.close()


async def test_transport_reads_max_size_bytes_at_a_time() -> None:
    transport, receiver, peer = await connected()
    limit_read_size(transport)
    peer.send(b"x" * (READ_BYTES + 1))
    await receiver.first_read.wait()
    assert receiver.reads[0] == READ_BYTES, CHANGED + "transport.max_size"
    transport.abort()
    await receiver.lost.wait()
    peer.close()


def test_transport_passes_max_size_to_recv() -> None:
    kind: Any = getattr(selector_events, DIRECT_WRITE_TRANSPORT[1])
    assert "recv(self.max_size)" in inspect.getsource(kind), CHANGED + "transport.max_size"


def test_failed_accept_has_the_known_message() -> None:
    loop: Any = selector_events.BaseSelectorEventLoop
    source = inspect.getsource(loop._accept_connection)
    assert repr(ACCEPT_FAILED) in source, CHANGED + "the message of a failed accept"
