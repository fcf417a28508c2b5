"""The log in one SQLite file: entries and rows are durable.

| table | holds |
|---|---|
| `entries` | `seq`, `at` (Unix seconds), `route` (JSON, see `event_text`), `envelope` (JSON) |
| `rows` | `key` (JSON), `row` (JSON, as `rows.RowStore` encodes it) |
| `facts` | `epoch`, `shape`, `filled` (initial load done), `cursor` (watermark), `stream` |
| `epochs` | `epoch` of an earlier process, `last`: the `seq` of its last entry |
| `sessions` | `name`, `session` (see `session_store`) |
| `sign_outs` | `kind` (user or session), `name`, `at` (Unix seconds) |

A file with neither entries nor a complete initial load begins a new history.

**Every start begins a new epoch**, stored with the first write, together with the last entry of the
epoch before it. Where the file went back to an earlier state (an older copy was put back, or a
damaged WAL was cut off), the entries that it lost have positions of an epoch that the file does not
know, or past the last entry that it knows of their epoch, and both are rejected.

Replays are answered from memory: it holds the same entries as the file, and a recovery must not
wait for a disk.
"""

from __future__ import annotations

import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.clock import SystemClock
from bridge.errors import LogUnusableError
from bridge.log.base import Entry, Note, Position, Progress
from bridge.log.commit_feed import CommitFeed
from bridge.log.event_text import event_of, key_of, key_text, route_of
from bridge.log.recent_entries import RecentEntries

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Sequence

    from bridge.changes import Key
    from bridge.clock import Clock
    from bridge.events import Event
    from bridge.log.base import Commit, RowUpdate
    from bridge.log.sqlite.database import Database

log = logging.getLogger(__name__)

MIGRATIONS: Final = (
    """
    CREATE TABLE entries (seq INTEGER PRIMARY KEY, at REAL NOT NULL, route TEXT NOT NULL,
                          envelope TEXT NOT NULL);
    CREATE TABLE rows (key TEXT PRIMARY KEY, row TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE sessions (name TEXT PRIMARY KEY, session TEXT NOT NULL) WITHOUT ROWID
    """,
    """
    CREATE TABLE sign_outs (kind TEXT, name TEXT, at REAL NOT NULL, PRIMARY KEY (kind, name))
                           WITHOUT ROWID
    """,
    # Routes were [name, key, rooms]. The facts of a change are added to them, as far as the rooms
    # and the envelope have them.
    """
    UPDATE entries SET route = substr(route, 1, length(route) - 1) || ',' || (
        WITH room AS (
            SELECT value NOT LIKE 'member/%' AS public,
                   CASE WHEN value LIKE 'member/%' THEN substr(value, 8) ELSE value END AS name
            FROM json_each(route, '$[2]')),
        region AS (
            SELECT json_group_array(substr(name, 8)) AS names FROM room
            WHERE name LIKE 'region:%' AND public = (SELECT max(public) FROM room)),
        fact AS (
            SELECT json_extract(route, '$[0]') AS name, (SELECT names FROM region) AS regions,
                   json_extract(envelope, '$.data.moved.from') AS moved_from,
                   json_extract(envelope, '$.data.moved.to') AS moved_to)
        SELECT (SELECT CASE min(public) || max(public) WHEN '00' THEN '["member"]'
                            WHEN '01' THEN '["public","member"]' ELSE '["public"]' END FROM room)
               || ',' || CASE name WHEN 'property-updated' THEN coalesce(moved_from, regions)
                                   WHEN 'property-deleted' THEN regions ELSE '[]' END
               || ',' || CASE name WHEN 'property-updated' THEN coalesce(moved_to, regions)
                                   WHEN 'property-created' THEN regions ELSE '[]' END
               || ',' || CASE name WHEN 'property-updated'
                              THEN (SELECT json_group_array(key)
                                    FROM json_each(envelope, '$.data.changes'))
                              ELSE '[]' END
        FROM fact) || ']'
    """,
    "CREATE TABLE epochs (epoch TEXT PRIMARY KEY, last INTEGER NOT NULL)",
)
"""The steps that make the schema. Append only."""

ROWS_PER_FETCH: Final = 5_000
"""Rows that are read, and then loaded by the event loop, in one step: each takes about 1 ms."""

MAX_EPOCHS: Final = 1_000
"""Epochs of earlier processes that are kept, some 50 bytes each."""

