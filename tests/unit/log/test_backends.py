"""The log that the options select, and when a file continues its epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bridge.log.backends import create_backend
from bridge.log.base import Position, Progress
from bridge.options import log_options, watch_log_options
from tests.fakes import settings

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.log.backends import LogOptions


async def head(path: Path, **overrides: Any) -> Position:
    return await head_of(log_options(settings(log=f"sqlite:///{path}", **overrides)))


async def head_of(options: LogOptions) -> Position:
    log = create_backend(options).log
    await log.open()
    try:
        await log.append([], [], Progress(loaded=True))
        return log.head
    finally:
        await log.close()


def history(position: Position) -> str:
    """Return the part of the epoch that stays for as long as the entries continue."""
    return position.epoch.partition(".")[0]


async def test_log_begins_a_new_history_when_member_columns_change(tmp_path: Path) -> None:
    file = tmp_path / "log.sqlite3"
    before = await head(file)
    with_members = await head(file, member_columns=("owner_contact",))
    assert history(with_members) != history(before)
    again = await head(file, member_columns=("owner_contact",))
    assert history(again) == history(with_members)
    assert history(await head(file)) != history(with_members)


async def test_log_written_before_there_were_member_columns_keeps_its_history(
    tmp_path: Path,
) -> None:
    shape = (
        '{"key": "id", "published": ["name", "city", "state", "price", "units", "latitude", '
        '"longitude", "created_at", "address", "status"], "region": ["state"], '
        '"schema": "public", "table": "properties", "updated_at": "updated_at"}'
    )
    assert log_options(settings()).shape == shape
    file = tmp_path / "log.sqlite3"
    earlier = replace(log_options(settings(log=f"sqlite:///{file}")), shape=shape)
    before = await head_of(earlier)
    assert history(await head(file)) == history(before)


def test_log_of_watches_has_the_shape_of_earlier_versions() -> None:
    assert watch_log_options(settings(watchers="watches")).shape == (
        '{"key": "id", "published": [], "region": ["user_id", "property_id", "region"], '
        '"schema": "public", "table": "watches", "updated_at": "updated_at"}'
    )
