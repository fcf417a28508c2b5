"""`bridge check`: checks the settings against the project, one line per check."""

from __future__ import annotations

import asyncio
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from bridge.auth.jwks_client import JwksUnavailableError
from bridge.errors import TableUnreadableError
from bridge.log.backends import check_backend
from bridge.ops.redaction import Redactor
from bridge.options import authenticator, log_options, source_options, watch_projection
from bridge.pipeline.updated_at_check import trigger_sql
from bridge.source.base import SourceState
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.projection import Projection
    from bridge.settings import Settings
    from bridge.source.base import ReadRights, Source, Table, TableConnection
    from bridge.source.factory import SourceOptions

POLL_SECONDS: Final = 0.05

KEY_SAMPLE_ROWS: Final = 1000
"""Rows that are read, to find keys that are not unique."""


async def check(settings: Settings, out: Callable[[str], None]) -> int:
    """Read the table, fetch the keys of tokens and subscribe to the changes, without any write.
    Return the exit code: 0 if all succeeded, 1 otherwise.
    """
    redact = Redactor(settings.secrets).text

    def report(ok: bool, text: str) -> bool:
        out(f"{'ok  ' if ok else 'FAIL'}  {redact(text)}")
        return ok

    report(True, f"settings: table {settings.table} of {settings.supabase_url}")
    ok = report(*await _tokens(settings))
    for fine, text in await check_backend(log_options(settings)):
        ok = report(fine, text) and ok
    ok = await _check_table(settings, settings.projection, report) and ok
    if settings.watchers:
        report(True, f"settings: table {settings.watchers} lists the watches for notifications")
        ok = await _check_table(settings, watch_projection(settings), report) and ok
    return 0 if ok else 1


async def _check_table(
    settings: Settings, projection: Projection, report: Callable[[bool, str], bool]
) -> bool:
    """Return whether the table can be read and its changes are received."""
    options = source_options(settings, projection)
    table = create_table(options)
    try:
        await table.open()
        readable = report(*await _read(projection, table))
        if readable and table.key_advice is not None:
            report(True, f"key: {table.key_advice}")
        if readable:
            readable = await _describe(projection, table, report)
        if settings.source == "postgres":
            live = await _inspect(options, report)
        else:
            live = report(*await _join(settings, create_source(options, table)))
            live = await _is_unused(options, report) and live
    finally:
        await table.close()
    return readable and live


async def _inspect(options: SourceOptions, report: Callable[[bool, str], bool]) -> bool:
    from bridge.source.replication.inspection import inspect  # noqa: PLC0415 - an extra
    from bridge.source.replication.slot import SlotOptions  # noqa: PLC0415 - an extra

    database = options.database
    assert database is not None, "the settings of the source postgres have a URL"
    names = SlotOptions(database.slot, database.publication, options.postgrest.projection)
    return await inspect(database.url, names, report)


async def _is_unused(options: SourceOptions, report: Callable[[bool, str], bool]) -> bool:
    """Return whether no slot was left behind, for which the server would keep its WAL for ever."""
    if options.database is None or find_spec("psycopg") is None:
        return True
    from bridge.source.replication.inspection import inspect_unused  # noqa: PLC0415 - an extra

    return await inspect_unused(options.database.url, options.database.slot, report)


async def _describe(
    projection: Projection, table: TableConnection, report: Callable[[bool, str], bool]
) -> bool:
    """Report whether reads show all rows, and whether `updated_at` shows every change."""
    try:
        rights = await table.rights()
        ok = report(*_rights(projection, rights))
        report(True, await _updated_at(projection, table, rights))
    except TableUnreadableError as error:
        return report(False, f"table: {error}")
    return ok


def _rights(projection: Projection, rights: ReadRights) -> tuple[bool, str]:
    role = rights.role or "the key's role"
    if rights.filtered is None:
        return True, (
            f"rights: whether {role} sees all rows can't be known, so deletes that empty or halve "
            "the table wait for BRIDGE_DELETE_HOLD unless the stream reports them; apply "
            "deploy/supabase/migrations/20260119090000_bridge_functions.sql"
        )
    if rights.filtered:
        return False, (
            f"rights: row level security filters what {role} reads of "
            f"{projection.schema}.{projection.table}; expected a role that sees all rows: alter "
            f"role {role} bypassrls, or a policy for select to {role} using (true)"
        )
    return True, f"rights: {role} sees all rows"


async def _updated_at(projection: Projection, table: TableConnection, rights: ReadRights) -> str:
    column = projection.updated_at
    if column is None:
        return "updated_at: none; what the stream loses is found by full comparisons"
    nulls, future = await table.unusual_updates()
    found = [
        f"null in {nulls} rows" if nulls else "",
        f"in the future in {future} rows" if future else "",
        "set by no trigger" if rights.update_triggers == () else "",
    ]
    if any(found):
        return (
            f"updated_at: {column} is {', '.join(filter(None, found))}; a change of such rows that "
            "the stream loses is found by full comparisons only (BRIDGE_COMPARE_INTERVAL). A "
            f"trigger mends that: {trigger_sql(projection)}"
        )
    if rights.update_triggers is None:
        return f"updated_at: {column} is set in all rows; whether a trigger keeps it is not known"
    return f"updated_at: {column} is set in all rows; triggers: {', '.join(rights.update_triggers)}"


async def _read(projection: Projection, table: Table) -> tuple[bool, str]:
    columns = projection.selected
    try:
        rows = await table.page(None, KEY_SAMPLE_ROWS)
    except TableUnreadableError as error:
        return False, f"table: {error}"
    if not rows:
        return True, f"table: readable and empty; columns {', '.join(columns)}"
    missing = [column for column in columns if column not in rows[0]]
    if missing:
        return False, f"table: no column {', '.join(missing)}"
    return True, f"table: readable, with columns {', '.join(columns)}"


async def _tokens(settings: Settings) -> tuple[bool, str]:
    """Missing keys of the project are a failure if tokens are required."""
    auth = authenticator(settings)
    try:
        return True, f"tokens: {await auth.describe()}"
    except JwksUnavailableError as error:
        needed = settings.auth == "required" and settings.supabase_jwt_secret is None
        return not needed, f"tokens: the project's keys can't be fetched: {error}"
    finally:
        await auth.close()


async def _join(settings: Settings, source: Source) -> tuple[bool, str]:
    start = time.monotonic()
    run = asyncio.create_task(source.run(ChangeQueue(settings.queue_changes)))
    try:
        while (passed := time.monotonic() - start) < settings.join_timeout:
            status = source.status()
            if status.state is SourceState.LIVE:
                return True, f"changes: subscribed {passed:.1f} s after connecting"
            # One rejection is a result; the source itself would retry forever.
            if status.error or run.done():
                break
            await asyncio.sleep(POLL_SECONDS)
        error = source.status().error
        return False, f"changes: {error or f'not live within {settings.join_timeout:g} s'}"
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
