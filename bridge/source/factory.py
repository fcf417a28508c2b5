"""Creates the source of changes and the table reader. No other module names their classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bridge.errors import SettingsError
from bridge.source.column_types import ColumnTypes
from bridge.source.postgrest import PostgrestTable
from bridge.source.realtime.source import RealtimeSource

if TYPE_CHECKING:
    from bridge.source.base import Source, SourceKind, Table, TableConnection
    from bridge.source.postgrest import PostgrestOptions
    from bridge.source.realtime.source import RealtimeOptions


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """A direct connection to PostgreSQL, and the names of what is made there."""

    url: str = field(repr=False)
    slot: str
    publication: str
    warning_bytes: int


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Which source is used, with the options of each."""

    kind: SourceKind
    realtime: RealtimeOptions
    postgrest: PostgrestOptions
    database: DatabaseOptions | None = None
    """Set for the source `postgres`."""
    types: ColumnTypes = field(default_factory=ColumnTypes, compare=False)
    """What both have shown of the table's types."""


def create_table(options: SourceOptions) -> TableConnection:
    """The reader of the table. Open it before the first read, close it at the end. Raises
    `SettingsError` without the library that it needs.
    """
    if options.kind == "postgres":
        _require_driver()
        from bridge.source.replication.sql_table import SqlTable  # noqa: PLC0415 - an extra

        database, projection = _database(options), options.postgrest.projection
        return SqlTable(database.url, projection, database.publication, options.types)
    return PostgrestTable(options.postgrest, options.types)


def create_source(options: SourceOptions, table: Table) -> Source:
    """The source that `options.kind` names. It compares its stream with `table`."""
    if options.kind == "postgres":
        _require_driver()
        from bridge.source.replication.source import (  # noqa: PLC0415 - an extra
            PostgresSource,
            ReplicationOptions,
        )

        database = _database(options)
        return PostgresSource(
            ReplicationOptions(
                database.url,
                database.slot,
                database.publication,
                options.postgrest.projection,
                database.warning_bytes,
            ),
            options.types,
        )
    return RealtimeSource(options.realtime, table, options.types)


def _database(options: SourceOptions) -> DatabaseOptions:
    if options.database is None:
        raise SettingsError("BRIDGE_DATABASE_URL is not set. Expected: a direct connection.")
    return options.database


def _require_driver() -> None:
    if find_spec("psycopg") is None:
        raise SettingsError(
            "BRIDGE_SOURCE=postgres needs psycopg: pip install 'supabase-socketio-bridge[postgres]'"
        )
