"""Writes single statements to the table, each a transaction, and records what was committed."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from tests.support.commit_recorder import CommitRecorder
from tests.support.expected_table import UNPUBLISHED_MARK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.commit_recorder import Execute
    from tests.support.expected_table import ExpectedTable

STATES = ("TX", "CA", "NY", "OR", None)
RETRY_SECONDS = 0.05


class Writer:
    """Writes as the owner of the table.

    `price` is a number that only rises, so that no two states of a property are equal; columns that
    are not published are written too.
    """

    def __init__(self, execute: Execute, table: ExpectedTable, pause: float) -> None:
        """`pause`: seconds between two statements of `writing`."""
        self._execute = execute
        self._pause = pause
        self._numbers = itertools.count(1)
        self._random = random.Random(20260105)
        self._recorder = CommitRecorder(table)
        self._recorded = asyncio.Condition()
        self.table = table

    async def begin(self, rows: int) -> None:
        """Replace the table's contents by `rows` new properties, and record all commits after."""
        await self._execute("truncate public.properties")
        await self._execute(
            "insert into properties (name, state, city, price, internal_notes)"
            " select 'Listing ' || n, (array['TX','CA','NY'])[1 + n %% 3], 'Town ' || n, 0, %s"
            " from generate_series(1, %s) n",
            (UNPUBLISHED_MARK, rows),
        )
        await self._recorder.install(self._execute)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Insert, delete, move and change properties while the block runs."""
        stopped = False

        async def write() -> None:
            while not stopped:
                await self.write_any()
                await asyncio.sleep(self._pause)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            try:
                yield
            finally:
                stopped = True

    async def until_written(self, count: int) -> None:
        """Wait until `writing` has committed `count` more changes."""
        until = self.table.commits + count
        async with self._recorded:
            await self._recorded.wait_for(lambda: self.table.commits >= until)

    async def write_any(self) -> None:
        """Run one random statement."""
        keys = list(self.table.rows)
        key = self._random.choice(keys) if keys else None
        roll = self._random.random()
        if key is None or (roll < 0.1 and len(keys) < 60):
            await self.insert()
        elif roll < 0.15:
            await self.delete(key)
        elif roll < 0.25:
            await self.move(key)
        elif roll < 0.3:
            number = next(self._numbers)
            await self.update("owner_contact = %s", f"{UNPUBLISHED_MARK} {number}", key=key)
        else:
            await self.change(key)

    async def change(self, key: str | None = None) -> None:
        """Change the price, and a column that is not published; of all rows without a key."""
        number = next(self._numbers)
        note = f"{UNPUBLISHED_MARK} {number}"
        await self.update("price = %s, internal_notes = %s", number, note, key=key)

    async def move(self, key: str | None = None) -> None:
        """Move a property to another state, or to none."""
        now = self.table.rows[key]["state"] if key is not None else None
        state = self._random.choice([state for state in STATES if state != now])
        await self.update("state = %s, price = %s", state, next(self._numbers), key=key)

    async def update(self, values: str, *parameters: Any, key: str | None = None) -> None:
        """Set `values` in the row of `key`, or in all rows without one."""
        where, last = ("", ()) if key is None else ("where id = %s", (key,))
        await self.write(f"update properties set {values} {where}", (*parameters, *last))

    async def insert(self, count: int = 1) -> None:
        """Insert `count` properties in one transaction."""
        first = next(self._numbers)
        await self.write(
            "insert into properties (name, state, city, price, internal_notes)"
            " select 'New ' || n, %s, 'Town', n, %s from generate_series(%s::int, %s::int) n",
            (self._random.choice(STATES), UNPUBLISHED_MARK, first, first + count - 1),
        )

    async def delete(self, *keys: str) -> None:
        """Delete the rows of `keys` in one transaction."""
        await self.write("delete from properties where id = any(%s::uuid[])", (list(keys),))

    async def rename(self, key: str) -> None:
        """Change the key of a property."""
        await self.write(
            "update properties set id = gen_random_uuid(), price = %s where id = %s",
            (next(self._numbers), key),
        )

    async def truncate(self) -> None:
        await self.write("truncate properties")

    async def write(self, query: str, parameters: tuple[Any, ...] | None = None) -> None:
        """Run one statement, and record what it committed."""
        try:
            await self._execute(query, parameters)
            await self._recorder.catch_up(self._execute)
        except psycopg.Error:
            await self.reload()  # the database went away, before or after the commit
        await self._notify()

    async def catch_up(self) -> None:
        """Record what other connections have committed."""
        await self._recorder.catch_up(self._execute)
        await self._notify()

    async def reload(self) -> None:
        """Record the table as it is; retried until the database answers."""
        while True:
            try:
                await self._recorder.reload(self._execute)
            except psycopg.Error:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _notify(self) -> None:
        async with self._recorded:
            self._recorded.notify_all()
