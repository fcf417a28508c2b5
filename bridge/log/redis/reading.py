"""Reads the recent entries of the stream."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from bridge.log.redis.stream_entry import append_of, kind_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from bridge.log.base import Entry

ENTRIES_PER_READ: Final = 100
"""Entries of the stream in one answer, each with up to some hundred events."""


async def read_entries(
    client: Redis, stream: str, *, after: int, last_id: str, epoch: str
) -> list[Entry]:
    """Return the events that the stream has after number `after`, up to the entry `last_id`, as
    of `epoch`.
    """
    found: list[Entry] = []
    start = f"({after}-{2**64 - 1}" if after else "-"
    while True:
        portion: Any = await client.xrange(stream, start, last_id, count=ENTRIES_PER_READ)
        for _, fields in portion:
            if kind_of(fields) == b"a":
                found += append_of(fields).entries(epoch)
                await asyncio.sleep(0)
        if len(portion) < ENTRIES_PER_READ:
            return [entry for entry in found if entry.position.seq > after]
        start = f"({portion[-1][0].decode()}"
