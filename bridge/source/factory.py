"""Creates the source of changes and the table reader. No other module names their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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


def create_table(options: SourceOptions) -> PostgrestTable:
    """The reader of the table. Open it before the first read, close it at the end."""
    return PostgrestTable(options.postgrest)


def create_source(options: SourceOptions, table: Table) -> Source:
    """The source that `options.kind` names. It compares its stream with `table`."""
    return RealtimeSource(options.realtime, table)
