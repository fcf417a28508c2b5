"""Reads all rows of the table as of a slot's exported snapshot, with COPY."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus

from bridge.source.replication.faults import SourceFault, fault_of
from bridge.source.replication.libpq import CopyStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Record
    from bridge.source.replication.columns import TableColumns

ROWS_PER_PAGE: Final = 1000
"""Merging them takes about 10 ms of the loop, and storing them one transaction of the log."""

_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


async def snapshot_pages(
    connection: psycopg.AsyncConnection[Any], snapshot: str, columns: TableColumns
) -> AsyncIterator[Sequence[Record]]:
    """Yield the rows in pages, in no order. Raises `SourceFault`; the connection can't be used any
    more then.
    """
    try:
        await connection.execute("begin isolation level repeatable read, read only")
        await connection.execute(
            sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot))
        )
        query = sql.SQL("copy (select {} from {}) to stdout").format(
            columns.selected, columns.rows(parameters=False)
        )
        statement = query.as_bytes(connection)
    except psycopg.Error as error:
        raise fault_of(error, "reading the snapshot") from error
    copy = CopyStream(connection, "reading the snapshot")
    await copy.begin(statement, ExecStatus.COPY_OUT)
    page: list[Record] = []
    while lines := await copy.receive(ROWS_PER_PAGE - len(page)):
        try:
            page += [columns.record(fields(line)) for line in lines]
        except (ValueError, LookupError) as error:
            raise SourceFault(
                "reading the snapshot: a value is not of its column's type "
                f"({type(error).__name__}); the table may have been altered meanwhile"
            ) from error
        if len(page) >= ROWS_PER_PAGE:
            yield page
            page = []
    if page:
        yield page
    try:
        await connection.execute("commit")
    except psycopg.Error as error:
        raise fault_of(error, "reading the snapshot") from error


def fields(line: bytes) -> list[str | None]:
    """Return the fields of a row in COPY's text format."""
    text = line.decode().removesuffix("\n")
    found = text.split("\t")
    if "\\" not in text:
        return list(found)
    return [None if field == "\\N" else _ESCAPED.sub(_unescape, field) for field in found]


def _unescape(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])
