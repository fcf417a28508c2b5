"""`bridge replication drop`: removes what the source `postgres` has made in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.errors import BridgeError
from bridge.ops.redaction import Redactor
from bridge.options import database_options
from bridge.source.replication.faults import SourceFault
from bridge.source.replication.removal import remove

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.settings import Settings


async def drop(settings: Settings, out: Callable[[str], None]) -> int:
    """Drop slots and publication. Return the exit code. Raises `BridgeError`."""
    redact = Redactor(settings.secrets).text
    options = database_options(settings)
    watches = database_options(settings, watches=True)
    if options is None or watches is None:
        raise BridgeError("BRIDGE_DATABASE_URL is not set. Expected: a direct connection.")
    try:
        lines = await remove(options.url, (options.slot, watches.slot), options.publication)
    except SourceFault as fault:
        raise BridgeError(redact(str(fault))) from None
    for line in lines:
        out(redact(line))
    return 0
