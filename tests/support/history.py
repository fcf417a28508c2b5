"""Positions across restarts of the bridge."""

from __future__ import annotations

from bridge.log.base import Position


def parse_in_history(text: str) -> Position | None:
    """Return the position that `text` spells, with the same epoch for all processes that continued
    one history; None if it spells none.
    """
    parsed = Position.parse(text)
    return None if parsed is None else Position(parsed.epoch.partition(".")[0], parsed.seq)
