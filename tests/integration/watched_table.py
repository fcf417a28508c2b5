"""Tables of the sandbox that Realtime watches, for the tests of its server."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.sandbox import Sandbox

NUMBERS = itertools.count()


async def create_table(server: Sandbox, *, alone: bool = False) -> str:
    """Create and publish a table `(id int primary key, v text)`; return its name.

    `alone`: it is then the only one of the publication.
    """
    name = f"watched{next(NUMBERS)}"
    await server.execute(f"create table public.{name} (id int primary key, v text)")
    await server.execute(f"grant all on public.{name} to service_role")
    verb = "set" if alone else "add"
    await server.execute(f"alter publication supabase_realtime {verb} table public.{name}")
    return name


async def insert(server: Sandbox, table: str, number: int) -> None:
    await server.execute(f"insert into {table} values (%s)", (number,))


async def until(reached: Callable[[], object]) -> None:
    """Wait for a condition on the server's counters."""
    async with asyncio.timeout(30):
        while not reached():
            await asyncio.sleep(0.01)
