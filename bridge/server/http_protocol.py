"""HTTP of clients that don't hurry, or that say too much before anybody can answer.

uvicorn bounds the time between two requests. It does not bound how long a request may take to come,
how long its headers may be, or how long an answer may wait for its reader.

What is private in uvicorn and used here, checked with 0.54.0 (`tests/integration/test_http.py` says
which of it changed, if something does), all of `HttpToolsProtocol`: the parser's callbacks
`on_message_begin()`, `on_header(name, value)`, `on_headers_complete()`, `on_body(body)` and
`on_message_complete()`; `handle_websocket_upgrade()`, `timeout_keep_alive_handler()`; `transport`,
`loop`, `url`, `headers`, `cycle`, `pipeline`, `timeout_keep_alive_task`. An exception in a callback
counts as a request that can't be read: it is answered 400 and the connection is closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

REQUEST_SECONDS: Final = 20.0
"""How long a request may take to come, from its connection or its first byte on, with its body."""

UNREAD_SECONDS: Final = 30.0
"""How long a client may take nothing of what it was answered."""

HEAD_BYTES: Final = 32_768
"""The longest target and headers of a request, in bytes. A token of a few KB has room."""

HEADERS: Final = 100
"""The most headers of a request."""

PIPELINED: Final = 8
"""Requests that may wait for the answer to the one before them. No browser and no proxy sends any;
uvicorn takes as many as there are, and after each answer what has come since."""

TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class HeaderTooLongError(Exception):
    """Of a request that nobody will read to its end."""


class TooManyRequestsError(Exception):
    """Of a request before which too many others wait."""


class HttpProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`."""

    _coming: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _head = 0
    """Bytes of the present request that are no body."""
    _upgraded = False
    """Whether the connection is a websocket's now, whose own protocol looks after it."""

    # -- a request comes in time

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._coming = self.loop.call_later(REQUEST_SECONDS, self._on_timeout)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head = 0
        if self._coming is None:
            self._coming = self.loop.call_later(REQUEST_SECONDS, self._on_timeout)

    def on_message_complete(self) -> None:
        self._has_come()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._upgraded = True
        self._has_come()
        super().handle_websocket_upgrade()

    def _has_come(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            self._coming = None

    def _on_timeout(self) -> None:
        self._coming = None
        self.transport.abort()

    # -- and is not too long

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self._upgraded:
            return
        # The parser gives a header when it is there to its end, and keeps what comes until then.
        if self._head > HEAD_BYTES:
            self._reject()
        elif self._coming is None and self._idle():
            # What came ended the time that uvicorn gives, and is no request: empty lines.
            self._coming = self.loop.call_later(REQUEST_SECONDS, self._on_timeout)

    def on_body(self, body: bytes) -> None:
        self._head -= len(body)
        super().on_body(body)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self.headers) >= HEADERS:
            raise HeaderTooLongError
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > HEAD_BYTES:
            raise HeaderTooLongError
        if len(self.pipeline) >= PIPELINED:
            raise TooManyRequestsError
        super().on_headers_complete()

    def _idle(self) -> bool:
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.timeout_keep_alive_task is None

    def _reject(self) -> None:
        self.transport.write(TOO_LONG)
        self.transport.close()

    # -- what is answered is read

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_SECONDS, self._cut)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # To close waits for all that is unsent.
        if self._unread is None and self.transport.get_write_buffer_size():
            self._unread = self.loop.call_later(UNREAD_SECONDS, self._cut)

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _cut(self) -> None:
        self._unread = None
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_come()
        self._is_read()
        super().connection_lost(exc)
