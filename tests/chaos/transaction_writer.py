"""Runs a workload's transactions on a connection of its own, through outages of the database."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from tests.support.commit_recorder import CommitRecorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.chaos.platform import Platform
    from tests.support.commit_recorder import Execute
    from tests.support.expected_table import ExpectedTable
    from tests.support.workload import Statement, Transaction, Workload

RETRY_SECONDS = 0.1
OPTIONS = "-c lock_timeout=2000 -c statement_timeout=10000"


class TransactionWriter:
    """Call `begin`, then `write` for each workload, and `catch_up` while nothing writes."""

    def __init__(self, platform: Platform, table: ExpectedTable) -> None:
        self._platform = platform
        self._recorder = CommitRecorder(table)
        self.counts: Counter[str] = Counter()

    async def begin(self, first: Statement) -> None:
        """Insert the first rows, and record all commits from here on."""
        async with self._execute() as execute:
            await execute(*first)
            await self._recorder.install(execute)

    async def write(self, workload: Workload, stop: asyncio.Event) -> None:
        """Run transactions until `stop` is set; the transaction under way is finished."""
        transactions = iter(workload)
        while not stop.is_set():
            try:
                async with await self._connect() as connection:
                    while not stop.is_set():
                        transaction = next(transactions)
                        await self._commit(connection, transaction)
                        await _sleep(transaction.pause, stop)
            except psycopg.OperationalError:
                self.counts["connections lost"] += 1
                await asyncio.sleep(RETRY_SECONDS)

    async def catch_up(self) -> None:
        """Record what was committed since the last call."""
        async with self._execute() as execute:
            await self._recorder.catch_up(execute)
            await self._recorder.verify(execute)

    async def _commit(
        self, connection: psycopg.AsyncConnection[Any], transaction: Transaction
    ) -> None:
        kept = len(transaction.statements) - transaction.rolled_back
        try:
            async with connection.transaction(force_rollback=not kept):
                await _run(connection, transaction.statements[:kept], transaction.hold)
                if transaction.rolled_back:
                    async with connection.transaction(force_rollback=True):
                        await _run(connection, transaction.statements[kept:], transaction.hold)
        except psycopg.OperationalError as error:
            if connection.closed or connection.broken:
                raise
            self.counts[f"failed: {type(error).__name__}"] += 1  # a lock, a deadlock, a timeout
        except psycopg.Error as error:
            self.counts[f"failed: {type(error).__name__}"] += 1
        else:
            self.counts["transactions" if kept else "rolled back"] += 1

    @asynccontextmanager
    async def _execute(self) -> AsyncIterator[Execute]:
        async with await self._connect() as connection:

            async def execute(query: str, params: Any = None) -> list[dict[str, Any]]:
                cursor = connection.cursor(row_factory=dict_row)
                await cursor.execute(query.encode(), params)
                return await cursor.fetchall() if cursor.description else []

            yield execute

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        while True:
            try:
                return await psycopg.AsyncConnection.connect(
                    self._platform.database_url, autocommit=True, options=OPTIONS
                )
            except psycopg.OperationalError:
                await asyncio.sleep(RETRY_SECONDS)


async def _run(
    connection: psycopg.AsyncConnection[Any], statements: Sequence[Statement], hold: float
) -> None:
    for query, parameters in statements:
        await connection.execute(query.encode(), parameters)
        if hold:
            await asyncio.sleep(hold)


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
