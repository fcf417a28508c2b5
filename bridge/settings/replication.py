"""The settings of how the table is followed and where that is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from bridge.settings.base import SettingsGroup


class ReplicationSettings(SettingsGroup):
    """How the table is followed, and where what was told is kept."""

    source: Literal["realtime"] = Field(
        "realtime",
        description="Source of changes: realtime (Supabase Realtime, postgres_changes)",
    )
    log: str = Field(
        "sqlite:///bridge.sqlite3",
        description="Where events and the rows they left behind are kept: sqlite:///file, "
        "sqlite:////path/file, or memory: (a restart then begins a new history)",
    )
    log_events: int = Field(100_000, ge=1, description="Events that the log keeps at the most")
    log_seconds: float = Field(900, gt=0, description="How long the log keeps an event")
    join_timeout: float = Field(
        30, gt=0, description="From connecting to `system` ok; past it the client is built anew"
    )
    watch_interval: float = Field(
        5, gt=0, description="Between two looks at the table's newest rows"
    )
    watch_grace: float = Field(
        3, gt=0, description="How long the stream may lag behind the table before it counts as mute"
    )
    sweep_interval: float = Field(
        10,
        gt=0,
        description="Between two passes over all keys (finds deletes and TRUNCATE); longer where "
        "the table is so large that a pass takes more than a fifth of it",
    )
    pass_rows: int = Field(
        10_000,
        ge=0,
        description="Rows up to which the whole table is read after every gap, which takes under a "
        "second; of a larger one what changed since is read, then its keys, then at leisure all",
    )
    settle: float = Field(
        5, gt=0, description="After `system` ok, when the table is read once more"
    )
    stale_after: float = Field(
        30, gt=0, description="How long the source may be down before /readyz says 503"
    )
    page_rows: int = Field(1000, ge=1, le=1000, description="Rows per read of the table")
    queue_changes: int = Field(
        20_000,
        ge=1,
        description="Changes that may wait for the pipeline before they are dropped "
        "and the table is read instead",
    )
    log_level: str = Field("info", description="debug, info, warning or error")

    @field_validator("log")
    @classmethod
    def _log(cls, value: str) -> str:
        file = value.removeprefix("sqlite:///")
        if value != "memory:" and (file == value or not file.strip("/")):
            raise ValueError("expected sqlite:///file, sqlite:////path/file or memory:")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        level = value.lower()
        if level not in ("debug", "info", "warning", "error"):
            raise ValueError("expected debug, info, warning or error")
        return level
