"""Settings of the source, of table scans and of the event log."""

from __future__ import annotations

from pydantic import Field, field_validator

from bridge.settings.base import SettingsGroup
from bridge.source.base import SourceKind  # noqa: TC001 - pydantic reads it


class ReplicationSettings(SettingsGroup):
    """Source, scans and log."""

    source: SourceKind = Field(
        "realtime",
        description="Source of changes: realtime (Supabase Realtime, postgres_changes)",
    )
    log: str = Field(
        "sqlite:///bridge.sqlite3",
        description="Event log and last known rows: sqlite:///file, sqlite:////path/file, or "
        "memory: (a restart then begins a new epoch)",
    )
    log_events: int = Field(100_000, ge=1, description="Maximum number of events in the log")
    log_seconds: float = Field(900, gt=0, description="How long the log retains an event")
    join_timeout: float = Field(
        30,
        gt=0,
        description="Longest time from connecting to `system` ok; then the Realtime client is "
        "replaced",
    )
    watch_interval: float = Field(
        5, gt=0, description="Interval between two reads of the table's newest rows"
    )
    watch_grace: float = Field(
        3,
        gt=0,
        description="How long the stream may lag behind the table before it is resubscribed",
    )
    sweep_interval: float = Field(
        10,
        gt=0,
        description="Interval between two key scans (find deletes and TRUNCATE); longer if a scan "
        "of a large table takes more than a fifth of the interval",
    )
    compare_interval: float = Field(
        300,
        gt=0,
        description="Interval between two full comparisons of the table with the published rows, "
        "which find what `updated_at` does not show; longer if reading the table takes more than a "
        "fifth of the interval",
    )
    delete_hold: float = Field(
        300,
        ge=0,
        description="How long deletes are held that a read finds, the stream did not report, and "
        "that empty or halve the table, where the database lacks the function bridge_rights, which "
        "proves that no row is hidden; with a key of another role than service_role they are held "
        "until it exists",
    )
    pass_rows: int = Field(
        10_000,
        ge=0,
        description="Number of rows up to which a gap is repaired by a full scan, which takes "
        "under a second; of a larger table the rows changed since are read first, then its keys, "
        "then all rows at a limited rate",
    )
    settle: float = Field(
        5, gt=0, description="Time after `system` ok at which the table is read once more"
    )
    stale_after: float = Field(
        30, gt=0, description="How long the source may be down before /readyz returns 503"
    )
    page_rows: int = Field(1000, ge=1, le=1000, description="Rows per read of the table")
    queue_changes: int = Field(
        20_000,
        ge=1,
        description="Changes queued for the pipeline; beyond it they are dropped and the table is "
        "read instead",
    )
    log_level: str = Field("info", description="Log level: debug, info, warning or error")

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
