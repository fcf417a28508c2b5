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

A request beyond a size is answered 431, one that can't be parsed or that asks for a websocket by
another method than GET 400, and the connection is closed at once. Neither is logged: it is the
client's mistake.

Private API used here: bridge/README.md, "Private names"; canaries: tests/canaries/test_uvicorn.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bridge.server.close_delimited import CloseDelimited
from bridge.server.file_limit import file_limit
from bridge.server.responses import BAD_REQUEST, NO_FILES, TOO_LONG

if TYPE_CHECKING:
    import asyncio

REQUEST_SECONDS: Final = 20.0
"""Maximum time to receive a request with its body, from the connection or its first byte on."""

UNREAD_SECONDS: Final = 30.0
"""Maximum time in which a client reads nothing of its response."""

HEAD_BYTES: Final = 32_768
"""Maximum size of a request's target and headers, in bytes. Enough for cookies and a token of
several KB each."""

HEADERS: Final = 100
"""Maximum number of headers of a request."""

PIPELINED: Final = 8
"""Maximum number of requests that wait for the response to the one before. Browsers and proxies
send none; uvicorn accepts any number, and continues after each response with those received
since."""


class HeaderTooLongError(Exception):
    """The headers of a request exceed their limit."""


class TooManyRequestsError(Exception):
    """Too many pipelined requests wait on the connection."""


class InvalidHandshakeError(Exception):
    """The request asks for a websocket in a way that the websocket protocol does not allow."""


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
        if file_limit.admits(len(self.connections)):
            self._start_request_timer()
        else:
            self._reject(NO_FILES)

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
        self._parse(data)
        if self.transport.is_closing() or self._upgraded:
            return
        # The parser calls back with whole headers and buffers incomplete ones.
        if self._head_size > HEAD_BYTES:
            self._reject(TOO_LONG)
        elif self._request_timer is None and self._idle():
            # The bytes cancelled uvicorn's keep-alive timer without starting a request: empty
            # lines.
            self._start_request_timer()

    def _parse(self, data: bytes) -> None:
        """Feed the parser, as uvicorn's `data_received`."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            too_long = isinstance(error.__context__, HeaderTooLongError)
            self._reject(TOO_LONG if too_long else BAD_REQUEST)
        except httptools.HttpParserUpgrade:
            # Any other upgrade is ignored, and its request answered as any request.
            if self._should_upgrade():
                self.handle_websocket_upgrade()

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
        if self.parser.should_upgrade() and self._should_upgrade():
            method, version = self.parser.get_method(), self.parser.get_http_version()
            if (method, version) != (b"GET", "1.1"):
                raise InvalidHandshakeError
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = CloseDelimited(app, cycle)
        super()._start_asgi_task(cycle, app)

    def _idle(self) -> bool:
        answered = self.cycle is None or self.cycle.response_complete
        return answered and self.timeout_keep_alive_task is None

    def _reject(self, response: bytes) -> None:
        self._cancel_request_timer()
        self.transport.write(response)
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
        self._limit_closing()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._limit_closing()

    def _limit_closing(self) -> None:
        """Limit the time of a closed transport, which waits for its unsent bytes."""
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
