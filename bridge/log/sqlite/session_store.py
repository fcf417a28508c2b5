"""Sessions of clients in the SQLite file of the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Mapping, Sequence

    from bridge.log.sqlite.database import Database

PUT: Final = """
    INSERT INTO sessions (name, session) SELECT key, value FROM json_each(?) WHERE type <> 'null'
    ON CONFLICT (name) DO UPDATE SET session = excluded.session"""
DROP: Final = (
    "DELETE FROM sessions WHERE name IN (SELECT key FROM json_each(?) WHERE type = 'null')"
)


class SqliteSessionStore:
    """Implements `log.base.SessionStore` in the database of an open log."""

    shared = False

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Sequence[tuple[str, bytes]]:
        return await self._database.read(
            lambda connection: connection.execute(
                "SELECT name, CAST(session AS BLOB) FROM sessions"
            ).fetchall()
        )

    async def put(self, sessions: Mapping[str, bytes | None]) -> Collection[str]:
        stored = orjson.dumps(
            {
                name: None if session is None else session.decode()
                for name, session in sessions.items()
            }
        ).decode()

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(PUT, (stored,))
            connection.execute(DROP, (stored,))

        await self._database.write(job)
        return ()

    async def take(self, _name: str) -> bytes | None:
        """Return None: all sessions were loaded at the start."""
        return None
