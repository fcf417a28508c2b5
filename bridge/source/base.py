"""Interfaces of a source of changes and of reads of its table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.changes import Key, Record
    from bridge.source.change_queue import ChangeQueue

SourceKind: TypeAlias = Literal["realtime", "postgres"]
"""The sources that `BRIDGE_SOURCE` can select; `factory.py` creates them."""


class SourceState(StrEnum):
    CONNECTING = "connecting"  # connecting and joining
    JOINED = "joined"  # the join was accepted, no changes are delivered yet
    LIVE = "live"  # changes are delivered
    DOWN = "down"  # between two attempts


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """A replication slot as of its last reading. Sizes are bytes of WAL."""

    name: str
    lag: int
    """Written since the position that the log holds."""
    retained: int
    """Kept by the server for the slot."""
    safe: int | None
    """May be written before the server may drop what the slot needs; None: there is no limit."""


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """State of a source. Times are seconds of the monotonic clock.

    `last_activity_at` is the last time at which the upstream was known to work: a change, a
    `system` ok, or a read of the table that found nothing the stream had not delivered.
    """

    state: SourceState
    since: float
    last_activity_at: float | None = None
    attempts: int = 0
    error: str | None = None
    failing_since: float | None = None
    """The first failure since it was live last, or since the start; None: there was none."""
    slot: SlotStatus | None = None
    """None: the source has no slot, or has not read it yet."""


@dataclass(frozen=True, slots=True)
class ReadRights:
    """Which rows the reads of a table can show.

    - `role`: the database role of the reads, or the one that the API key claims.
    - `filtered`: whether row level security may hide rows from it; None: that can't be known.
    - `update_triggers`: triggers that run before each UPDATE of a row; None: they are not known.
    """

    role: str
    filtered: bool | None = None
    update_triggers: tuple[str, ...] | None = None


class Source(Protocol):
    def status(self) -> SourceStatus: ...

    async def run(self, queue: ChangeQueue) -> None:
        """Put changes and gaps into `queue` until cancelled. Recovers from every failure of the
        upstream; raises only for a defect of its own.
        """
        ...


class Table(Protocol):
    """Reads of the table. Records hold `Projection.selected`, with values as changes have them.

    Every method raises `errors.TableUnreadableError` if the table cannot be read.
    """

    async def page(
        self, after: Key | None, limit: int, up_to: Key | None = None
    ) -> Sequence[Record]:
        """Return up to `limit` rows with keys above `after`, in key order, and with `up_to` none
        past that key. Empty: the end.
        """
        ...

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        """Return keys as `page` does rows."""
        ...

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        """Return the rows of `keys` that exist now."""
        ...

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        """Return up to `limit` rows in the order of (`updated_at`, key), after (`since`, `after`);
        with `after` None including `since`.
        """
        ...

    async def newest(self) -> Record | None:
        """Return key and `updated_at` of the row with the greatest `updated_at` that is not in the
        future (`clock.is_future`), null if there is none; None: no rows.
        """
        ...

    async def count(self) -> int:
        """Return the exact number of rows that a read shows."""
        ...

    async def rights(self) -> ReadRights:
        """Return which rows the reads can show at present."""
        ...

    async def digest(self, after: Key | None, up_to: Key | None) -> str | None:
        """Return a digest of all rows with keys above `after`, up to and with `up_to`: it differs
        if any of them does. None: the database has no function for it. Never raises.
        """
        ...


class TableConnection(Table, Protocol):
    """A `Table` that is opened before the first read and closed at the end."""

    @property
    def key_advice(self) -> str | None:
        """What the key costs or requires, for an operator, once a row was read; None: nothing."""
        ...

    async def unusual_updates(self) -> tuple[int, int]:
        """Return in how many rows `updated_at` is null, and in how many it is in the future."""
        ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...
