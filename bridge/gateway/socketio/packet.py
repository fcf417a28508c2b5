"""Decodes Socket.IO packets of clients, about as strictly as Node's server.

Private API used here: see bridge/README.md, tests/canaries/test_socketio.py.
"""

from __future__ import annotations

from typing import Any, Final

import socketio.packet

TYPES: Final = frozenset("0123456")

MAX_ATTACHMENTS: Final = 10
"""Attachments of one packet, as in Node's server. They are kept until the last one is received, so
a packet that announces any number of them could fill the memory.
"""


class PacketError(Exception):
    """A client sent something that is not a packet of the protocol. Its connection is closed, since
    nothing after it can be decoded.
    """


class SocketPacket(socketio.packet.Packet):  # type: ignore[misc]
    """A packet. Raises `PacketError` for malformed input."""

    def decode(self, encoded_packet: Any) -> int:
        # The library would decode bytes as text, and passes on text that is JSON already parsed.
        if not isinstance(encoded_packet, str) or encoded_packet[:1] not in TYPES:
            raise PacketError
        try:
            attachments: int = super().decode(encoded_packet)
        except (ValueError, RecursionError):
            raise PacketError from None
        if attachments > MAX_ATTACHMENTS or not self._is_valid():
            raise PacketError
        return attachments

    def add_attachment(self, attachment: Any) -> bool:
        if not isinstance(attachment, bytes):
            raise PacketError
        try:
            return bool(super().add_attachment(attachment))
        except (ValueError, LookupError, TypeError):
            raise PacketError from None

    def _is_valid(self) -> bool:
        """Return whether its data is of the type that its packet type requires. The data of CONNECT
        may be anything: the client handler rejects it with a message, which helps more than a
        closed connection.
        """
        data, kind = self.data, self.packet_type
        if kind == socketio.packet.CONNECT:
            return True
        if kind == socketio.packet.DISCONNECT:
            return data is None
        if kind in (socketio.packet.EVENT, socketio.packet.BINARY_EVENT):
            return isinstance(data, list) and bool(data) and isinstance(data[0], str | int)
        return kind != socketio.packet.CONNECT_ERROR and isinstance(data, list)
