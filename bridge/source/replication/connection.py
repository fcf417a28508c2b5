"""Connections to PostgreSQL: for SQL, and for replication.

Both kinds run with the settings that the text of values depends on.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ExecStatus

from bridge.source.replication.faults import SourceFault, fault_of
from bridge.source.replication.libpq import CopyStream

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


MALFORMED_URL: Final = (
    "BRIDGE_DATABASE_URL can't be read: expected postgresql://user:password@host:5432/database, in "
    "the password each % as %25, @ as %40, / as %2F, : as %3A, ? as %3F and # as %23"
)


def conninfo(url: str, **more: Any) -> str:
    """Return the connection string of `url`, with `DEFAULTS` where it sets nothing else. Raises
    `SourceFault`.
    """
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq quotes what it can't read, which may be the password.
        raise SourceFault(MALFORMED_URL, needs_operator=True) from None
    if "@" in str(given.get("host") or ""):  # the end of a password
        raise SourceFault(MALFORMED_URL, needs_operator=True)
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
        self._stream = CopyStream(connection, "streaming")

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
        await self._stream.begin(text.encode(), ExecStatus.COPY_BOTH)

    async def receive(self, limit: int) -> Sequence[bytes]:
        """Wait for messages of the stream and return those that are there, at most `limit`. Raises
        `SourceFault` when the stream ends.
        """
        messages = await self._stream.receive(limit)
        if not messages:
            raise SourceFault("streaming: the server ended the stream")
        return messages

    @property
    def silent_seconds(self) -> float:
        """For how long the server has sent nothing, while it is waited for."""
        return self._stream.silent_seconds

    def send_status(self, lsn: int, *, reply: bool = False) -> None:
        """Report that everything before `lsn` is stored; `reply` asks for a keepalive. Raises
        `SourceFault`.
        """
        clock = int((time.time() - POSTGRES_EPOCH) * 1_000_000)
        self._stream.send(_STATUS.pack(b"r", lsn, lsn, lsn, clock, reply))

    async def close(self) -> None:
        await self._connection.close()


def keepalive(message: bytes) -> tuple[int, bool]:
    """Return the end of the WAL that was sent, and whether a reply is expected, of a keepalive."""
    end, _, reply = _KEEPALIVE.unpack_from(message, 1)
    return end, bool(reply)
