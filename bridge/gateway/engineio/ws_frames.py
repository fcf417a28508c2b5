"""Websocket frames (RFC 6455), the server's side of them and no I/O.

What goes out is not masked and therefore the same for every client: one `text` frame serves all.
"""

from __future__ import annotations

import struct
from typing import Final

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

PROTOCOL_ERROR: Final = 1002
INVALID_DATA: Final = 1007
TOO_BIG: Final = 1009
RESTARTING: Final = 1012

CONTROL_BYTES: Final = 125


class FrameError(Exception):
    """What came is no frame of a client. `code` is the websocket close code that says so."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(why)
        self.code = code


def frame(opcode: int, payload: bytes) -> bytes:
    """One unmasked, unfragmented frame."""
    size = len(payload)
    first = 0x80 | opcode
    if size < 126:  # noqa: PLR2004 - RFC 6455, 5.2
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def text(payload: bytes) -> bytes:
    return frame(TEXT, payload)


def close(code: int) -> bytes:
    return frame(CLOSE, struct.pack("!H", code))


def payloads(data: bytes) -> list[bytes]:
    """What is in whole frames that `frame` made."""
    out, at = [], 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size > CONTROL_BYTES:
            start += 2 if size == 126 else 8  # noqa: PLR2004 - RFC 6455, 5.2
            size = int.from_bytes(data[at + 2 : start], "big")
        at = start + size
        out.append(data[start:at])
    return out


Message = tuple[int, bytes]
"""Opcode and payload: a whole TEXT or BINARY message, or a PING, PONG or CLOSE."""


class FrameReader:
    """Cuts what a client sends into messages."""

    __slots__ = ("_limit", "_need", "_opcode", "_parts", "_rest", "_size")

    def __init__(self, limit: int) -> None:
        """`limit` bounds a message, in bytes."""
        self._limit = limit
        # The beginning of a frame; a bytearray where more than one read made it.
        self._rest: bytes | bytearray = b""
        self._need = 2
        self._opcode = CONTINUATION
        self._parts: list[bytes] | None = None
        self._size = 0

    def read(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Raises `BrokenFrame`; nothing may be read after."""
        if self._rest:
            if not isinstance(self._rest, bytearray):
                self._rest = bytearray(self._rest)
            self._rest += data
            if len(self._rest) < self._need:
                return []  # without a look: a long message may come byte by byte
            data = bytes(self._rest)
            self._rest = b""
        messages: list[Message] = []
        at = 0
        while True:
            head = self._head(data, at)
            if head is None or head[1] > len(data):
                self._need = (head[1] if head else at + 14) - at
                if head is None:
                    self._need = len(data) - at + 1
                self._rest = data[at:]
                return messages
            start, end = head
            opcode, payload = data[at], data[start:end]
            mask = data[start - 4 : start]
            at = end
            message = self._frame(opcode >> 7, opcode & 15, unmask(payload, mask))
            if message is not None:
                messages.append(message)

    def _head(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Where the payload of the frame at `at` starts and ends; None if its head isn't whole."""
        if len(data) < at + 2:
            return None
        first, second = data[at], data[at + 1]
        if first & 0x70:
            raise FrameError(PROTOCOL_ERROR, "a reserved bit is set")
        if not second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "a client's frame is not masked")
        size = second & 0x7F
        start = at + 6
        if size == 126:  # noqa: PLR2004 - RFC 6455, 5.2
            start += 2
        elif size == 127:  # noqa: PLR2004
            start += 8
        if len(data) < start:
            return None
        if start > at + 6:
            size = int.from_bytes(data[at + 2 : start - 4], "big")
        if first & 8:
            if size > CONTROL_BYTES or not first & 0x80:
                raise FrameError(PROTOCOL_ERROR, "a control frame is long or fragmented")
        elif self._size + size > self._limit:
            raise FrameError(TOO_BIG, f"a message is longer than {self._limit} bytes")
        return start, start + size

    def _frame(self, fin: int, opcode: int, payload: bytes) -> Message | None:
        if opcode in (CLOSE, PING, PONG):
            return opcode, payload
        if opcode in (TEXT, BINARY) and self._parts is None:
            if fin:
                return opcode, payload
            self._opcode, self._parts, self._size = opcode, [payload], len(payload)
            return None
        if opcode == CONTINUATION and self._parts is not None:
            if payload:  # of empty ones there could be any number
                self._parts.append(payload)
            self._size += len(payload)
            if not fin:
                return None
            whole = self._opcode, b"".join(self._parts)
            self._parts, self._size = None, 0
            return whole
        raise FrameError(PROTOCOL_ERROR, f"a frame of kind {opcode} is out of place")


def unmask(payload: bytes, mask: bytes) -> bytes:
    # One operation on long integers is quicker than a loop, at any length that is allowed.
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
