"""Removes from the database what a bridge has made there: its slots and its publication."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.source.replication import connection as connections
from bridge.source.replication import slot as slots
from bridge.source.replication.publication import drop_publication

if TYPE_CHECKING:
    from collections.abc import Sequence


async def remove(url: str, names: Sequence[str], publication: str) -> list[str]:
    """Drop the slots of these names and the publication. Return a line for each.

    A publication that an operator made stays. Raises `SourceFault`, if a slot is in use for
    instance; those before it are dropped.
    """
    connection = await connections.connect(url)
    lines: list[str] = []
    try:
        for name in names:
            dropped = await slots.drop_slot(connection, name)
            lines.append(f"slot {name}: {'dropped' if dropped else 'there is none'}")
        made = await drop_publication(connection, publication)
        done = {
            True: "dropped",
            False: "kept, since the bridge did not make it",
            None: "there is none",
        }
        lines.append(f"publication {publication}: {done[made]}")
    finally:
        await connection.close()
    return lines
