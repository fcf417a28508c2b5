"""Event logs against a model: appends, replays, expiry and restarts in any order."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.clock import ManualClock
from bridge.errors import PositionGoneError
from bridge.events import Event
from bridge.log.base import Position, Progress
from bridge.log.memory import MemoryEventLog
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.event_log import SqliteEventLog
from tests.support.examples import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.changes import Key
    from bridge.log.base import Entry, EventLog

LIMIT = 8
SECONDS = 100.0

KEYS = st.one_of(
    st.integers(-(2**70), 2**70), st.text(max_size=5).filter(lambda t: t.isprintable())
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


class MemoryLogMachine(RuleBasedStateMachine):
    """The log in memory, in one process."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.runner = asyncio.Runner()
        self.log: EventLog = self._make()
        self.runner.run(self.log.open())
        self.epochs = [self.log.head.epoch]
        self.ends: dict[str, int] = {}
        """The number of entries at the end of each earlier epoch."""
        self.written = True
        """Whether the file knows the present epoch; a new file does."""
        self.entries: list[Entry] = []
        self.rows: dict[Key, bytes] = {}
        self.progress = Progress()

    def _make(self) -> EventLog:
        return MemoryEventLog(LIMIT, SECONDS, self.clock)

    def teardown(self) -> None:
        self.runner.run(self.log.close())
        self.runner.close()

    # -- actions

    @rule(
        events=st.lists(st.tuples(KEYS, JSON), max_size=5),
        rows=st.lists(
            st.tuples(KEYS, st.none() | JSON), max_size=4, unique_by=lambda r: repr(r[0])
        ),
        filled=st.none() | st.booleans(),
    )
    def append(
        self,
        events: list[tuple[Key, object]],
        rows: list[tuple[Key, object]],
        filled: bool | None,
    ) -> None:
        appended = [
            Event("property-updated", key, ("r", str(key)), _json(value)) for key, value in events
        ]
        updates = [(key, None if value is None else _json(value)) for key, value in rows]
        progress = None if filled is None else Progress(filled, "c" if filled else None)
        entries = self.runner.run(self.log.append(appended, updates, progress)).entries
        assert [entry.event for entry in entries] == appended
        assert [entry.position.seq for entry in entries] == [
            len(self.entries) + number for number in range(1, len(appended) + 1)
        ]
        self.written = True
        self.entries += entries
        for key, row in updates:
            self.rows.pop(key, None)
            if row is not None:
                self.rows[key] = row
        self.progress = progress or self.progress

    @rule(seconds=st.floats(0, 60))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(back=st.integers(-1, LIMIT + 2), age=st.integers(0, 3))
    def read_entries_after(self, back: int, age: int) -> None:
        epoch = self.epochs[-1 - min(age, len(self.epochs) - 1)]
        seq = len(self.entries) - back
        expected = self.entries[max(seq, 0) :]
        oldest = self.clock.wall() - SECONDS
        kept = len(expected) <= LIMIT and all(entry.at >= oldest for entry in expected)
        try:
            found: Sequence[Entry] | None = self.log.after(Position(epoch, seq))
        except PositionGoneError:
            found = None
        if 0 <= seq <= self.ends.get(epoch, len(self.entries)) and kept:
            assert found == [
                replace(entry, position=Position(self.epochs[-1], entry.position.seq))
                for entry in expected
            ]
        else:
            assert found is None

    # -- invariants

    @invariant()
    def head_is_the_last_entry(self) -> None:
        assert self.log.head == Position(self.epochs[-1], len(self.entries))

    @invariant()
    def progress_is_the_last_one_stored(self) -> None:
        assert self.log.progress == self.progress


class FileLogMachine(MemoryLogMachine):
    """The log in a file, which is opened again and again."""

    def __init__(self) -> None:
        self.folder = TemporaryDirectory()
        super().__init__()

    def _make(self) -> EventLog:
        database = Database(Path(self.folder.name) / "log.sqlite3")
        return SqliteEventLog(database, shape="", events=LIMIT, seconds=SECONDS, clock=self.clock)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.log.close())
        self.log = self._make()
        self.runner.run(self.log.open())
        assert self.log.head.epoch not in self.epochs
        # An epoch in which nothing was written is not known later.
        self.ends[self.epochs[-1]] = len(self.entries) if self.written else -1
        self.written = False
        self.epochs.append(self.log.head.epoch)
        if not self.progress.loaded:
            # Rows of an interrupted initial load are deleted, which writes the new epoch.
            self.written = bool(self.rows)
            self.rows = {}
            if not self.entries:
                self.ends = dict.fromkeys(self.epochs[:-1], -1)  # a new history
        assert self.runner.run(_rows(self.log)) == self.rows


async def _rows(log: EventLog) -> dict[Key, bytes]:
    return {key: row async for rows in log.rows() for key, row in rows}


def _json(value: object) -> bytes:
    return orjson.dumps(value)


MemoryLogMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
FileLogMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=30)
test_memory_log = MemoryLogMachine.TestCase
test_file_log = FileLogMachine.TestCase


def test_epoch_that_deleted_rows_is_known_later() -> None:
    machine = FileLogMachine()
    try:
        machine.append(events=[(0, None)], rows=[(0, [])], filled=None)
        for _ in range(3):
            machine.reopen()
        for age in range(4):
            machine.read_entries_after(back=0, age=age)
        assert [machine.ends[epoch] for epoch in machine.epochs[:-1]] == [1, 1, -1]
    finally:
        machine.teardown()
