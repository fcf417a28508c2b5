"""Readiness of a machine while another one begins to lead."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.clock import ManualClock
from bridge.ops.endpoints import OpsEndpoints
from bridge.ops.status import StatusReport
from bridge.security.admin_auth import AdminAuth
from bridge.security.client_ip import ClientAddress
from bridge.source.base import SourceState, SourceStatus
from tests.unit.ops.test_metrics import REPORT

STALE_AFTER = 30.0


class Machine:
    """Serves a log whose leader can be replaced."""

    def __init__(self) -> None:
        self.clock = ManualClock(monotonic=1000.0)
        self.leads(reconciled=True)
        self.endpoints = OpsEndpoints(
            lambda: self.report,
            admin_auth=AdminAuth(None, ClientAddress()),
            stale_after=STALE_AFTER,
            clock=self.clock.monotonic,
        )

    def leads(self, *, reconciled: bool, head: str = "e1-5") -> None:
        """Receive the report of a leader, whose source is connected once it is reconciled."""
        now = self.clock.monotonic()
        state = SourceState.LIVE if reconciled else SourceState.CONNECTING
        self.report: StatusReport = replace(
            REPORT,
            source=SourceStatus(state, now, now if reconciled else None),
            pipeline=replace(REPORT.pipeline, reconciled=reconciled, error=None),
            head=head,
        )

    def is_ready(self) -> bool:
        return self.endpoints.readiness().ready


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_machine_stays_ready_while_a_new_leader_scans(machine: Machine) -> None:
    assert machine.is_ready()
    machine.leads(reconciled=False)
    machine.clock.advance(STALE_AFTER - 1)
    assert machine.is_ready()


def test_machine_is_not_ready_if_the_new_leader_scans_for_too_long(machine: Machine) -> None:
    assert machine.is_ready()
    machine.leads(reconciled=False)
    machine.clock.advance(STALE_AFTER + 1)
    assert not machine.is_ready()


def test_machine_whose_history_is_lost_is_not_ready_until_the_next_scan_is_done(
    machine: Machine,
) -> None:
    assert machine.is_ready()
    machine.leads(reconciled=False, head="e2-6")
    assert not machine.is_ready()
    machine.leads(reconciled=True, head="e2-6")
    assert machine.is_ready()


def test_machine_that_starts_is_not_ready_before_the_first_scan() -> None:
    machine = Machine()
    machine.leads(reconciled=False)
    assert not machine.is_ready()
