"""A bridge as this process: its port, its signals, and its way out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from bridge.server.http_protocol import HttpProtocol
from bridge.server.websocket_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from bridge.app import Bridge

GRACE_SECONDS: Final = 5
"""How long requests that are being answered may take after the bridge was told to stop."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; `port` 0 takes a free one, an empty `host` every IPv4 and IPv6 address.

    What is written to its connections leaves at once. Raises OSError, EADDRINUSE where somebody has
    the port.
    """
    if not host and socket.has_dualstack_ipv6():
        listening = socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=2048, dualstack_ipv6=True
        )
    else:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=2048)
    # asyncio does so only for sockets whose protocol number is given, which those of
    # `create_server` are not; connections have it from the socket that took them. Without it an
    # event waits until the client has acknowledged the one before, 40 ms later as a rule.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def refusal(host: str, port: int, error: OSError) -> str:
    """What `listen` raised, in words."""
    # The error's own words name the address again.
    why = os.strerror(error.errno) if error.errno and error.errno > 0 else error
    return f"can't listen on {host or '*'}:{port}: {why}"


def url(listening: socket.socket) -> str:
    """Where somebody on this machine reaches it."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class BridgeServer(uvicorn.Server):
    """uvicorn around one bridge. Leaves signals to the process and drains before it stops."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(
            uvicorn.Config(
                bridge,
                http=HttpProtocol,
                ws=WebSocketProtocol,
                ws_max_size=bridge.settings.message_bytes,
                # Engine.IO has a ping of its own, and compression costs 38 KB a client.
                ws_ping_interval=None,
                ws_ping_timeout=None,
                ws_per_message_deflate=False,
                # Else uvicorn believes what anybody on this machine says of whom it asks for. Whom
                # the bridge believes is a setting (`guard.address`).
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
        """Uvicorn would end the process by the signal again after a clean stop, which is no exit
        code 0.
        """
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._bridge.drain()
        await super().shutdown(sockets)


async def serve(bridge: Bridge, listening: socket.socket) -> int:
    """Serve until cancelled, or until a part of the bridge dies, which gives exit code 1.

    Either way clients are let go and the lifespan has ended when this returns. Where the lifespan
    could not begin, it has been logged and the exit code is 1.
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
    try:
        await server.serve([listening])
    except SystemExit:  # uvicorn's word for a lifespan that failed; it has logged why
        return 1
    return 0


def until_signalled(main: Coroutine[Any, Any, int]) -> int:
    """Run `main`; give its exit code, or 0 after SIGINT or SIGTERM cancelled it. A second signal
    cancels what it does to stop.
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
