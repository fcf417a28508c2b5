"""Those who write to the table, and the database's own record of what they committed.

A trigger writes each row, as it was left, into a table beside it, in the same transaction, with a
number drawn while the row is locked: per property, the numbers are in the order of the commits, and
what was rolled back or lost in a crash is not there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

import psycopg

from tests.chaos.truth import Truth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.platform import Platform
    from tests.chaos.writes import Statement, Transaction, Writes

RECORD = """
create table public.chaos_truth (n bigserial primary key, id uuid not null, state jsonb);

create function public.chaos_record() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or tg_op = 'UPDATE' and new.id <> old.id then
    insert into public.chaos_truth (id) values (old.id);
  end if;
  if tg_op <> 'DELETE' then
    insert into public.chaos_truth (id, state) values (new.id, to_jsonb(new));
  end if;
  return null;
end;
$$;

create function public.chaos_record_truncate() returns trigger language plpgsql as $$
begin
  insert into public.chaos_truth (id) select id from public.properties;
  return null;
end;
$$;

create trigger chaos_record after insert or update or delete on public.properties
  for each row execute function public.chaos_record();
create trigger chaos_record_truncate before truncate on public.properties
  for each statement execute function public.chaos_record_truncate();
"""
RETRY_SECONDS = 0.1
OPTIONS = "-c lock_timeout=2000 -c statement_timeout=10000"


class Writer:
    """`begin`, then `write` from a plan; `catch_up` while nobody writes."""

    def __init__(self, platform: Platform, truth: Truth) -> None:
        self._platform = platform
        self._truth = truth
        self._read = 0
        self.counts: Counter[str] = Counter()

    async def begin(self, first: Statement) -> None:
        async with await self._connect() as connection:
            await connection.execute(first[0].encode(), first[1])
            await connection.execute(RECORD.encode())
            cursor = await connection.execute("select to_jsonb(p) from properties p")
            self._truth.begin([row for (row,) in await cursor.fetchall()])

    async def write(self, plan: Writes, enough: asyncio.Event) -> None:
        """Go on with `plan` until it is enough. The transaction under way is finished."""
        transactions = iter(plan)
        while not enough.is_set():
            try:
                async with await self._connect() as connection:
                    while not enough.is_set():
                        transaction = next(transactions)
                        await self._commit(connection, transaction)
                        await _sleep(transaction.pause, enough)
            except psycopg.OperationalError:
                self.counts["connections lost"] += 1
                await asyncio.sleep(RETRY_SECONDS)

    async def catch_up(self) -> None:
        """Read what the database recorded since the last time."""
        async with await self._connect() as connection:
            cursor = await connection.execute(
                "select n, id::text, state from chaos_truth where n > %s order by n", (self._read,)
            )
            for n, key, state in await cursor.fetchall():
                self._read = n
                self._truth.commit(key, state)
            rows = await connection.execute("select count(*) from properties")
            there = await rows.fetchone()
        assert there is not None
        assert there[0] == len(self._truth.now), "the record of commits is not the table"

    async def _commit(
        self, connection: psycopg.AsyncConnection[Any], transaction: Transaction
    ) -> None:
        kept = len(transaction.statements) - transaction.undone
        try:
            async with connection.transaction(force_rollback=not kept):
                await _run(connection, transaction.statements[:kept], transaction.hold)
                if transaction.undone:
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


async def _sleep(seconds: float, enough: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await enough.wait()
    except TimeoutError:
        return