# The route and the envelope of each entry are one string with a line break between them: SQLite
# parses an array of strings in one pass, and nested JSON once more for every part.
INSERT_ENTRIES: Final = """
    INSERT INTO entries (seq, at, route, envelope)
    SELECT ? + key, ?, substr(value, 1, instr(value, char(10)) - 1),
           substr(value, instr(value, char(10)) + 1)
    FROM json_each(?)"""
TRIM_ENTRIES: Final = "DELETE FROM entries WHERE seq < ?"
PUT_ROWS: Final = """
    INSERT INTO rows (key, row) SELECT key, value FROM json_each(?) WHERE type <> 'null'
    ON CONFLICT (key) DO UPDATE SET row = excluded.row"""
DROP_ROWS: Final = (
    "DELETE FROM rows WHERE key IN (SELECT key FROM json_each(?) WHERE type = 'null')"
)
PUT_EPOCH: Final = "INSERT OR REPLACE INTO epochs (epoch, last) VALUES (?, ?)"
TRIM_EPOCHS: Final = (
    "DELETE FROM epochs WHERE rowid NOT IN (SELECT rowid FROM epochs ORDER BY rowid DESC LIMIT ?)"
)
PUT_FACTS: Final = """
    INSERT INTO facts (name, value) SELECT key, value FROM json_each(?) WHERE true
    ON CONFLICT (name) DO UPDATE SET value = excluded.value"""


class SqliteEventLog:
    """Keeps at most `events` entries, none older than `seconds`, but always the newest one."""

    def __init__(
        self,
        database: Database,
        *,
        shape: str,
        events: int,
        seconds: float,
        clock: Clock | None = None,
        continues: bool = False,
    ) -> None:
        """`shape` identifies the columns of the rows. A file with another shape begins a new epoch:
        its rows can't be compared with the table. `continues`: go on with the epoch of the process
        before, for the processes that follow it and are still there.
        """
        self._database = database
        self._continues = continues
        self._shape = shape
        self._events = events
        self._seconds = seconds
        self._clock = clock or SystemClock()
        self._entries = self._recent_entries("closed", 0, {})
        self._feed = CommitFeed(self._entries.head)
        self._progress = Progress()
        self.process = secrets.token_hex(6)

    async def open(self) -> None:
        await self._database.open(MIGRATIONS)
        facts, earlier = await self._database.read(_facts)
        head, entries = 0, list[Entry]()
        if facts.get("shape") != self._shape:
            if facts:
                log.warning(
                    "the log %s was written for other columns or another key: a new epoch begins, "
                    "and clients load a new snapshot",
                    self._database.path,
                )
            facts = {"epoch": _epoch(secrets.token_hex(6)), "shape": self._shape}
            earlier = {}
            await self._database.write(lambda connection: _begin(connection, facts))
        else:
            before = facts["epoch"]
            epoch = before if self._continues else _epoch(before.partition(".")[0])
            head, entries = await self._database.read(partial(self._read, epoch))
            filled = bool(facts.get("filled"))
            if not (filled or head):
                # The initial load emits no events: a client with rows of an earlier one, which the
                # file has lost, would keep them.
                facts = {"epoch": _epoch(secrets.token_hex(6)), "shape": self._shape}
                earlier = {}
                self._database.before_first_write(partial(_begin, facts=facts))
            elif epoch != before:
                earlier[before] = head
                self._database.before_first_write(partial(_continue, before, head, epoch))
                facts["epoch"] = epoch
            if not filled:
                await self._drop_rows()
        self._entries = self._recent_entries(facts["epoch"], head, earlier)
        self._entries.load(entries)
        self._feed = CommitFeed(self._entries.head)
        self._progress = Progress(
            bool(facts.get("filled")), facts.get("cursor") or None, facts.get("stream") or None
        )

    async def rows(self) -> AsyncIterator[Sequence[tuple[Key, bytes]]]:
        cursor = await self._database.read(
            lambda connection: connection.execute("SELECT key, CAST(row AS BLOB) FROM rows")
        )
        while rows := await self._database.read(
            lambda _: [(key_of(key), row) for key, row in cursor.fetchmany(ROWS_PER_FETCH)]
        ):
            yield rows

    @property
    def progress(self) -> Progress:
        return self._progress

    @property
    def error(self) -> str | None:
        return self._database.error

    @property
    def head(self) -> Position:
        return self._entries.head

    @property
    def recent(self) -> RecentEntries:
        return self._entries

    async def append(
        self,
        events: Sequence[Event],
        rows: Sequence[RowUpdate],
        progress: Progress | None = None,
    ) -> Commit:
        entries = self._entries.next(events)
        statements: list[tuple[str, tuple[Any, ...]]] = []
        if entries:
            stored = orjson.dumps([_stored(event) for event in events]).decode()
            first = entries[0].position.seq
            statements.append((INSERT_ENTRIES, (first, entries[0].at, stored)))
            # The newest entry stays, so that the next process continues its numbers.
            keep = min(max(self._entries.first, first + len(entries) - self._events), first)
            statements.append((TRIM_ENTRIES, (keep,)))
        if rows:
            updates = orjson.dumps(
                {key_text(key): None if row is None else row.decode() for key, row in rows}
            ).decode()
            statements += [(PUT_ROWS, (updates,)), (DROP_ROWS, (updates,))]
        if progress is not None:
            facts = {
                "filled": "yes" if progress.loaded else "",
                "cursor": progress.watermark or "",
                "stream": progress.stream or "",
            }
            statements.append((PUT_FACTS, (orjson.dumps(facts).decode(),)))

        def job(connection: sqlite3.Connection) -> None:
            for statement, parameters in statements:
                connection.execute(statement, parameters)

        commit: Commit | None = None

        def committed() -> None:
            nonlocal commit
            self._entries.add(entries)
            self._progress = progress or self._progress
            commit = self._feed.add(entries, rows, progress)

        try:
            # A caller that is cancelled meanwhile does not keep a stored commit from followers.
            await self._database.write(job, committed)
        except LogUnusableError:
            self._entries.give_back()
            raise
        assert commit is not None, "the transaction is committed"
        return commit

    async def note(self, kind: str, data: bytes, *, origin: str = "") -> None:
        self._feed.add((), (), None, (Note(kind, origin or self.process, data),))

    def locate(self, position: Position) -> Position | None:
        return self._entries.locate(position)

    def after(self, position: Position) -> Sequence[Entry]:
        return self._entries.after(position)

    def follow(self, after: Position) -> AsyncIterator[Commit]:
        return self._feed.follow(self._entries.locate(after) or after)

    async def close(self) -> None:
        self._entries.clear()
        await self._database.close()
        self._feed.close()

    async def _drop_rows(self) -> None:
        """Delete the rows of an initial load that was interrupted: they are incomplete."""
        [found] = await self._database.read(
            lambda connection: connection.execute("SELECT EXISTS (SELECT 1 FROM rows)").fetchone()
        )
        if found:
            await self._database.write(lambda connection: connection.execute("DELETE FROM rows"))

    def _recent_entries(self, epoch: str, seq: int, earlier: dict[str, int]) -> RecentEntries:
        return RecentEntries(
            epoch,
            seq,
            events=self._events,
            seconds=self._seconds,
            clock=self._clock,
            earlier=earlier,
        )

    def _read(self, epoch: str, connection: sqlite3.Connection) -> tuple[int, list[Entry]]:
        """Return the number of the last entry, and the newest entries as of `epoch`."""
        [head] = connection.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()
        found = connection.execute(
            "SELECT seq, at, route, CAST(envelope AS BLOB) FROM entries WHERE seq > ? ORDER BY seq",
            (head - self._events,),
        )
        return head, [_entry(epoch, *columns) for columns in found]


