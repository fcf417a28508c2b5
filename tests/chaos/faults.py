"""All faults by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chaos import client_faults, process_faults, upstream_faults

if TYPE_CHECKING:
    from tests.chaos.fault import Fault

FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for faults in (upstream_faults.fault, process_faults.fault, client_faults.fault)
    for fault in faults
}
