"""The bridge from Supabase to the log, without clients' connections: the source, the pipeline, and
one client that receives everything.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from bridge.log.memory import MemoryEventLog
from bridge.options import reconcile_options, source_options
from bridge.pipeline.event_sink import EventSink
from bridge.pipeline.pipeline import Pipeline
from bridge.replica import Replica
from bridge.source.base import SourceState
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table
from tests.support.model_client import ModelClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bridge.log.base import Entry
    from bridge.settings import Settings
    from bridge.source.base import Table

POLL_SECONDS = 0.01


class PipelineRig:
    """Created by `PipelineRig.open()`; runs inside its `async with`."""

    def __init__(self, settings: Settings, table: Table) -> None:
        self.client = ModelClient(settings.projection)
        self.inbox = ChangeQueue(settings.queue_changes)
        self.source = create_source(source_options(settings), table)
        log = MemoryEventLog(settings.log_events, settings.log_seconds)
        self.replica = Replica(log, settings.projection.known)
        self.replica.subscribe(self._publish)
        self.pipeline = Pipeline(
            projection=settings.projection,
            table=table,
            queue=self.inbox,
            sink=EventSink(settings.projection, log, self.replica),
            options=reconcile_options(settings),
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[PipelineRig]:
        table = create_table(source_options(settings))
        await table.open()
        rig = cls(settings, table)
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = (rig.source.run(rig.inbox), rig.pipeline.run(), rig.replica.run())
                work = [tasks.create_task(part) for part in parts]
                try:
                    yield rig
                finally:
                    for task in work:
                        task.cancel()
        finally:
            await table.close()

    async def begin(self) -> None:
        """Wait for the initial load, and give its rows to the client as a snapshot."""
        await self.until(lambda: self.pipeline.status().reconciled)
        rows = self.pipeline.rows
        snapshot = {key: row for key in rows if (row := rows.get(key)) is not None}
        self.client.load({str(key): rows.decode(row) for key, row in snapshot.items()})

    @property
    def changes(self) -> int:
        """Number of changes that the stream has delivered."""
        return self.pipeline.status().counts.get("changes", 0)

    @property
    def idle(self) -> bool:
        """Whether the stream is live, every change is published, and no read is due."""
        status = self.pipeline.status()
        return (
            self.source.status().state is SourceState.LIVE
            and not len(self.inbox)
            and not status.pending_rereads
            and status.activity == "following changes"
        )

    async def until(self, reached: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until `reached` returns true. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not reached():
                await asyncio.sleep(POLL_SECONDS)

    def _publish(self, entries: Sequence[Entry]) -> None:
        """Take the gateway's place. Events before the snapshot are contained in it."""
        if self.client.complete:
            self.client.receive_entries(entries)
