"""The Socket.IO edge: what clients may say and what they are answered. It only translates."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from socketio.exceptions import ConnectionRefusedError as Refusal
from starlette.responses import PlainTextResponse

from bridge.errors import Code, Refused
from bridge.gateway.handshake import Server
from bridge.gateway.hub import Hub
from bridge.gateway.wanted import snapshot_wanted, wanted
from bridge.gateway.wire import WAITING, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from bridge.gateway.hub import Subscription
    from bridge.settings import Settings

log = logging.getLogger(__name__)


class Gateway:
    """Serves Socket.IO clients. An ASGI application, and where the pipeline's entries go:
    `gateway.hub.publish`.

    No handler waits for anything, so that a client's subscription changes between two events and
    not during one: what was published before its ack comes before the ack, the rest after it.
    """

    def __init__(self, settings: Settings, *, waiting: int = WAITING) -> None:
        """`waiting` bounds what may wait for one client, in characters."""
        self._open = True
        self._server = Server(
            async_mode="asgi",
            # An empty list would turn the check of origins off; None allows the same origin only.
            cors_allowed_origins=list(settings.cors_origins) or None,
            # In order, and none while the client's one before it is at work.
            async_handlers=False,
            logger=_quiet("bridge.gateway.socketio"),
            engineio_logger=_quiet("bridge.gateway.engineio"),
            waiting=waiting,
        )
        self._wire = Wire(self._server, on_gone=self._gone)
        self.hub: Hub[str] = Hub(deliver=self._wire.deliver, max_rooms=settings.max_rooms)
        self._server.on("connect", self._connect)
        self._server.on("disconnect", self._disconnect)
        self._server.on("subscribe", self._subscribe)
        self._server.on("unsubscribe", self._unsubscribe)
        self._server.on("authenticate", self._authenticate)

    @property
    def cut_off(self) -> int:
        """Clients that were cut off because they didn't take their packets."""
        return self._wire.cut_off

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._open:
            await unavailable("The bridge is stopping.")(scope, receive, send)
            return
        await self._server.handle_request(scope, receive, send)

    async def close(self) -> None:
        """Take no more clients and end the connections of those that are there."""
        self._open = False
        await self._wire.close()

    async def _connect(self, sid: str, _environ: Any = None, auth: Any = None, *_: Any) -> None:
        if self._wire.is_connected(sid):
            return  # an event that a client named "connect"; the handshake was another one
        try:
            if not self._wire.attach(sid):
                raise Refusal("The connection has ended.")
            self.hub.join(sid, wanted(auth))
        except Refused as refused:
            self._wire.detach(sid)
            raise Refusal(
                refused.message, {"code": refused.code.value, "message": refused.message}
            ) from None
        log.debug("client %s connected", sid)

    async def _disconnect(self, sid: str, reason: Any = None, *_: Any) -> None:
        if self._wire.is_connected(sid):
            return  # an event that a client named "disconnect"
        self.hub.leave(sid)
        if reason == self._server.reason.PING_TIMEOUT:
            # Nobody is there to take what its connection still holds.
            self._wire.cut(sid)
        self._wire.detach(sid)
        log.debug("client %s left: %s", sid, reason)

    async def _subscribe(self, sid: str, *args: Any) -> dict[str, object] | None:
        def subscribe(argument: Any) -> Subscription:
            what = wanted(argument)
            if snapshot_wanted(argument):
                raise Refused(Code.NOT_SUPPORTED, "this bridge gives no snapshots")
            return self.hub.subscribe(sid, what)

        return self._answer(sid, subscribe, args)

    async def _unsubscribe(self, sid: str, *args: Any) -> dict[str, object] | None:
        def unsubscribe(argument: Any) -> Subscription:
            return self.hub.unsubscribe(sid, wanted(argument))

        return self._answer(sid, unsubscribe, args)

    async def _authenticate(self, sid: str, *args: Any) -> dict[str, object] | None:
        def authenticate(_argument: Any) -> Subscription:
            raise Refused(Code.NOT_SUPPORTED, "this bridge checks no tokens")

        return self._answer(sid, authenticate, args)

    def _answer(
        self, sid: str, request: Callable[[Any], Subscription], args: tuple[Any, ...]
    ) -> dict[str, object] | None:
        """The ack of a request. A fault of ours ends the connection: the client comes back and
        says again what it wants, instead of going on with who knows which subscription.
        """
        if self.hub.subscription(sid) is None:
            return None  # it is being cut off
        try:
            return request(_only(args)).ack()
        except Refused as refused:
            return refused.ack()
        except Exception:
            log.exception("a request of client %s failed", sid)
            self._wire.cut(sid)
            return None

    def _gone(self, sid: str) -> None:
        self.hub.leave(sid)
        self._wire.detach(sid)


def _only(args: tuple[Any, ...]) -> Any:
    if len(args) > 1:
        raise Refused(Code.BAD_REQUEST, f"expected one argument, came {len(args)}")
    return args[0] if args else None


def _quiet(name: str) -> logging.Logger:
    """A logger for a library. Given none, they set up a handler of their own, which scrubs nothing;
    at `info` they tell of every packet.
    """
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    return logger


def unavailable(reason: str) -> Any:
    """An ASGI response: 503 with `reason`; a websocket's handshake is refused."""
    return _Unavailable(reason)


class _Unavailable:
    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013, "reason": self._reason})
            return
        await PlainTextResponse(self._reason, 503)(scope, receive, send)
