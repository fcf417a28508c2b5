"""Socket.IO packets as clients send them, read about as strictly as Node's server reads them.

What is private in python-socketio and used here, checked with 5.18.1 (`tests/unit/test_packet.py`
says which of it changed, if something does): `Packet.decode(encoded_packet)` sets `packet_type`,
`namespace`, `id` and `data`, and gives the number of attachments; `add_attachment(attachment)`.
"""

from __future__ import annotations

from typing import Any, Final

import socketio.packet

TYPES: Final = frozenset("0123456")

MAX_ATTACHMENTS: Final = 10
"""Of one packet, as with Node's server. They are kept until the last one has come, so a packet that
announces more and more of them would fill the memory.
"""


class PacketError(Exception):
    """What came is no packet of the protocol, so its sender can't be understood any more."""


class SocketPacket(socketio.packet.Packet):  # type: ignore[misc]
    """A packet. Raises `BrokenPacket` where it is made of something that is none."""

    def decode(self, encoded_packet: Any) -> int:
        # The library would take bytes for text, and text that is JSON has become something else.
        if not isinstance(encoded_packet, str) or encoded_packet[:1] not in TYPES:
            raise PacketError
        try:
            attachments: int = super().decode(encoded_packet)
        except (ValueError, RecursionError):
            raise PacketError from None
        if attachments > MAX_ATTACHMENTS or not self._is_sound():
            raise PacketError
        return attachments

    def add_attachment(self, attachment: Any) -> bool:
        if not isinstance(attachment, bytes):
            raise PacketError
        try:
            return bool(super().add_attachment(attachment))
        except (ValueError, LookupError, TypeError):
            raise PacketError from None

    def _is_sound(self) -> bool:
        """Whether it carries what a packet of its type carries. With CONNECT that may be anything:
        the edge says what it expected, which helps more than a closed connection.
        """
        data, kind = self.data, self.packet_type
        if kind == socketio.packet.CONNECT:
            return True
        if kind == socketio.packet.DISCONNECT:
            return data is None
        if kind in (socketio.packet.EVENT, socketio.packet.BINARY_EVENT):
            return isinstance(data, list) and bool(data) and isinstance(data[0], str | int)
        return kind != socketio.packet.CONNECT_ERROR and isinstance(data, list)
