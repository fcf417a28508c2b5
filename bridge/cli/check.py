"""`bridge check`: would a bridge with these settings work? One line per answer."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bridge.auth.jwks_client import JwksUnavailableError
from bridge.errors import TableUnreadableError
from bridge.ops.redaction import Redactor
from bridge.options import authenticator, source_options
from bridge.source.base import SourceState
from bridge.source.change_queue import ChangeQueue
from bridge.source.factory import create_source, create_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.settings import Settings
    from bridge.source.base import Source, Table

POLL_SECONDS: Final = 0.05


async def check(settings: Settings, say: Callable[[str], None]) -> int:
    """Read the table and the keys of tokens and join the changes; changes nothing. Gives the exit
    code: 0 if all went well, 1 if anything did not.
    """
    hide = Redactor(settings.secrets).text

    def tell(good: bool, text: str) -> bool:
        say(f"{'ok  ' if good else 'FAIL'}  {hide(text)}")
        return good

    tell(True, f"settings: table {settings.table} of {settings.supabase_url}")
    good = tell(*await _tokens(settings))
    good = await _both(settings, tell) and good
    if settings.watching is not None:
        tell(True, f"settings: table {settings.watchers} says who is notified")
        good = await _both(settings.watching, tell) and good
    return 0 if good else 1


async def _both(settings: Settings, tell: Callable[[bool, str], bool]) -> bool:
    """Whether the table can be read, and its changes flow."""
    options = source_options(settings)
    table = create_table(options)
    try:
        await table.open()
        readable = tell(*await _read(settings, table))
        live = tell(*await _join(settings, create_source(options, table)))
    finally:
        await table.close()
    return readable and live


async def _read(settings: Settings, table: Table) -> tuple[bool, str]:
    wanted = settings.projection.selected
    try:
        rows = await table.page(None, 1)
    except TableUnreadableError as error:
        return False, f"table: {error}"
    if not rows:
        return True, f"table: readable and empty; columns {', '.join(wanted)}"
    missing = [column for column in wanted if column not in rows[0]]
    if missing:
        return False, f"table: no column {', '.join(missing)}"
    return True, f"table: readable, with columns {', '.join(wanted)}"


async def _tokens(settings: Settings) -> tuple[bool, str]:
    """Not to have the project's keys is a fault where nobody gets in without a token."""
    access = authenticator(settings)
    try:
        return True, f"tokens: {await access.describe()}"
    except JwksUnavailableError as error:
        needed = settings.auth == "required" and settings.supabase_jwt_secret is None
        return not needed, f"tokens: none can be checked by the project's keys: {error}"
    finally:
        await access.close()


async def _join(settings: Settings, source: Source) -> tuple[bool, str]:
    start = time.monotonic()
    run = asyncio.create_task(source.run(ChangeQueue(settings.queue_changes)))
    try:
        while (passed := time.monotonic() - start) < settings.join_timeout:
            status = source.status()
            if status.state is SourceState.LIVE:
                return True, f"changes: they flow, {passed:.1f} s after connecting"
            # A first refusal is an answer; the source would go on for ever.
            if status.error or run.done():
                break
            await asyncio.sleep(POLL_SECONDS)
        error = source.status().error
        return False, f"changes: {error or f'not live within {settings.join_timeout:g} s'}"
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
