"""How far a timeline's history goes back to another one."""

from __future__ import annotations

import pytest

from bridge.source.replication.lsn import StreamPosition
from bridge.source.replication.timeline import left_at, system_name

HISTORY = "1\t0/3000060\tno recovery target specified\n\n2\t1/A0\tbefore 2026-01-01\n"


@pytest.mark.parametrize(("timeline", "lsn"), [(1, 0x3000060), (2, 0x1_0000_00A0), (7, 0)])
def test_timeline_ends_where_the_next_one_began(timeline: int, lsn: int) -> None:
    assert left_at(HISTORY, timeline) == lsn


def test_first_timeline_leaves_positions_as_they_were() -> None:
    assert system_name("7000", 1) == "7000"


def test_position_on_a_later_timeline_is_read_as_it_is_written() -> None:
    stored = StreamPosition(system_name("7000", 3), 5, partial=9, changes=3)
    assert StreamPosition.parse(str(stored)) == stored
    assert str(stored).startswith("7000/3:")
