"""Serve the bridge in this process: listening socket, signals, graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final, Protocol

import uvicorn

from bridge.errors import BridgeError
from bridge.server.file_limit import file_limit
from bridge.server.handoff import receiving_protocol
from bridge.server.http_protocol import HttpProtocol
from bridge.server.websocket_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from starlette.types import Message, Receive, Scope, Send

    from bridge.server.handoff import Handoff, ReceivingProtocol

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 5
"""Time that requests in progress have to finish during shutdown."""


class MessageLimit(Protocol):
    @property
    def message_bytes(self) -> int:
        """Maximum size of a received websocket message, in bytes."""
        ...


class ServedBridge(Protocol):
    """The ASGI application that is served."""

    on_failure: Callable[[BaseException], None]
    """Called when a task of the bridge failed; the process should be restarted."""

    @property
    def settings(self) -> MessageLimit: ...

    @property
    def failure(self) -> BaseException | None:
        """The exception of the task that failed; None while all run."""
        ...

    async def drain(self) -> None:
        """Close all client connections. Called before the server stops."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. `port` 0 takes a free one; an empty `host` and `::` are every IPv4
    and IPv6 address.

    Its connections send without delay (TCP_NODELAY). Raises OSError, with EADDRINUSE if the port is
    in use.
    """
    if host in ("", "::") and socket.has_dualstack_ipv6():
        listening = socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=2048, dualstack_ipv6=True
        )
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    # asyncio sets it only on sockets with an explicit protocol number, which those of
    # `create_server` don't have; accepted connections inherit it. Without it an event waits until
    # the client has acknowledged the event before, usually 40 ms later.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def reserve(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address together with other processes of this user
    (SO_REUSEPORT) and does not listen yet. Addresses are as in `listen`.

    Raises OSError, with EADDRINUSE if the port is in use by others.
    """
    dual = host in ("", "::") and socket.has_dualstack_ipv6()
    bound = socket.socket(socket.AF_INET6 if dual or ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # see `listen`
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        bound.bind(("::" if dual else host, port))
    except OSError:
        bound.close()
        raise
    return bound


def reserve_unused(host: str, port: int, *, patience: float) -> socket.socket:
    """Return `reserve(host, port)` if no other process listens there: connections would be spread
    over both. Waits for `patience` seconds until the port is free: the processes of a supervisor
    that was killed need a moment to end. Raises OSError, with EADDRINUSE if it is in use.
    """
    until = time.monotonic() + patience
    while True:
        try:
            with listen(host, port) as listening:
                port = listening.getsockname()[1]
            return reserve(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise
        time.sleep(0.05)


def listen_error(host: str, port: int, error: OSError) -> str:
    """Return a message for an error raised by `listen`."""
    # The message of the error itself would repeat the address.
    reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error
    return f"can't listen on {host or '*'}:{port}: {reason}"


def url(listening: socket.socket) -> str:
    """Return the URL of a listening socket for clients on this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _OneLineErrors:
    """Logs an error that an operator can mend, raised during startup, as its message alone: uvicorn
    logs any exception of the lifespan with its traceback.
    """

    def __init__(self, bridge: ServedBridge) -> None:
        self._bridge = bridge
        self._running: asyncio.Task[None] | None = None

    async def end(self) -> None:
        """Cancel the lifespan, if it runs, and wait for its end."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            await self._bridge(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed: Message | None = None
        self._running = asyncio.current_task()

        async def hold(message: Message) -> None:
            nonlocal failed
            if message["type"] == "lifespan.startup.failed":
                failed = message
            else:
                await send(message)

        try:
            await self._bridge(scope, receive, hold)
        except BaseException as error:
            if failed is not None:
                if isinstance(error, BridgeError):
                    log.error("the bridge can't start: %s", error)  # noqa: TRY400 - one line
                if isinstance(error, BridgeError | asyncio.CancelledError):
                    failed["message"] = ""
                await send(failed)
            raise


def _is_no_repetition(record: logging.LogRecord) -> bool:
    """Return False for the line that uvicorn adds after the reason was logged."""
    return record.msg != "Application startup failed. Exiting."


class BridgeServer(uvicorn.Server):
    """uvicorn for one bridge. Leaves signals to the process, and drains clients before it stops."""

    def __init__(
        self,
        bridge: ServedBridge,
        *,
        handoff: Handoff | None = None,
        on_started: Callable[[], None] = lambda: None,
    ) -> None:
        """`handoff`: of a process that shares its port with others."""
        super().__init__(
            uvicorn.Config(
                application := _OneLineErrors(bridge),
                http=HttpProtocol if handoff is None else receiving_protocol(handoff),
                ws=WebSocketProtocol,
                ws_max_size=bridge.settings.message_bytes,
                # Engine.IO has its own ping, and compression costs 38 KB per client.
                ws_ping_interval=None,
                ws_ping_timeout=None,
                ws_per_message_deflate=False,
                # Otherwise uvicorn trusts the forwarding headers of every local peer. The trusted
                # proxies are a setting of the bridge (`security.client_ip`).
                proxy_headers=False,
                access_log=False,
                log_config=None,
                lifespan="on",
                server_header=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._bridge = bridge
        self._application = application
        self._handoff = handoff
        self._on_started = on_started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `until_signalled`. Uvicorn would raise the signal again after a clean
        shutdown, and the exit code would not be 0.
        """
        yield

    async def abandon_startup(self) -> None:
        """End a startup that uvicorn no longer waits for."""
        await self._application.end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._handoff is not None:
            self._handoff.open(self._receiving)
        self._on_started()

    def _receiving(self) -> ReceivingProtocol:
        protocol: ReceivingProtocol = self.config.http_protocol_class(  # type: ignore[call-arg,assignment]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._bridge.drain()
        if self._handoff is not None:
            self._handoff.close()
        await super().shutdown(sockets)


async def serve(
    bridge: ServedBridge,
    listening: socket.socket | None,
    *,
    handoff: Handoff | None = None,
    on_started: Callable[[], None] = lambda: None,
) -> int:
    """Serve until cancelled, or until a task of the bridge fails, which returns exit code 1.

    A process that shares its port with others has a `handoff`, and no socket of its own if it only
    receives connections. `on_started` is called when the lifespan has started.

    In both cases clients are drained and the lifespan has ended on return. A lifespan that failed
    to start has been logged, and returns 1.
    """
    server = BridgeServer(bridge, handoff=handoff, on_started=on_started)

    def stop(_error: BaseException) -> None:
        server.should_exit = True

    bridge.on_failure = stop
    task = asyncio.create_task(_run(server, listening), name="serve")
    try:
        code = await asyncio.shield(task)
    except asyncio.CancelledError:
        server.should_exit = True
        if not server.started:
            # The lifespan may wait for a disk, and uvicorn waits for the lifespan.
            task.cancel()
            await server.abandon_startup()
        await task
        raise
    return 1 if bridge.failure else code


async def _run(server: BridgeServer, listening: socket.socket | None) -> int:
    logger = logging.getLogger("uvicorn.error")
    logger.addFilter(_is_no_repetition)
    asyncio.get_running_loop().set_exception_handler(file_limit.on_loop_exception)
    try:
        await server.serve([] if listening is None else [listening])
    except SystemExit:  # raised by uvicorn if the lifespan failed, after logging the reason
        return 1
    finally:
        logger.removeFilter(_is_no_repetition)
    return 0


def _on_signal(
    loop: asyncio.AbstractEventLoop, number: signal.Signals, call: Callable[[], None]
) -> None:
    """Have `call` called in the loop at each signal of that number."""
    try:
        loop.add_signal_handler(number, call)
    except NotImplementedError:  # the loop of Windows
        signal.signal(number, lambda _number, _frame: loop.call_soon_threadsafe(call))


def until_signalled(main: Coroutine[Any, Any, int]) -> int:
    """Run `main` and return its exit code, or 0 after SIGINT or SIGTERM cancelled it. A second
    signal cancels its cleanup.
    """

    async def supervised() -> int:
        task = asyncio.current_task()
        assert task is not None
        signalled = False

        def stop() -> None:
            nonlocal signalled
            signalled = True
            task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            _on_signal(loop, number, stop)
        try:
            return await main
        except asyncio.CancelledError:
            if not signalled:
                raise
            return 0

    return asyncio.run(supervised())
