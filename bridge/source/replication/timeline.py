"""Timelines: how much of the WAL that a position is in a server has, after a failover.

A standby that is promoted begins a timeline. What the former primary wrote later than that is not
in it, although its LSNs are soon used again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bridge.source.replication.lsn import parse_lsn

if TYPE_CHECKING:
    from bridge.source.replication.connection import ReplicationConnection

_SWITCH: Final = re.compile(r"^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)", re.MULTILINE)
"""A line of a timeline's history: an earlier timeline, and where it was left."""

ENDLESS: Final = 1 << 64
"""Past every LSN."""


def system_name(identifier: str, timeline: int) -> str:
    """Return the name of a cluster on a timeline, as positions have it."""
    return identifier if timeline == 1 else f"{identifier}/{timeline}"


async def common_end(stream: ReplicationConnection, stored: str, present: str) -> int | None:
    """Return the LSN up to which the server `present` has the same WAL as `stored`; None: it is
    another cluster. Both are as `system_name` returns them. Raises `SourceFault`.
    """
    identifier, timeline = _parts(stored)
    present_identifier, present_timeline = _parts(present)
    if identifier != present_identifier:
        return None
    if timeline == present_timeline:
        return ENDLESS
    if present_timeline == 1:
        return 0
    [[_, content]] = await stream.command(f"TIMELINE_HISTORY {present_timeline}")
    return left_at(content if isinstance(content, str) else bytes(content).decode(), timeline)


def left_at(history: str, timeline: int) -> int:
    """Return the LSN at which `timeline` was left; 0 if it is not in the history."""
    ends = {int(number): lsn for number, lsn in _SWITCH.findall(history)}
    return parse_lsn(ends[timeline]) if timeline in ends else 0


def _parts(name: str) -> tuple[str, int]:
    identifier, _, timeline = name.partition("/")
    return identifier, int(timeline or 1)