def _epoch(history: str) -> str:
    """Return a new epoch. `history` stays the same for as long as the entries continue."""
    return f"{history}.{secrets.token_hex(4)}"


def _facts(connection: sqlite3.Connection) -> tuple[dict[str, str], dict[str, int]]:
    """Return the facts, and the last entry of each earlier epoch."""
    return (
        dict(connection.execute("SELECT name, value FROM facts")),
        dict(connection.execute("SELECT epoch, last FROM epochs")),
    )


def _continue(before: str, head: int, epoch: str, connection: sqlite3.Connection) -> None:
    """Store that `before` ended at `head` and `epoch` continues from there."""
    connection.execute(PUT_EPOCH, (before, head))
    connection.execute(TRIM_EPOCHS, (MAX_EPOCHS,))
    connection.execute(PUT_FACTS, (orjson.dumps({"epoch": epoch}).decode(),))


def _begin(connection: sqlite3.Connection, facts: dict[str, str]) -> None:
    """Begin a new history. Sessions belong to the old one."""
    for table in ("entries", "rows", "facts", "sessions", "epochs"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a constant
    connection.execute(PUT_FACTS, (orjson.dumps(facts).decode(),))


def _stored(event: Event) -> str:
    return f"{route_of(event).decode()}\n{event.envelope.decode()}"


def _entry(epoch: str, seq: int, at: float, route: str, envelope: bytes) -> Entry:
    return Entry(Position(epoch, seq), event_of(route, envelope), at)
