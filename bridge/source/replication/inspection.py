"""Checks what replication needs, without any write: for `bridge check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from bridge.source.replication import connection as connections
from bridge.source.replication import slot as slots
from bridge.source.replication.connection import ReplicationConnection
from bridge.source.replication.faults import SourceFault, fault_of
from bridge.source.replication.publication import missing_publication
from bridge.source.replication.retention import drop_statement, size

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.source.replication.slot import SlotOptions

_SERVER = """
    select current_setting('server_version'), current_setting('wal_level'),
           current_setting('max_replication_slots')::int8
             - (select count(*) from pg_catalog.pg_replication_slots),
           current_setting('max_slot_wal_keep_size')"""


async def inspect(url: str, options: SlotOptions, report: Callable[[bool, str], bool]) -> bool:
    """Report each fact; return whether changes can be streamed."""
    try:
        stream = await ReplicationConnection.open(url)
        try:
            await stream.command("IDENTIFY_SYSTEM")
        finally:
            await stream.close()
        connection = await connections.connect(url)
        try:
            return await _inspect(connection, options, report)
        finally:
            await connection.close()
    except SourceFault as fault:
        return report(False, f"changes: {fault}")


async def inspect_unused(url: str, name: str, report: Callable[[bool, str], bool]) -> bool:
    """Report a slot that exists although nothing reads it. Return False then."""
    try:
        connection = await connections.connect(url)
        try:
            state = await slots.slot_state(connection, name)
        finally:
            await connection.close()
    except SourceFault as fault:
        return report(True, f"slot {name}: not known, {fault}")
    if state is None:
        return True
    return report(
        False,
        f"slot {name}: exists and keeps {size(state.retained)} of WAL, though BRIDGE_SOURCE is not "
        f"postgres; run: bridge replication drop (or {drop_statement(name)})",
    )


async def _inspect(
    connection: psycopg.AsyncConnection[Any],
    options: SlotOptions,
    report: Callable[[bool, str], bool],
) -> bool:
    try:
        row = await (await connection.execute(_SERVER)).fetchone()
    except psycopg.Error as error:
        raise fault_of(error, "reading the server's settings") from error
    assert row is not None
    version, wal_level, free, keep = row
    ok = report(
        wal_level == "logical",
        f"changes: PostgreSQL {version}, wal_level {wal_level}"
        + ("" if wal_level == "logical" else "; run ALTER SYSTEM SET wal_level = logical, restart"),
    )
    statement = await missing_publication(connection, options)
    report(
        True,
        f"publication {options.publication}: "
        + ("as expected" if statement is None else f"made at the first start: {statement}"),
    )
    state = await slots.slot_state(connection, options.slot)
    if state is None:
        ok = (
            report(free > 0, f"slot {options.slot}: made at the first start; {free} are free")
            and ok
        )
    else:
        used = "in use" if state.active else "not in use"
        held = f"slot {options.slot}: {used}, {size(state.retained)} of WAL are kept for it"
        usable = state.plugin == slots.PLUGIN and not state.lost
        report(
            True,
            held if usable else f"{held}; it is created again, for it is lost or of another use",
        )
    report(
        True,
        f"max_slot_wal_keep_size: {keep}"
        + (
            ": the slot keeps all WAL while the bridge is down, until the disk is full"
            if keep == "-1"
            else ""
        ),
    )
    return ok
