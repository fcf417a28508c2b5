"""Somebody who changes properties all the time, and remembers what was committed."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from tests.integration.story import MARK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bridge.sandbox import Sandbox
    from tests.integration.story import Truth

STATES = ("TX", "CA", "NY", "OR", None)
RETURNING = "returning to_jsonb(properties) as row"
RETRY_SECONDS = 0.05


class Writer:
    """Writes one statement after the other, each a transaction, as the owner of the table.

    `price` is a number that only rises, so that no two states of a property look alike; columns
    that are not published are written too.
    """

    def __init__(self, sandbox: Sandbox, truth: Truth, pause: float) -> None:
        """`pause`: seconds between two statements of `writing`."""
        self._sandbox = sandbox
        self._pause = pause
        self._numbers = itertools.count(1)
        self._dice = random.Random(20260105)
        self.truth = truth

    async def begin(self, rows: int) -> None:
        """A new table of `rows` properties, before the story."""
        await self._sandbox.execute("truncate public.properties")
        found = await self._sandbox.execute(
            "insert into properties (name, state, city, price, internal_notes)"
            " select 'Listing ' || n, (array['TX','CA','NY'])[1 + n %% 3], 'Town ' || n, 0, %s"
            f" from generate_series(1, %s) n {RETURNING}",
            (MARK, rows),
        )
        self.truth.begin(found["row"] for found in found)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """While the block runs, properties come, go, move and change."""
        going = True

        async def write() -> None:
            while going:
                await self.something()
                await asyncio.sleep(self._pause)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write())
            try:
                yield
            finally:
                going = False

    async def until_written(self, count: int) -> None:
        """Wait until `writing` has committed `count` more changes."""
        until = self.truth.commits + count
        while self.truth.commits < until:
            await asyncio.sleep(RETRY_SECONDS / 5)

    async def something(self) -> None:
        keys = list(self.truth.now)
        key = self._dice.choice(keys) if keys else None
        roll = self._dice.random()
        if key is None or (roll < 0.1 and len(keys) < 60):
            await self.insert()
        elif roll < 0.15:
            await self.delete(key)
        elif roll < 0.25:
            await self.move(key)
        elif roll < 0.3:
            await self.update("owner_contact = %s", f"{MARK} {next(self._numbers)}", key=key)
        else:
            await self.change(key)

    async def change(self, key: Any = None) -> None:
        """Another price, and another note that is nobody's business; of all without a key."""
        number = next(self._numbers)
        await self.update("price = %s, internal_notes = %s", number, f"{MARK} {number}", key=key)

    async def move(self, key: Any = None) -> None:
        """Into another state, or out of all of them."""
        now = self.truth.now[key]["state"] if key is not None else None
        state = self._dice.choice([state for state in STATES if state != now])
        await self.update("state = %s, price = %s", state, next(self._numbers), key=key)

    async def update(self, values: str, *parameters: Any, key: Any = None) -> None:
        """Set `values` in the row of `key`, in all without one."""
        where, last = ("", ()) if key is None else ("where id = %s", (key,))
        query = f"update properties set {values} {where} {RETURNING}"
        await self._write(query, (*parameters, *last), self._committed)

    async def insert(self, count: int = 1) -> None:
        """`count` new properties in one transaction."""
        await self._write(
            "insert into properties (name, state, city, price, internal_notes)"
            " select 'New ' || n, %s, 'Town', n, %s"
            f" from generate_series(%s::int, %s::int) n {RETURNING}",
            (
                self._dice.choice(STATES),
                MARK,
                first := next(self._numbers),
                first + count - 1,
            ),
            self._committed,
        )

    async def delete(self, *keys: Any) -> None:
        """The rows of `keys`, in one transaction."""
        await self._write(
            "delete from properties where id = any(%s::uuid[]) returning to_jsonb(id) as row",
            (list(keys),),
            self._removed,
        )

    async def rename(self, key: Any) -> None:
        """Give a property another key, in one statement."""

        def renamed(rows: list[Any]) -> None:
            self._removed([key])
            self._committed(rows)

        await self._write(
            f"update properties set id = gen_random_uuid(), price = %s where id = %s {RETURNING}",
            (next(self._numbers), key),
            renamed,
        )

    async def truncate(self) -> None:
        await self._write("truncate properties", (), lambda _: self._removed(list(self.truth.now)))

    async def reread(self) -> None:
        """Look at the table, where it is not known what was committed."""
        while True:
            try:
                rows = await self._sandbox.execute("select to_jsonb(p) as row from properties p")
            except psycopg.Error:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.truth.reread(row["row"] for row in rows)
                return

    async def _write(
        self, query: str, parameters: tuple[Any, ...], record: Callable[[list[Any]], None]
    ) -> None:
        try:
            rows = await self._sandbox.execute(query, parameters)
        except psycopg.Error:
            await self.reread()  # the database went away; perhaps after the commit
        else:
            record([row["row"] for row in rows])

    def _committed(self, rows: list[Any]) -> None:
        for row in rows:
            self.truth.commit(row)

    def _removed(self, keys: list[Any]) -> None:
        for key in keys:
            self.truth.remove(key)
