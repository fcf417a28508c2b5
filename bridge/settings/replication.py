"""Settings of the source, of table scans and of the event log."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from bridge.log.redis.url import NAME, check_url, is_redis
from bridge.ops.log_format import LogFormat  # noqa: TC001 - pydantic reads it
from bridge.settings.base import SettingsGroup
from bridge.source.base import SourceKind  # noqa: TC001 - pydantic reads it

MAX_NAME_BYTES: Final = 63
"""Of a name in PostgreSQL."""


class ReplicationSettings(SettingsGroup):
    """Source, scans and log."""

    source: SourceKind = Field(
        "realtime",
        description="Source of changes: realtime (Supabase Realtime, postgres_changes) or postgres "
        "(logical replication over a direct connection, BRIDGE_DATABASE_URL)",
    )
    database_url: SecretStr | None = Field(
        None,
        validate_default=True,
        description="Direct connection to PostgreSQL for the source postgres, "
        "postgresql://user:password@host:5432/database?sslmode=verify-full; not a pooler. The role "
        "needs REPLICATION. All parameters of libpq apply, PGPASSFILE too",
    )
    slot: str = Field(
        "bridge",
        description="Replication slot of the source postgres; that of BRIDGE_WATCHERS has "
        "_watchers appended",
    )
    publication: str = Field(
        "bridge", description="Publication of the source postgres; created if it is missing"
    )
    slot_warning_bytes: int = Field(
        1_000_000_000,
        ge=1,
        description="WAL that PostgreSQL keeps for the slot, above which a warning is logged",
    )
    slot_compare_interval: float = Field(
        3600,
        gt=0,
        description="Interval between two comparisons of the table with the published rows, with "
        "the source postgres, whose stream has no gaps",
    )
    log: str = Field(
        "sqlite:///bridge.sqlite3",
        description="Event log and last known rows: sqlite:///file, sqlite:////path/file, "
        "memory: (a restart then begins a new epoch), or for several machines a Redis or Valkey "
        "server that all of them share: redis://:password@host:6379/0, rediss:// with TLS",
    )
    log_name: str = Field(
        "bridge",
        description="Name of the bridge on a Redis server; all machines of one bridge have the "
        "same one, and bridges of other tables another one",
    )
    lease_seconds: float = Field(
        2.5,
        ge=0.5,
        le=60,
        description="With several machines: how long after its last renewal, three in this time, "
        "the machine that follows the table is replaced by another one",
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
    log_format: LogFormat = Field(
        "auto",
        description="Format of the log on stderr: text, json (one object per line), or auto: text "
        "on a terminal, json elsewhere",
    )

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        text = "" if value is None else value.get_secret_value().strip()
        if not text:
            if info.data.get("source") == "postgres":
                raise ValueError(
                    "expected the URL of a direct connection, since BRIDGE_SOURCE is postgres"
                )
            return None
        if not text.startswith(("postgresql://", "postgres://")):
            raise ValueError("expected postgresql://user:password@host:5432/database")
        return SecretStr(text)

    @field_validator("slot")
    @classmethod
    def _slot(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9_]{1,54}", value):
            raise ValueError("expected 1 to 54 of a-z, 0-9 and _, as PostgreSQL allows in a slot")
        return value

    @field_validator("publication")
    @classmethod
    def _publication(cls, value: str) -> str:
        if not value or len(value.encode()) > MAX_NAME_BYTES or '"' in value or "," in value:
            raise ValueError("expected the name of a publication, of 1 to 63 bytes")
        return value

    @field_validator("log")
    @classmethod
    def _log(cls, value: str) -> str:
        if is_redis(value):
            check_url(value)
            return value
        file = value.removeprefix("sqlite:///")
        if value != "memory:" and (file == value or not file.strip("/")):
            raise ValueError(
                "expected sqlite:///file, sqlite:////path/file, memory:, or redis://host:6379/0"
            )
        return value

    @field_validator("log_name")
    @classmethod
    def _log_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("expected a name of letters, digits, `.`, `_` and `-`, such as bridge")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str) -> str:
        level = value.lower()
        if level not in ("debug", "info", "warning", "error"):
            raise ValueError("expected debug, info, warning or error")
        return level
