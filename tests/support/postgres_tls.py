"""TLS in front of a PostgreSQL server: the wheel's own is built without."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")
CHUNK = 65536


@asynccontextmanager
async def tls_postgres(target: int, context: ssl.SSLContext) -> AsyncIterator[int]:
    """Serve PostgreSQL's protocol over TLS on the returned port, as the server on `target`."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        up_writer: asyncio.StreamWriter | None = None
        try:
            # A client that can use GSSAPI asks for that before.
            while await reader.readexactly(8) != SSL_REQUEST:
                writer.write(b"N")
            writer.write(b"S")
            await writer.start_tls(context)
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        except (OSError, EOFError):  # also a handshake that the client broke off
            pass
        finally:
            tasks.discard(task)
            for each in (writer, up_writer):
                if each is not None:
                    each.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
    target.close()
