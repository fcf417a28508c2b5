"""What the pipeline may ask of a source of changes, and of the table behind it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.changes import Key, Record
    from bridge.source.change_queue import ChangeQueue


class SourceState(StrEnum):
    CONNECTING = "connecting"  # building a client, joining
    JOINED = "joined"  # the server accepted the join; changes do not flow yet
    LIVE = "live"  # the server said that changes flow
    DOWN = "down"  # between two attempts


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A look at a source. Times are seconds of the monotonic clock.

    `proof_at` is when the upstream last proved that it is alive: a change, a `system` ok, or a look
    at the table that found nothing newer than what the stream had shown.
    """

    state: SourceState
    since: float
    last_activity_at: float | None = None
    attempts: int = 0
    error: str | None = None


class Source(Protocol):
    def status(self) -> SourceStatus: ...

    async def run(self, inbox: ChangeQueue) -> None:
        """Put changes and gaps into `inbox`, for ever. Recovers from everything that the upstream
        can do; raises only for a fault of its own.
        """
        ...


class Table(Protocol):
    """Reads of the table. Records hold `Projection.selected`, normalised as changes are.

    Every method raises `errors.TableUnreadableError` when the table could not be read.
    """

    async def page(self, after: Key | None, limit: int) -> Sequence[Record]:
        """Up to `limit` rows whose key follows `after`, in key order. Empty: the end."""
        ...

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        """As `page`, keys only."""
        ...

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        """Those of `keys` that exist now."""
        ...

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        """Rows by (`updated_at`, key) from (`since`, `after`) on; `after` None takes `since` in."""
        ...

    async def newest(self) -> Record | None:
        """The row with the greatest `updated_at`, key and `updated_at` only; None: no rows."""
        ...
