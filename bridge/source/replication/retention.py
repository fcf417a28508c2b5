"""Warns of WAL that a slot makes PostgreSQL keep, and names what ends that."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.source.base import SlotStatus

log = logging.getLogger(__name__)


def drop_statement(slot: str) -> str:
    """Return the SQL that drops a slot."""
    return f"SELECT pg_drop_replication_slot('{slot}')"


def size(count: int) -> str:
    """Return a number of bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:  # noqa: PLR2004 - a step of the units
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


class SlotRetention:
    """Logs once when a slot holds more than `warning_bytes`, and once when it does no more."""

    def __init__(self, slot: str, warning_bytes: int) -> None:
        self._slot = slot
        self._warning_bytes = warning_bytes
        self._warned = False
        self._unbounded_named = False

    def observe(self, status: SlotStatus) -> None:
        """Take a reading."""
        if status.safe is None and not self._unbounded_named:
            self._unbounded_named = True
            log.warning(
                "max_slot_wal_keep_size is not set: while the bridge is down, the slot %s keeps "
                "all WAL, until the disk of PostgreSQL is full; set it, for instance to 10GB. "
                "Before the bridge is removed for good, run: bridge replication drop (or %s)",
                self._slot,
                drop_statement(self._slot),
            )
        above = status.retained > self._warning_bytes
        if above == self._warned:
            return
        self._warned = above
        if above:
            left = "" if status.safe is None else f"; it is lost after {size(status.safe)} more"
            log.warning(
                "PostgreSQL keeps %s of WAL for the slot %s, %s of it not yet in the log%s. If "
                "this bridge is not to catch up: %s",
                size(status.retained),
                self._slot,
                size(status.lag),
                left,
                drop_statement(self._slot),
            )
        else:
            log.info(
                "PostgreSQL keeps %s of WAL for the slot %s", size(status.retained), self._slot
            )
