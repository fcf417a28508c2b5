"""All faults by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos import (
    client_faults,
    machine_faults,
    process_faults,
    redis_faults,
    upstream_faults,
)

if TYPE_CHECKING:
    from tests.chaos.fault import Fault

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for faults in (
        upstream_faults.fault,
        process_faults.fault,
        client_faults.fault,
        machine_faults.fault,
        redis_faults.fault,
    )
    for fault in faults
}

DATABASE_FAULTS: Final = frozenset(
    (
        *(fault.name for faults in (process_faults.fault, client_faults.fault) for fault in faults),
        *("postgres_restart", "postgres_crash", "terminate", "truncate", "identity", "column"),
        *("huge", "long_transaction"),
        *("database_cut", "database_stall", "database_half_open", "drop_slot"),
    )
) - {"kill_in_pass"}
"""Faults that concern a source that reads the database directly."""

_PROCESS = {fault.name for fault in process_faults.fault}
_MACHINES = {
    fault.name for faults in (machine_faults.fault, redis_faults.fault) for fault in faults
}


def names(*, machines: bool) -> list[str]:
    """Return the faults of one bridge, or of several machines."""
    return [name for name in FAULTS if name not in (_PROCESS if machines else _MACHINES)]
