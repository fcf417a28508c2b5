"""Engine.IO packets and Socket.IO events, encoded once and shared by all recipients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import engineio.packet

from bridge.gateway.engineio import ws_frames as frames

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_JOINED_BYTES: Final = 64 * 1024
"""Maximum size of encoded packets that are joined into one write. The transport copies the part of
a write that a client can't take at once, so a burst of megabytes is split: a client holds a copy of
one part and shares the others."""


class EncodedPackets:
    """A sequence of Engine.IO packets: joined frames for websockets, packets for polls."""

    __slots__ = ("_packets", "frames")

    def __init__(self, payloads: Iterable[bytes]) -> None:
        """`payloads` are encoded Engine.IO text packets. They are not kept: bytes that a client
        does not take are held once, as the frames written to the others.
        """
        self._packets: tuple[engineio.packet.Packet, ...] | None = None
        self.frames = b"".join(map(frames.text, payloads))

    @classmethod
    def of(cls, packet: engineio.packet.Packet) -> EncodedPackets:
        """Return one packet of the library, text or binary."""
        if packet.binary:  # encoding would fix the form of one transport for all
            encoded = cls(())
            encoded.frames = frames.frame(frames.BINARY, bytes(packet.data))
        else:
            encoded = cls((packet.encode().encode(),))
        encoded._packets = (packet,)
        return encoded

    @property
    def packets(self) -> tuple[engineio.packet.Packet, ...]:
        """The packets for a poll; decoded from the frames on first use."""
        if self._packets is None:
            self._packets = tuple(map(_packet, frames.payloads(self.frames)))
        return self._packets


def _packet(payload: bytes) -> engineio.packet.Packet:
    # Not decoded by the library, which would parse the payload as JSON.
    packet = engineio.packet.Packet(payload[0] - ord("0"), payload[1:].decode())
    packet.encode()  # cached in the packet, so it is encoded once for all recipients
    return packet


def encode_event(name: str, envelope: bytes, position: str | None) -> bytes:
    """Return an event as an Engine.IO packet: `4`, then Socket.IO's
    `2["name",{envelope},"position"]`.
    """
    tail = b"" if position is None else b"," + json.dumps(position).encode()
    return b"42[%b,%b%b]" % (json.dumps(name).encode(), envelope, tail)


def encode_message(packet: str) -> EncodedPackets:
    """Return a Socket.IO packet such as `0{"sid":"..."}`, encoded."""
    return EncodedPackets((b"4" + packet.encode(),))


class EncodedEvent:
    """One event, with its position and without; each form is encoded on first use."""

    __slots__ = ("_encoded", "_envelope", "_name", "_position", "at")

    def __init__(self, name: str, envelope: bytes, position: str, at: float = 0.0) -> None:
        """`at`: when its entry was appended to the log, in Unix seconds."""
        self.at = at
        self._name = name
        self._envelope = envelope
        self._position = position
        self._encoded: list[bytes | None] = [None, None]

    def encoded(self, *, position: bool) -> bytes:
        """Return the Engine.IO packet, with the event's position or without."""
        encoded = self._encoded[position]
        if encoded is None:
            encoded = encode_event(self._name, self._envelope, self._position if position else None)
            self._encoded[position] = encoded
        return encoded


def join_events(events: Iterable[EncodedEvent], *, positions: bool) -> list[EncodedPackets]:
    """Return the events in order, joined up to `MAX_JOINED_BYTES` each."""
    out: list[EncodedPackets] = []
    batch: list[bytes] = []
    size = 0
    for event in events:
        encoded = event.encoded(position=positions)
        if batch and size + len(encoded) > MAX_JOINED_BYTES:
            out.append(EncodedPackets(batch))
            batch, size = [], 0
        batch.append(encoded)
        size += len(encoded)
    if batch:
        out.append(EncodedPackets(batch))
    return out
