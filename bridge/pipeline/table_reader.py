"""One attempt to read the table, and which kinds of reads fail at present."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from bridge.errors import TableUnreadableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from bridge.clock import Clock
    from bridge.pipeline.merger import ChangeMerger

log = logging.getLogger(__name__)

T = TypeVar("T")

DELIVERY_SECONDS: Final = 3.0
"""For which a missing proof is not logged: the stream may still deliver the deletes."""

REPORT_SECONDS: Final = 30.0
"""Between two log lines about a kind of read that goes on failing."""


class ReadKind(StrEnum):
    PAGE = "rows in key order"
    KEYS = "keys"
    RECENT = "recent rows"
    ROWS = "single rows"
    NEWEST = "the newest row"
    RIGHTS = "the proof that missing rows are deleted"
    DIGEST = "the digest of a range of rows"


_LEGS: Final = (
    (ReadKind.PAGE, ReadKind.RECENT),  # what rows contain
    (ReadKind.KEYS, ReadKind.PAGE),  # which rows exist
    (ReadKind.ROWS,),  # what only a read of the row can settle
    (ReadKind.RIGHTS,),  # whether a row that is not found is deleted
)
"""What has to be read, each with the kinds of reads that show it."""


@dataclass(slots=True)
class ReadFailure:
    """A kind of read whose last attempt failed. Times are monotonic seconds."""

    since: float
    """The first attempt that failed."""
    error: str = ""
    attempts: int = 0
    report_due: float = 0.0


class TableReader:
    """Reads the table and reports the begin and the end of each read to the merger."""

    def __init__(self, merger: ChangeMerger, clock: Clock) -> None:
        self._merger = merger
        self._clock = clock
        self._failures: dict[ReadKind, ReadFailure] = {}
        self._tried: set[ReadKind] = set()
        self.seconds = 0.0
        """Time that the database took for reads that succeeded."""

    @property
    def error(self) -> str | None:
        """Why a kind of read fails at present: of those that fail, the first one's error."""
        failures = sorted(self._failures.values(), key=lambda failure: failure.since)
        return failures[0].error if failures else None

    def fails(self, kind: ReadKind) -> bool:
        """Return whether the last attempt of a kind of read failed."""
        return kind in self._failures

    @property
    def unreadable_since(self) -> float | None:
        """Since when something can't be read by any kind of read; None: everything can be."""
        blind = []
        for leg in _LEGS:
            tried = [kind for kind in leg if kind in self._tried]
            if tried and all(kind in self._failures for kind in tried):
                blind.append(min(self._failures[kind].since for kind in tried))
        return min(blind, default=None)

    @asynccontextmanager
    async def read(self, kind: ReadKind, query: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
        """Yield the result of `query`. Its rows may be passed to `ChangeMerger.apply_read` within
        the block. Raises `TableUnreadableError`.
        """
        self._merger.begin_read()
        try:
            yield await self.attempt(kind, query)
        finally:
            self._merger.end_read()

    async def attempt(self, kind: ReadKind, query: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `query`, of which no rows are merged. Raises
        `TableUnreadableError`.
        """
        began = self._clock.monotonic()
        self._tried.add(kind)
        try:
            result = await query()
        except TableUnreadableError as error:
            self._failed(kind, error, began)
            raise
        self.seconds += self._clock.monotonic() - began
        self._failures.pop(kind, None)
        return result

    def settled(self, kind: ReadKind) -> None:
        """Record that what a kind of read was for is no longer needed."""
        self._failures.pop(kind, None)

    def _failed(self, kind: ReadKind, error: TableUnreadableError, began: float) -> None:
        quiet = DELIVERY_SECONDS if kind is ReadKind.RIGHTS else 0.0
        failure = self._failures.setdefault(kind, ReadFailure(began, report_due=began + quiet))
        failure.error = str(error)
        failure.attempts += 1
        now = self._clock.monotonic()
        if now >= failure.report_due:
            failure.report_due = now + REPORT_SECONDS
            log.log(
                logging.ERROR if error.permanent else logging.WARNING,
                "%s could not be read (attempt %d, the first one %.0f s ago): %s",
                kind.value,
                failure.attempts,
                now - failure.since,
                error,
            )
