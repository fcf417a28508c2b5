"""The database's own record of what was committed, as the states of an `ExpectedTable`.

A trigger inserts each row, as it was left, into a second table in the same transaction, with a
number drawn while the row is locked. Per property the numbers are in commit order, and what was
rolled back or lost in a crash is not there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tests.support.expected_table import ExpectedTable

INSTALL = """
create table if not exists public.committed_states
  (n bigserial primary key, id uuid not null, state jsonb);

create or replace function public.record_commit() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' or tg_op = 'UPDATE' and new.id <> old.id then
    insert into public.committed_states (id) values (old.id);
  end if;
  if tg_op <> 'DELETE' then
    insert into public.committed_states (id, state) values (new.id, to_jsonb(new));
  end if;
  return null;
end;
$$;

create or replace function public.record_truncate() returns trigger language plpgsql as $$
begin
  insert into public.committed_states (id) select id from public.properties;
  return null;
end;
$$;

create or replace trigger record_commit after insert or update or delete on public.properties
  for each row execute function public.record_commit();
create or replace trigger record_truncate before truncate on public.properties
  for each statement execute function public.record_truncate();
"""


class Execute(Protocol):
    """Runs one statement in a transaction of its own; returns its rows by column name."""

    async def __call__(self, query: str, params: Any = None) -> list[dict[str, Any]]: ...


class CommitRecorder:
    """Reads committed states into `table`."""

    def __init__(self, table: ExpectedTable) -> None:
        self.table = table
        self._lock = asyncio.Lock()
        self._last = 0
        self._gaps: set[int] = set()
        """Numbers below `_last` that were not there: rolled back, or not yet committed."""

    async def install(self, execute: Execute) -> None:
        """Install the triggers, and take the present rows as the first states."""
        await execute(INSTALL)
        self.table.load(await self._rows(execute))

    async def catch_up(self, execute: Execute) -> None:
        """Record what was committed since the last call. Other connections may write meanwhile."""
        async with self._lock:
            for found in await execute(
                "select n, id::text as key, state from committed_states"
                " where n > %s or n = any(%s) order by n",
                (self._last, list(self._gaps)),
            ):
                number = found["n"]
                self._gaps.discard(number)
                self._gaps.update(range(self._last + 1, number))
                self._last = max(self._last, number)
                self.table.commit(found["key"], found["state"])

    async def verify(self, execute: Execute) -> None:
        """Check the number of rows. Call it after `catch_up`, while nothing writes."""
        self._gaps.clear()
        [counted] = await execute("select count(*) as rows from properties")
        assert counted["rows"] == len(self.table.rows), "the recorded commits are not the table"

    async def reload(self, execute: Execute) -> None:
        """Record the table as it is, after a crash that may have undone what was recorded."""
        async with self._lock:
            self.table.reload(await self._rows(execute))

    async def _rows(self, execute: Execute) -> list[dict[str, Any]]:
        """Return the present rows, and skip the records up to them."""
        [newest] = await execute("select coalesce(max(n), 0) as n from committed_states")
        self._last, self._gaps = newest["n"], set()
        return [row["row"] for row in await execute("select to_jsonb(p) as row from properties p")]
