"""A small connection pool that survives restarts of the database."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONNECT_TIMEOUT = 5


class ServerUnavailableError(psycopg.OperationalError):
    """A connection could not be opened."""


class ConnectionPool:
    """Up to `size` autocommit connections to `url`, opened on demand."""

    def __init__(self, url: str, *, size: int = 8) -> None:
        self._url = url
        self._free: list[psycopg.AsyncConnection[Any]] = []
        self._slots = asyncio.Semaphore(size)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Reserve a connection for this block, which must end every transaction that it begins.

        Raises `ServerUnavailableError` if the server does not accept connections. A connection that
        is broken or inside a transaction after the block is closed, not reused.
        """
        async with self._slots:
            connection = self._free.pop() if self._free else await self._connect()
            try:
                yield connection
            finally:
                # A cancelled block may leave an unread result; such a connection is closed.
                if connection.info.transaction_status is TransactionStatus.IDLE:
                    self._free.append(connection)
                else:
                    await connection.close()

    async def close_idle(self) -> None:
        """Close the idle connections. Connections in use are closed after their block if broken."""
        while self._free:
            await self._free.pop().close()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        try:
            return await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                # Prepared statements would fail when a developer alters a table.
                prepare_threshold=None,
                connect_timeout=CONNECT_TIMEOUT,
            )
        except psycopg.OperationalError as error:
            raise ServerUnavailableError(*error.args) from error
