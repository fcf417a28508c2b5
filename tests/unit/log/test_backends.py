"""Which log the settings ask for, and what it takes for the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bridge.log.backends import create_backend
from bridge.log.base import Position
from tests.fakes import settings

if TYPE_CHECKING:
    from pathlib import Path


async def head(path: Path, **overrides: Any) -> Position:
    log = create_backend(settings(log=f"sqlite:///{path}", **overrides)).log
    await log.open()
    try:
        return log.head
    finally:
        await log.close()


async def test_other_member_columns_begin_a_new_history(tmp_path: Path) -> None:
    file = tmp_path / "log.sqlite3"
    before = await head(file)
    with_members = await head(file, member_columns=("owner_contact",))
    assert with_members.epoch != before.epoch
    assert (await head(file, member_columns=("owner_contact",))).epoch == with_members.epoch
    assert (await head(file)).epoch != with_members.epoch


async def test_a_log_from_before_there_were_views_is_gone_on_with(
    tmp_path: Path, monkeypatch: Any
) -> None:
    file = tmp_path / "log.sqlite3"
    # As it was spelled then.
    shape = (
        '{"key": "id", "published": ["name", "city", "state", "price", "units", "latitude", '
        '"longitude", "created_at", "address", "status"], "region": ["state"], '
        '"schema": "public", "table": "properties", "updated_at": "updated_at"}'
    )
    with monkeypatch.context() as patched:
        patched.setattr("bridge.log.backends.json.dumps", lambda *_args, **_options: shape)
        before = await head(file)
    assert (await head(file)).epoch == before.epoch
