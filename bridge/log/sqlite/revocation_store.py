"""Revocations in the SQLite file of the log. They outlive a new epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from bridge.log.sqlite.database import Database

PUT: Final = """
    INSERT INTO sign_outs (kind, name, at) VALUES (?, ?, ?)
    ON CONFLICT (kind, name) DO UPDATE SET at = excluded.at"""
DROP: Final = "DELETE FROM sign_outs WHERE at < ?"


class SqliteRevocationStore:
    """Implements `log.base.RevocationStore` in the database of an open log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> Sequence[tuple[str, str, float]]:
        return await self._database.read(
            lambda connection: connection.execute("SELECT kind, name, at FROM sign_outs").fetchall()
        )

    async def put(self, kind: str, name: str, at: float, *, oldest: float) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(PUT, (kind, name, at))
            connection.execute(DROP, (oldest,))

        await self._database.write(job)
