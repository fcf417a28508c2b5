"""Serve the bridge in this process: listening socket, signals, graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final, Protocol

import uvicorn

from bridge.server.file_limit import file_limit
from bridge.server.http_protocol import HttpProtocol
from bridge.server.websocket_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from starlette.types import Receive, Scope, Send

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
    """Return a listening socket. `port` 0 takes a free one; an empty `host` is every IPv4 and IPv6
    address.

    Its connections send without delay (TCP_NODELAY). Raises OSError, with EADDRINUSE if the port is
    in use.
    """
    if not host and socket.has_dualstack_ipv6():
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


class BridgeServer(uvicorn.Server):
    """uvicorn for one bridge. Leaves signals to the process, and drains clients before it stops."""

    def __init__(self, bridge: ServedBridge) -> None:
        super().__init__(
            uvicorn.Config(
                bridge,
                http=HttpProtocol,
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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `until_signalled`. Uvicorn would raise the signal again after a clean
        shutdown, and the exit code would not be 0.
        """
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._bridge.drain()
        await super().shutdown(sockets)


async def serve(bridge: ServedBridge, listening: socket.socket) -> int:
    """Serve until cancelled, or until a task of the bridge fails, which returns exit code 1.

    In both cases clients are drained and the lifespan has ended on return. A lifespan that failed
    to start has been logged, and returns 1.
    """
    server = BridgeServer(bridge)

    def stop(_error: BaseException) -> None:
        server.should_exit = True

    bridge.on_failure = stop
    task = asyncio.create_task(_run(server, listening), name="serve")
    try:
        code = await asyncio.shield(task)
    except asyncio.CancelledError:
        server.should_exit = True
        await task
        raise
    return 1 if bridge.failure else code


async def _run(server: BridgeServer, listening: socket.socket) -> int:
    asyncio.get_running_loop().set_exception_handler(file_limit.on_loop_exception)
    try:
        await server.serve([listening])
    except SystemExit:  # raised by uvicorn if the lifespan failed, after logging the reason
        return 1
    return 0


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
            loop.add_signal_handler(number, stop)
        try:
            return await main
        except asyncio.CancelledError:
            if not signalled:
                raise
            return 0

    return asyncio.run(supervised())
