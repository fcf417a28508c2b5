"""Positions in the WAL, and the position from which the stream of a slot is resumed. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_POSITION: Final = re.compile(
    r"(\d{1,20}(?:/\d{1,10})?):([0-9A-F]{1,16})(?:\+([0-9A-F]{1,16})\.(\d{1,19}))?"
)


def parse_lsn(text: str) -> int:
    """Return the number of an LSN as PostgreSQL writes it (`16/B374D848`)."""
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(lsn: int) -> str:
    """Return an LSN as PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """How much of the stream the log holds.

    - `system`: PostgreSQL's system identifier, with the timeline after the first failover. LSNs of
      another cluster mean nothing here.
    - `lsn`: transactions whose commit begins before it are complete.
    - `partial`, `changes`: of the transaction whose commit is at `partial`, the first `changes` of
      the table; 0: of none. PostgreSQL sends a transaction from its start after a reconnect.
    """

    system: str
    lsn: int
    partial: int = 0
    changes: int = 0

    def __str__(self) -> str:
        part = f"+{self.partial:X}.{self.changes}" if self.changes else ""
        return f"{self.system}:{self.lsn:X}{part}"

    @classmethod
    def parse(cls, text: str | None) -> StreamPosition | None:
        """Return the position that `text` spells, or None."""
        match = _POSITION.fullmatch(text or "")
        if match is None:
            return None
        system, lsn, partial, changes = match.groups()
        return cls(system, int(lsn, 16), int(partial or "0", 16), int(changes or 0))
