"""Reads all rows of the table as of a slot's exported snapshot, with COPY."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from bridge.source.replication.faults import SourceFault, fault_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Record
    from bridge.source.replication.columns import TableColumns

ROWS_PER_PAGE = 1000


async def snapshot_pages(
    connection: psycopg.AsyncConnection[Any], snapshot: str, columns: TableColumns
) -> AsyncIterator[Sequence[Record]]:
    """Yield the rows in pages, in no order. Raises `SourceFault`."""
    try:
        async with connection.transaction():
            await connection.execute("set transaction isolation level repeatable read, read only")
            await connection.execute(
                sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot))
            )
            query = sql.SQL("copy (select {} from {}) to stdout").format(
                columns.selected, columns.rows(parameters=False)
            )
            page: list[Record] = []
            async with connection.cursor() as cursor, cursor.copy(query) as copy:
                async for row in copy.rows():
                    page.append(columns.record(row))
                    if len(page) >= ROWS_PER_PAGE:
                        yield page
                        page = []
            if page:
                yield page
    except psycopg.Error as error:
        raise fault_of(error, "reading the snapshot") from error
    except (ValueError, LookupError) as error:
        raise SourceFault(
            f"reading the snapshot: a value is not of its column's type ({type(error).__name__}); "
            "the table may have been altered meanwhile"
        ) from error
