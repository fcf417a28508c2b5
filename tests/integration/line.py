"""The bridge from Supabase to the log, without clients' connections: source, pipeline, one client
that hears everything.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bridge.log.memory import MemoryEventLog
from bridge.options import reconcile_options, source_options
from bridge.pipeline.event_sink import EventSink
from bridge.pipeline.pipeline import Pipeline
from bridge.source.base import SourceState
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table
from tests.integration.story import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bridge.settings import Settings
    from bridge.source.base import Table

LOOK_SECONDS = 0.01


class Line:
    """Made by `Line.open()`, at work inside its `async with`."""

    def __init__(self, settings: Settings, table: Table) -> None:
        self.client = Client(settings.projection)
        self.inbox = ChangeQueue(settings.queue_changes)
        self.source = create_source(source_options(settings), table)
        log = MemoryEventLog(settings.log_events, settings.log_seconds)
        self.pipeline = Pipeline(
            projection=settings.projection,
            table=table,
            queue=self.inbox,
            sink=EventSink(settings.projection, log, publish=self.client.hear),
            options=reconcile_options(settings),
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[Line]:
        table = create_table(source_options(settings))
        await table.open()
        line = cls(settings, table)
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = (line.source.run(line.inbox), line.pipeline.run())
                work = [tasks.create_task(part) for part in parts]
                try:
                    yield line
                finally:
                    for task in work:
                        task.cancel()
        finally:
            await table.close()

    async def begin(self) -> None:
        """Wait for the first picture of the table, which becomes the client's."""
        await self.until(lambda: self.pipeline.status().reconciled)
        rows = self.pipeline.rows
        snapshot = {key: row for key in rows if (row := rows.get(key)) is not None}
        self.client.begin({key: rows.decode(row) for key, row in snapshot.items()})

    @property
    def changes(self) -> int:
        """How many the stream has brought."""
        return self.pipeline.status().counts.get("changes", 0)

    @property
    def quiet(self) -> bool:
        """Whether all that came is told and nothing is being read or doubted."""
        status = self.pipeline.status()
        return (
            self.source.status().state is SourceState.LIVE
            and not len(self.inbox)
            and not status.pending_rereads
            and status.activity == "following changes"
        )

    async def until(self, reached: Callable[[], bool], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not reached():
                await asyncio.sleep(LOOK_SECONDS)
