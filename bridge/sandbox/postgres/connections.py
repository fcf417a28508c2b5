"""A few connections that requests share, and that a restart of the server does not spoil."""

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
    """No connection could be made."""


class ConnectionPool:
    """Up to `size` autocommit connections to `url`, opened when first needed."""

    def __init__(self, url: str, *, size: int = 8) -> None:
        self._url = url
        self._free: list[psycopg.AsyncConnection[Any]] = []
        self._slots = asyncio.Semaphore(size)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection for this block alone; the block ends every transaction that it begins.

        Raises `ServerAway` when there is no server to connect to. A connection that broke, or was
        left in the middle of something, is not used again.
        """
        async with self._slots:
            connection = self._free.pop() if self._free else await self._connect()
            try:
                yield connection
            finally:
                # A block that was cancelled may have left half an answer behind: not worth reading.
                if connection.info.transaction_status is TransactionStatus.IDLE:
                    self._free.append(connection)
                else:
                    await connection.close()

    async def close_idle(self) -> None:
        """Close the idle ones; those in use are closed by whoever finds them broken."""
        while self._free:
            await self._free.pop().close()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        try:
            return await psycopg.AsyncConnection.connect(
                self._url,
                autocommit=True,
                # Tables change under a development server; cached plans would stumble over it.
                prepare_threshold=None,
                connect_timeout=CONNECT_TIMEOUT,
            )
        except psycopg.OperationalError as error:
            raise ServerUnavailableError(*error.args) from error
