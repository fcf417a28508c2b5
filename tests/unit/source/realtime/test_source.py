"""What a session does with the changes that it receives."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.changes import Gap, GapReason
from bridge.options import realtime_options
from bridge.source.change_queue import ChangeQueue
from bridge.source.column_types import ColumnTypes
from bridge.source.realtime.source import _Session
from bridge.source.realtime.watchdog import StreamWatchdog
from tests.fakes import FakeTable, row, settings

OPTIONS = realtime_options(settings(watch_interval=5.0, watch_grace=3.0))


def change(key: Any, updated_at: str) -> dict[str, Any]:
    record = {**row("T"), "id": key, "updated_at": updated_at}
    columns = [{"name": name, "type": "text"} for name in record if name != "id"]
    return {
        "data": {
            "schema": "public",
            "table": "properties",
            "commit_timestamp": "2026-01-05T09:00:00.123Z",
            "type": "INSERT",
            "columns": [*columns, {"name": "id", "type": "bpchar"}],
            "record": record,
            "old_record": None,
            "errors": None,
        },
        "ids": [1],
    }


async def test_change_with_an_unreadable_key_is_a_sign_of_life() -> None:
    table, queue = FakeTable(row("p1", updated_at="2026-01-05T09:00:00Z")), ChangeQueue(10)
    watchdog = StreamWatchdog(OPTIONS.watchdog, table)
    session = _Session(OPTIONS, queue, watchdog, ColumnTypes())
    assert await watchdog.check(0.0)
    table.write(row("p1", updated_at="2026-01-05T09:00:01Z"))
    session._on_change(change("T", "2026-01-05T09:00:01+00:00"))
    [gap] = queue.get_many_nowait(10)
    assert isinstance(gap, Gap)
    assert gap.reason is GapReason.UNREADABLE
    assert await watchdog.check(5.0)


@pytest.mark.parametrize("columns", [[1], [{"name": "id"}], "text", [{"name": [], "type": []}]])
async def test_columns_of_another_shape_are_unreadable(columns: Any) -> None:
    queue = ChangeQueue(10)
    watchdog = StreamWatchdog(OPTIONS.watchdog, FakeTable())
    session = _Session(OPTIONS, queue, watchdog, ColumnTypes())
    sent = change("p1", "2026-01-05T09:00:01+00:00")
    sent["data"]["columns"] = columns
    session._on_change(sent)
    assert [type(item) for item in queue.get_many_nowait(10)] == [Gap]
