"""Serve an ASGI application on a free port of loopback, with the server of `bridge serve`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn

from bridge.server import serve
from bridge.server.http_protocol import HttpProtocol
from bridge.server.websocket_protocol import WebSocketProtocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def served(
    app: Any, *, lifespan: str = "on", drain: Any = None, port: int = 0, **options: Any
) -> AsyncIterator[str]:
    """Serve `app`, and yield its URL.

    `drain` is awaited before the server stops, as `bridge serve` does; without it a server waits
    for the open polls of its clients. `options` are uvicorn's.
    """
    defaults: dict[str, Any] = {
        "http": HttpProtocol,
        "ws": WebSocketProtocol,
        "ws_ping_interval": None,
        "ws_per_message_deflate": False,
        "access_log": False,
        "log_config": None,
        "lifespan": lifespan,
        "timeout_graceful_shutdown": 2,
    }
    config = uvicorn.Config(app, **(defaults | options))
    with serve.listen("127.0.0.1", port) as listening:
        server = _Server(config)
        task = asyncio.create_task(server.serve([listening]))
        await started(server, task)
        try:
            yield serve.url(listening)
        finally:
            if drain is not None:
                await drain()
            server.should_exit = True
            await task


async def started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    """Wait until the server listens. Raises the error of `task` if that ends first."""
    while not server.started:
        if task.done():
            task.result()
            raise RuntimeError("the server ended before it had started")
        await asyncio.sleep(0.005)
