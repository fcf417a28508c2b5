"""Creates the source of changes and the table reader. No other module names their classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bridge.source.column_types import ColumnTypes
from bridge.source.postgrest import PostgrestTable
from bridge.source.realtime.source import RealtimeSource

if TYPE_CHECKING:
    from bridge.source.base import Source, SourceKind, Table
    from bridge.source.postgrest import PostgrestOptions
    from bridge.source.realtime.source import RealtimeOptions


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Which source is used, with the options of each."""

    kind: SourceKind
    realtime: RealtimeOptions
    postgrest: PostgrestOptions
    types: ColumnTypes = field(default_factory=ColumnTypes, compare=False)
    """What both have shown of the table's types."""


def create_table(options: SourceOptions) -> PostgrestTable:
    """The reader of the table. Open it before the first read, close it at the end."""
    return PostgrestTable(options.postgrest, options.types)


def create_source(options: SourceOptions, table: Table) -> Source:
    """The source that `options.kind` names. It compares its stream with `table`."""
    return RealtimeSource(options.realtime, table, options.types)
