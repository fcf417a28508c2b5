"""The bridge from PostgreSQL's replication to the log, without clients: source, pipeline, log."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from bridge.log.backends import create_backend
from bridge.options import log_options, reconcile_options, source_options
from bridge.pipeline.event_sink import EventSink
from bridge.pipeline.pipeline import Pipeline
from bridge.replica import Replica
from bridge.settings import Settings
from bridge.source.base import SourceState
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from bridge.log.base import Entry, EventLog, Position
    from bridge.sandbox import Sandbox
    from bridge.source.base import Source, TableConnection

POLL_SECONDS = 0.005


def replication_settings(sandbox: Sandbox, directory: Path, **overrides: Any) -> Settings:
    return Settings(
        **{
            "supabase_url": sandbox.supabase_url,
            "supabase_secret_key": sandbox.supabase_key,
            "source": "postgres",
            "database_url": sandbox.database_url,
            "log": f"sqlite:///{directory / 'bridge.sqlite3'}",
            **overrides,
        }
    )


async def drop_replication(sandbox: Sandbox, name: str) -> None:
    """Drop the slot and the publication of that name, as soon as nothing streams from it."""
    async with asyncio.timeout(20):
        while await sandbox.execute(
            "select 1 from pg_replication_slots where slot_name = %s and active", (name,)
        ):
            await asyncio.sleep(POLL_SECONDS)
    await sandbox.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s",
        (name,),
    )
    await sandbox.execute(f"drop publication if exists {name}")


class ReplicationRig:
    """Created by `open`; runs inside its `async with`."""

    def __init__(self, settings: Settings, log: EventLog, table: TableConnection) -> None:
        self.log = log
        self.table = table
        self.queue = ChangeQueue(settings.queue_changes)
        self.queue.stored = log.progress.stream
        self.source: Source = create_source(source_options(settings), table)
        self.replica = Replica(log, settings.projection.known)
        self.commits: list[list[dict[str, Any]]] = []
        """The envelopes of each commit with events."""
        self.replica.subscribe(self._publish)
        self.pipeline = Pipeline(
            projection=settings.projection,
            table=table,
            queue=self.queue,
            sink=EventSink(settings.projection, log, self.replica),
            options=reconcile_options(settings),
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings) -> AsyncIterator[ReplicationRig]:
        log = create_backend(log_options(settings)).log
        await log.open()
        table = create_table(source_options(settings))
        await table.open()
        rig = cls(settings, log, table)
        await rig.replica.load()
        try:
            async with asyncio.TaskGroup() as tasks:
                parts = (rig.replica.run(), rig.pipeline.run(), rig.source.run(rig.queue))
                work = [tasks.create_task(part) for part in parts]
                try:
                    yield rig
                finally:
                    for task in work:
                        task.cancel()
        finally:
            await table.close()
            await log.close()

    async def live(self) -> None:
        """Wait until changes are streamed and the rows are those of the table."""
        await self.until(
            lambda: (
                self.source.status().state is SourceState.LIVE
                and self.pipeline.status().reconciled
                and not self.pipeline.status().scanning
            )
        )

    @property
    def events(self) -> list[dict[str, Any]]:
        return [envelope for commit in self.commits for envelope in commit]

    def logged(self, after: Position) -> list[dict[str, Any]]:
        """Return all envelopes of the log after a position, also of an earlier run."""
        located = self.log.locate(after)
        assert located is not None
        return [orjson.loads(entry.event.envelope) for entry in self.log.after(located)]

    def of(self, key: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the events of a row: name and data."""
        return [
            (each["event"], each["data"])
            for each in self.events
            if each["data"]["property_id"] == key
        ]

    def row(self, key: Any) -> dict[str, Any] | None:
        row = self.pipeline.rows.get(key)
        return None if row is None else self.pipeline.rows.decode(row)

    async def until(self, reached: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until `reached` returns true. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while not reached():
                await asyncio.sleep(POLL_SECONDS)

    def _publish(self, entries: Sequence[Entry]) -> None:
        self.commits.append([orjson.loads(entry.event.envelope) for entry in entries])
