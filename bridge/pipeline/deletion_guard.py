"""Decides whether rows that reads do not find are deleted, or hidden from the role of the reads.

A policy of row level security that begins to hide rows, or a role that loses BYPASSRLS, makes every
read agree that the rows are gone: pages, counts and reads by key. So the database is asked whether
the reads are filtered. Deletes that the stream delivers need no proof.

Where the database has no function to answer, a loss that empties or halves the table is held: its
deletes are emitted after a time, if the API key claims a role that bypasses row level security, and
never otherwise.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from bridge.errors import DeletionUnprovenError
from bridge.pipeline.table_reader import ReadKind

if TYPE_CHECKING:
    from bridge.clock import Clock
    from bridge.pipeline.table_reader import TableReader
    from bridge.rows import RowStore
    from bridge.source.base import ReadRights, Table

log = logging.getLogger(__name__)

PROOF_SECONDS: Final = 5.0
"""How long before a read the proof may be that reads are not filtered. Another one follows it."""

FEW_ROWS: Final = 10
"""Missing rows that are not held without a proof, unless no row is left."""

BYPASSING_ROLES: Final = ("service_role", "postgres", "supabase_admin")
"""Roles that bypass row level security in a Supabase project."""

SQL: Final = "the SQL of deploy/README.md (The table)"


class DeletionGuard:
    """Proves the deletion of rows of one table."""

    def __init__(
        self,
        name: str,
        table: Table,
        rows: RowStore,
        *,
        reader: TableReader,
        clock: Clock,
        hold: float,
    ) -> None:
        """`name`: the table's, for people. `hold`: seconds for which a great loss is held where the
        database can't answer.
        """
        self._name = name
        self._table = table
        self._rows = rows
        self._reader = reader
        self._clock = clock
        self._hold = hold
        self._proven_at = float("-inf")
        self._held_since: float | None = None

    async def confirm(self, missing: int, read_at: float) -> bool:
        """Return whether rows are deleted that the read of `read_at` did not find; False: they have
        to be read once more, since nothing is known of the time before that read.

        `missing`: how many known rows are missing in all. Raises `DeletionUnprovenError` if they
        may be hidden.
        """
        before, self._proven_at = self._proven_at, float("-inf")
        check = partial(self._check, missing)
        if not await self._reader.attempt(ReadKind.RIGHTS, check):
            return True
        self._proven_at = self._clock.monotonic()
        return before >= read_at - PROOF_SECONDS

    def settled(self) -> None:
        """Record that no known row is missing any more."""
        self._held_since = None
        self._reader.settled(ReadKind.RIGHTS)

    async def _check(self, missing: int) -> bool:
        """Return whether the database proves that reads are not filtered; False: it can't, and
        deletes are emitted nevertheless.
        """
        rights = await self._table.rights()
        if rights.filtered is None:
            await self._check_loss(missing, rights)
            return False
        if rights.filtered:
            raise DeletionUnprovenError(
                f"{missing} rows of {self._name} are missing, but row level security or a lost "
                f"privilege filters what {rights.role or 'the role'} reads, so they are not taken "
                f"for deleted; expected a role that sees all rows: alter role {rights.role} "
                f"bypassrls, or a policy for select to {rights.role} using (true), and grant "
                "select on the table",
                permanent=True,
            )
        return True

    async def _check_loss(self, missing: int, rights: ReadRights) -> None:
        known, now = len(self._rows), self._clock.monotonic()
        great = missing >= known if missing <= FEW_ROWS else 2 * missing >= known
        if not great or known == 1:
            return
        if self._held_since is None:
            self._held_since = now
        waited = now - self._held_since
        counted = await self._table.count()
        if counted > known - missing / 2:
            raise DeletionUnprovenError(
                f"{missing} of {known} known rows of {self._name} are missing, but {counted} are "
                "counted: expected reads and counts to agree; check what answers /rest/v1 (a proxy "
                "or a cache)"
            )
        if rights.role in BYPASSING_ROLES and waited >= self._hold:
            log.warning(
                "%d of %d known rows of %s are taken for deleted without a proof, after %.0f s",
                missing,
                known,
                self._name,
                waited,
            )
            return
        then = (
            f"they are emitted as deleted in {self._hold - waited:.0f} s (BRIDGE_DELETE_HOLD)"
            if rights.role in BYPASSING_ROLES
            else f"{rights.role or 'the role of the key'} may be subject to it, so they are never "
            "emitted as deleted without it"
        )
        raise DeletionUnprovenError(
            f"{missing} of {known} known rows of {self._name} are missing, and the stream reported "
            "no delete of them. Row level security may hide them; the function bridge_rights, "
            f"which shows whether it does, is absent: {then}; apply {SQL}",
            permanent=True,
        )
