"""Connections to PostgreSQL: for SQL, and for replication.

psycopg has no interface for replication, so the second kind drives libpq itself: the connection is
psycopg's, and its socket is watched by the event loop. Both kinds run with the settings that the
text of values depends on.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus

from bridge.source.replication.faults import SourceFault, fault_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECT_SECONDS: Final = 10
"""Longest time for a connection to one address."""

SESSION: Final = (
    "-c datestyle=ISO,MDY -c timezone=UTC -c intervalstyle=postgres -c bytea_output=hex "
    "-c extra_float_digits=1 -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 "
    # An error instead of a part of the rows: the stream has all.
    "-c row_security=off"
)

DEFAULTS: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "application_name": "bridge",
}
"""Parameters of libpq that the URL may set otherwise. A peer that is gone without a word is noticed
after about 25 s."""

POSTGRES_EPOCH: Final = 946_684_800
"""2000-01-01 in Unix seconds."""

_KEEPALIVE: Final = struct.Struct(">QqB")
_STATUS: Final = struct.Struct(">cQQQqB")
XLOG_DATA, KEEPALIVE = b"wk"
"""Kinds of messages of a stream."""

XLOG_HEADER: Final = 25
"""Bytes of an XLogData message before its payload."""

COPY_BOTH: Final = ExecStatus.COPY_BOTH


def conninfo(url: str, **more: Any) -> str:
    """Return the connection string of `url`, with `DEFAULTS` where it sets nothing else."""
    given = conninfo_to_dict(url)
    options = " ".join(filter(None, (str(given.pop("options", None) or ""), SESSION)))
    return make_conninfo("", **{**DEFAULTS, **given, **more, "options": options})


async def connect(url: str) -> psycopg.AsyncConnection[Any]:
    """Open a connection for SQL, in autocommit mode. Raises `SourceFault`."""
    try:
        return await psycopg.AsyncConnection.connect(
            conninfo(url), autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        raise fault_of(error, "connecting") from error


class ReplicationConnection:
    """A connection of a WAL sender. Created by `open`; `close` it."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pgconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None

    @classmethod
    async def open(cls, url: str) -> ReplicationConnection:
        """Raises `SourceFault`."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                conninfo(url, replication="database"), autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise fault_of(error, "connecting for replication") from error
        return cls(connection)

    async def command(self, text: str) -> list[tuple[Any, ...]]:
        """Run one replication command. Raises `SourceFault`."""
        try:
            cursor = await self._connection.execute(text.encode())
            return await cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise fault_of(error, text.partition(" (")[0]) from error

    async def start(self, text: str) -> None:
        """Send START_REPLICATION and wait until the stream begins. Raises `SourceFault`."""
        try:
            self._pgconn.send_query(text.encode())
            await self._flush()
            while self._pgconn.is_busy():
                await self._readable()
                self._pgconn.consume_input()
            result = self._pgconn.get_result()
            if result is None or result.status != COPY_BOTH:
                raise self._failed(result, "START_REPLICATION")
        except psycopg.Error as error:
            raise fault_of(error, "START_REPLICATION") from error

    async def receive(self, limit: int) -> Sequence[bytes]:
        """Wait for messages of the stream and return those that are there, at most about `limit`.

        Nothing is read from the socket between two calls. Raises `SourceFault` when the stream
        ends.
        """
        messages: list[bytes] = []
        pgconn = self._pgconn
        try:
            while True:
                size, data = pgconn.get_copy_data(1)
                if size > 0:
                    messages.append(bytes(data))
                    if len(messages) >= limit:
                        break
                elif size == 0:
                    if messages:
                        break
                    self._waiting_since = time.monotonic()
                    await self._readable()
                    self._waiting_since = None
                    pgconn.consume_input()
                else:
                    raise self._failed(pgconn.get_result(), "streaming")
        except psycopg.Error as error:
            raise fault_of(error, "streaming") from error
        return messages

    @property
    def silent_seconds(self) -> float:
        """For how long the server has sent nothing, while it is waited for."""
        return 0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since

    def send_status(self, lsn: int, *, reply: bool = False) -> None:
        """Report that everything before `lsn` is stored; `reply` asks for a keepalive."""
        clock = int((time.time() - POSTGRES_EPOCH) * 1_000_000)
        try:
            self._pgconn.put_copy_data(_STATUS.pack(b"r", lsn, lsn, lsn, clock, reply))
            # What the socket does not take now is sent with the next call.
            self._pgconn.flush()
        except psycopg.Error as error:
            raise fault_of(error, "streaming") from error

    async def close(self) -> None:
        await self._connection.close()

    def _failed(self, result: Any, doing: str) -> SourceFault:
        if result is None or not result.error_message:
            return SourceFault(f"{doing}: the server ended the stream")
        error = psycopg.errors.error_from_result(result)
        return fault_of(error, doing)

    async def _readable(self) -> None:
        await self._ready(self._loop.add_reader, self._loop.remove_reader)

    async def _flush(self) -> None:
        while self._pgconn.flush():
            await self._ready(self._loop.add_writer, self._loop.remove_writer)

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


def keepalive(message: bytes) -> tuple[int, bool]:
    """Return the end of the WAL that was sent, and whether a reply is expected, of a keepalive."""
    end, _, reply = _KEEPALIVE.unpack_from(message, 1)
    return end, bool(reply)
