"""uvicorn's HTTP protocol with limits on slow and oversized requests.

uvicorn limits the time between two requests and nothing else. This protocol adds:

| bound | value | why |
|---|---|---|
| time to receive a request with its body | `REQUEST_SECONDS` | slow requests hold connections |
| time without the client reading its response | `UNREAD_SECONDS` | unread responses hold memory |
| size of the request target and headers | `HEAD_BYTES` | they are buffered until complete |
| number of headers | `HEADERS` | each is an object |
| pipelined requests | `PIPELINED` | uvicorn queues any number |

A proxy in front (nginx, Fly's) reads the whole request before it connects, and buffers the response
for its reader: behind a trusted proxy that does so this protocol is redundant.

An exception in a parser callback is handled by uvicorn as a request that can't be parsed: response
400, connection closed.

Private API used here: bridge/README.md, "Private names"; canaries: tests/canaries/test_uvicorn.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

REQUEST_SECONDS: Final = 20.0
"""Maximum time to receive a request with its body, from the connection or its first byte on."""

UNREAD_SECONDS: Final = 30.0
"""Maximum time in which a client reads nothing of its response."""

HEAD_BYTES: Final = 32_768
"""Maximum size of a request's target and headers, in bytes. Enough for a token of a few KB."""

HEADERS: Final = 100
"""Maximum number of headers of a request."""

PIPELINED: Final = 8
"""Maximum number of requests that wait for the response to the one before. Browsers and proxies
send none; uvicorn accepts any number, and continues after each response with those received
since."""

TOO_LONG: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class HeaderTooLongError(Exception):
    """The headers of a request exceed their limit."""


class TooManyRequestsError(Exception):
    """Too many pipelined requests wait on the connection."""


class HttpProtocol(HttpToolsProtocol):
    """For `uvicorn.Config(http=...)`."""

    _request_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _head_size = 0
    """Received bytes of the current request that are not part of a body."""
    _upgraded = False
    """Whether the connection belongs to a websocket, which has a protocol of its own."""

    # -- time to receive a request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_request_timer()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = 0
        if self._request_timer is None:
            self._start_request_timer()

    def on_message_complete(self) -> None:
        self._cancel_request_timer()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._upgraded = True
        self._cancel_request_timer()
        super().handle_websocket_upgrade()

    def _start_request_timer(self) -> None:
        self._request_timer = self.loop.call_later(REQUEST_SECONDS, self._on_request_timeout)

    def _cancel_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

    def _on_request_timeout(self) -> None:
        self._request_timer = None
        self.transport.abort()

    # -- size of a request

    def data_received(self, data: bytes) -> None:
        self._head_size += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self._upgraded:
            return
        # The parser calls back with whole headers and buffers incomplete ones.
        if self._head_size > HEAD_BYTES:
            self._reject()
        elif self._request_timer is None and self._idle():
            # The bytes cancelled uvicorn's keep-alive timer without starting a request: empty
            # lines.
            self._start_request_timer()

    def on_body(self, body: bytes) -> None:
        self._head_size -= len(body)
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

    # -- time to read a response

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread_timer is None:
            self._start_unread_timer()

    def resume_writing(self) -> None:
        self._cancel_unread_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        # The transport was closed, which waits for its unsent bytes.
        if self._unread_timer is None and self.transport.get_write_buffer_size():
            self._start_unread_timer()

    def _start_unread_timer(self) -> None:
        self._unread_timer = self.loop.call_later(UNREAD_SECONDS, self._on_unread_timeout)

    def _cancel_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _on_unread_timeout(self) -> None:
        self._unread_timer = None
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_request_timer()
        self._cancel_unread_timer()
        super().connection_lost(exc)
