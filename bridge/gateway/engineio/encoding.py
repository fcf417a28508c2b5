"""What is sent, in the form of each transport, made once and shared by all who get it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import engineio.packet

from bridge.gateway.engineio import ws_frames as frames

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_JOINED_BYTES: Final = 64 * 1024
"""Frames are joined up to here. A write that a client can't take at once is copied for it by the
transport, so a burst of megabytes goes out in pieces, of which the client holds one and shares the
others."""


class EncodedPackets:
    """Some Engine.IO packets in a row: joined frames for websockets, packets for polls."""

    __slots__ = ("_packets", "frames")

    def __init__(self, payloads: Iterable[bytes]) -> None:
        """`payloads` are encoded Engine.IO packets that hold text. They are not kept: what a client
        doesn't take is held once, as the frames that others were written.
        """
        self._packets: tuple[engineio.packet.Packet, ...] | None = None
        self.frames = b"".join(map(frames.text, payloads))

    @classmethod
    def of(cls, packet: engineio.packet.Packet) -> EncodedPackets:
        if packet.binary:  # encoding would keep the form of one transport for all
            piece = cls(())
            piece.frames = frames.frame(frames.BINARY, bytes(packet.data))
        else:
            piece = cls((packet.encode().encode(),))
        piece._packets = (packet,)
        return piece

    @property
    def packets(self) -> tuple[engineio.packet.Packet, ...]:
        if self._packets is None:
            self._packets = tuple(map(_packet, frames.payloads(self.frames)))
        return self._packets


def _packet(payload: bytes) -> engineio.packet.Packet:
    # Decoding would look into the payload for JSON.
    packet = engineio.packet.Packet(payload[0] - ord("0"), payload[1:].decode())
    packet.encode()  # keeps what it gives, so that no other recipient encodes it
    return packet


def encode_event(name: str, envelope: bytes, position: str | None) -> bytes:
    """An event as an Engine.IO packet: `4`, then Socket.IO's `2["name",{envelope},"position"]`."""
    tail = b"" if position is None else b"," + json.dumps(position).encode()
    return b"42[%b,%b%b]" % (json.dumps(name).encode(), envelope, tail)


def encode_message(packet: str) -> EncodedPackets:
    """A Socket.IO packet such as `0{"sid":"..."}`."""
    return EncodedPackets((b"4" + packet.encode(),))


class EncodedEvent:
    """One event, with its position and without, each encoded when somebody first needs it."""

    __slots__ = ("_encoded", "_envelope", "_name", "_position")

    def __init__(self, name: str, envelope: bytes, position: str) -> None:
        self._name = name
        self._envelope = envelope
        self._position = position
        self._encoded: list[bytes | None] = [None, None]

    def encoded(self, *, position: bool) -> bytes:
        encoded = self._encoded[position]
        if encoded is None:
            encoded = encode_event(self._name, self._envelope, self._position if position else None)
            self._encoded[position] = encoded
        return encoded


def join_events(tellings: Iterable[EncodedEvent], *, positions: bool) -> list[EncodedPackets]:
    """The events in order, in as few pieces as `PIECE_BYTES` lets them be."""
    out: list[EncodedPackets] = []
    row: list[bytes] = []
    size = 0
    for telling in tellings:
        encoded = telling.encoded(position=positions)
        if row and size + len(encoded) > MAX_JOINED_BYTES:
            out.append(EncodedPackets(row))
            row, size = [], 0
        row.append(encoded)
        size += len(encoded)
    if row:
        out.append(EncodedPackets(row))
    return out
