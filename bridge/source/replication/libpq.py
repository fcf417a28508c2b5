"""Drives libpq's COPY on a connection of psycopg: many messages for each turn of the event loop.

psycopg has no interface for replication, and reads COPY row by row.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg

from bridge.source.replication.faults import SourceFault, fault_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg.pq import ExecStatus


class CopyStream:
    """One COPY of a connection that nothing else uses meanwhile."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], doing: str) -> None:
        """`doing`: names the work in errors."""
        self._pgconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._doing = doing
        self._waiting_since: float | None = None
        self._ended = False

    @property
    def silent_seconds(self) -> float:
        """For how long the server has sent nothing, while it is waited for."""
        return 0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since

    async def begin(self, statement: bytes, expected: ExecStatus) -> None:
        """Send the statement, and wait until its COPY begins. Raises `SourceFault`."""
        try:
            self._pgconn.send_query(statement)
            while self._pgconn.flush():
                await self._ready(self._loop.add_writer, self._loop.remove_writer)
            while self._pgconn.is_busy():
                await self._readable()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is None or result.status != expected:
                raise self._failed(result)
        except psycopg.Error as error:
            raise fault_of(error, self._doing) from error

    async def receive(self, limit: int) -> Sequence[bytes]:
        """Wait for messages and return those that are there, at most `limit`; empty: the COPY has
        ended.

        Nothing is read from the socket between two calls. Raises `SourceFault`.
        """
        messages: list[bytes] = []
        pgconn = self._pgconn
        try:
            while not self._ended:
                size, data = pgconn.get_copy_data(1)
                if size > 0:
                    messages.append(bytes(data))
                    if len(messages) >= limit:
                        return messages
                elif size == 0:
                    if messages:
                        return messages
                    self._waiting_since = time.monotonic()
                    await self._readable()
                    self._waiting_since = None
                    pgconn.consume_input()
                else:
                    self._check_end()
                    self._ended = True
                    return messages
        except psycopg.Error as error:
            raise fault_of(error, self._doing) from error
        return messages

    def send(self, message: bytes) -> None:
        """Send a message. What the socket does not take now is sent with the next one. Raises
        `SourceFault`.
        """
        try:
            self._pgconn.put_copy_data(message)
            self._pgconn.flush()
        except psycopg.Error as error:
            raise fault_of(error, self._doing) from error

    def _check_end(self) -> None:
        """Take the results of a COPY that has ended. Raises `SourceFault` if it failed."""
        while (result := self._pgconn.get_result()) is not None:
            if result.error_message:
                raise self._failed(result)

    def _failed(self, result: Any) -> SourceFault:
        if result is None or not result.error_message:
            return SourceFault(f"{self._doing}: the server ended the stream")
        return fault_of(psycopg.errors.error_from_result(result), self._doing)

    async def _readable(self) -> None:
        await self._ready(self._loop.add_reader, self._loop.remove_reader)

    async def _ready(self, add: Any, remove: Any) -> None:
        ready = self._loop.create_future()
        socket = self._pgconn.socket
        add(socket, _set, ready)
        try:
            await ready
        finally:
            remove(socket)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
