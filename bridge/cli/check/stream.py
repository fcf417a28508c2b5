"""Subscribes to the changes of the table, once."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from bridge.cli.check.finding import Finding, fail, ok
from bridge.source.base import SourceState
from bridge.source.change_queue import ChangeQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.cli.check.table import CheckedTable
    from bridge.settings import Settings
    from bridge.source.base import Source

POLL_SECONDS: Final = 0.05

REFUSED: Final = "Unable to subscribe to changes with given parameters"

JWT_ONLY: Final = ("MalformedJWT", "not a valid JWT", "HTTP 403")
"""Answers of a Realtime that takes no key but a JWT."""


async def stream_findings(
    settings: Settings, table: CheckedTable, source: Source
) -> Sequence[Finding]:
    """Return whether the source is live within the timeout of a join."""
    start = time.monotonic()
    run = asyncio.create_task(source.run(ChangeQueue(settings.queue_changes)))
    try:
        while (passed := time.monotonic() - start) < settings.join_timeout:
            status = source.status()
            if status.state is SourceState.LIVE:
                return [ok("changes", f"subscribed {passed:.1f} s after connecting")]
            # One rejection is a result; the source itself would retry forever.
            if status.error or run.done():
                break
            await asyncio.sleep(POLL_SECONDS)
        error = source.status().error
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    if not error:
        text = f"not live within {settings.join_timeout:g} s (BRIDGE_JOIN_TIMEOUT)"
        return [fail("changes", text, "look at Realtime's log on the dashboard's Logs page")]
    key = settings.supabase_secret_key.get_secret_value()
    if key.startswith("sb_secret_") and any(text in error for text in JWT_ONLY):
        return [
            fail(
                "changes",
                f"Realtime takes JWTs only, and got sb_secret_...: {error.partition('; ')[0]}",
                "set SUPABASE_SECRET_KEY to the legacy service_role key, or update the "
                "self-hosted gateway, which has to replace the key by a JWT",
            )
        ]
    if REFUSED in error:
        return [
            fail(
                "changes",
                f"Realtime refuses to subscribe to {table.name}: it is not in the publication "
                "supabase_realtime, is a view, or the role may not select from it",
                f"alter publication supabase_realtime add table {table.quoted}; "
                f"grant select on {table.quoted} to service_role",
            )
        ]
    text, _, advice = error.partition("; ")
    return [fail("changes", text, advice)]
