"""The choice of the source and of the table reader."""

from __future__ import annotations

from bridge.options import source_options, watch_projection
from bridge.source.factory import create_source, create_table
from bridge.source.postgrest import PostgrestTable
from bridge.source.realtime.source import RealtimeSource
from tests.fakes import FakeTable, settings


def test_source_realtime_is_supabase_realtime_with_postgrest_reads() -> None:
    options = source_options(settings(source="realtime"))
    assert isinstance(create_source(options, FakeTable()), RealtimeSource)
    assert isinstance(create_table(options), PostgrestTable)


def test_source_options_are_those_of_the_listings() -> None:
    configured = settings(join_timeout=7, settle=3, watch_interval=2, watch_grace=1)
    options = source_options(configured)
    assert options.realtime.url == options.postgrest.url == configured.supabase_url
    assert options.realtime.projection == options.postgrest.projection == configured.projection
    assert (options.realtime.join_timeout, options.realtime.settle) == (7, 3)
    watchdog = options.realtime.watchdog
    assert (watchdog.updated_at, watchdog.interval, watchdog.grace) == ("updated_at", 2, 1)


def test_source_options_of_the_table_of_watches_have_its_projection() -> None:
    configured = settings(watchers="crm.watches", table="homes")
    options = source_options(configured, watch_projection(configured))
    for projection in (options.realtime.projection, options.postgrest.projection):
        assert (projection.schema, projection.table) == ("crm", "watches")
