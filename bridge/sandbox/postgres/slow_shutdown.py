"""Makes a fast shutdown of PostgreSQL wait, as that of a real project does."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GENUINE_SECONDS = 60.0
"""PostgreSQL's default of `wal_sender_timeout`."""

POLL_SECONDS = 0.01


@asynccontextmanager
async def unconfirmed_replication(
    url: str, publication: str, seconds: float
) -> AsyncIterator[None]:
    """Hold a replication connection that confirms nothing, such as the one that Realtime has for
    broadcasts. PostgreSQL terminates it after `seconds`; a shutdown in between waits for that,
    while the other connections are closed and new ones are refused with 57P03.
    """
    slot = f"supabase_realtime_messages_replication_slot_{secrets.token_hex(4)}"
    connection = await psycopg.AsyncConnection.connect(
        f"{url}?replication=database",
        autocommit=True,
        options=f"-c wal_sender_timeout={round(seconds * 1000)}",
        application_name="realtime_replication_connection",
    )
    try:
        await connection.execute(
            f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT".encode()
        )
        # psycopg has no call for a replication stream; libpq has. Its keywords are upper-case only.
        stream = connection.pgconn
        stream.send_query(
            f"START_REPLICATION SLOT {slot} LOGICAL 0/0"
            f" (proto_version '1', publication_names '{publication}')".encode()
        )
        while stream.is_busy():
            stream.consume_input()
            await asyncio.sleep(POLL_SECONDS)
        result = stream.get_result()
        if result is None or result.status != pq.ExecStatus.COPY_BOTH:
            raise psycopg.OperationalError(stream.get_error_message())
        yield
    finally:
        await connection.close()
