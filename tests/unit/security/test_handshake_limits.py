"""Limits that several processes share are those of one process."""

from __future__ import annotations

import pytest

from bridge.errors import Code
from bridge.security.concurrency import Slot
from bridge.security.handshake_limits import (
    AdmissionLimits,
    HandshakeLimits,
    Refusal,
    SharedHandshakeLimits,
)


def limits(**overrides: float) -> AdmissionLimits:
    values = {
        "connections": 3,
        "connections_per_address": 2,
        "handshakes_per_second": 100,
        "handshakes_burst": 100,
        "handshakes_per_second_per_address": 100,
        "handshakes_burst_per_address": 100,
    }
    return AdmissionLimits(**(values | overrides))  # type: ignore[arg-type]


def code(refusal: object) -> Code | None:
    return refusal.code if isinstance(refusal, Refusal) else None


@pytest.fixture
def shared() -> SharedHandshakeLimits:
    return SharedHandshakeLimits(limits())


def test_connections_of_all_processes_count_towards_the_total(
    shared: SharedHandshakeLimits,
) -> None:
    admitted = [shared.admit(process, process, 0.0) for process in "abc"]
    assert admitted == [None, None, None]
    assert code(shared.admit("a", "d", 0.0)) is Code.TOO_MANY_CONNECTIONS
    shared.release("b", "b")
    assert shared.admit("a", "d", 0.0) is None


def test_connections_of_all_processes_count_towards_the_limit_of_an_address(
    shared: SharedHandshakeLimits,
) -> None:
    assert [shared.admit(process, "x", 0.0) for process in "ab"] == [None, None]
    assert code(shared.admit("c", "x", 0.0)) is Code.TOO_MANY_CONNECTIONS


def test_rates_of_all_processes_count_together() -> None:
    shared = SharedHandshakeLimits(limits(handshakes_burst=2, handshakes_per_second=1))
    assert [shared.admit(process, process, 0.0) for process in "ab"] == [None, None]
    assert code(shared.admit("c", "c", 0.0)) is Code.RATE_LIMITED
    assert shared.total == 2
    assert shared.admit("c", "c", 1.0) is None


def test_connections_of_a_process_that_is_gone_count_no_more(
    shared: SharedHandshakeLimits,
) -> None:
    for key in ("x", "x", None):
        assert shared.admit("a", key, 0.0) is None
    shared.left("a")
    shared.left("a")
    assert shared.total == 0
    assert shared.admit("b", "x", 0.0) is None


def test_connections_that_a_process_announces_replace_what_was_counted(
    shared: SharedHandshakeLimits,
) -> None:
    shared.admit("a", "x", 0.0)
    shared.hold("a", {"x": 2, None: 2})
    assert shared.total == 4
    assert code(shared.admit("b", "x", 0.0)) is Code.TOO_MANY_CONNECTIONS
    shared.release("a", None)
    shared.release("a", "x")
    assert shared.admit("b", "x", 0.0) is None


def test_release_of_what_was_not_admitted_changes_nothing(shared: SharedHandshakeLimits) -> None:
    shared.admit("a", "x", 0.0)
    shared.release("a", "y")
    shared.release("b", "x")
    assert shared.total == 1


def test_cancelled_slot_is_free_and_reports_no_release() -> None:
    admission = HandshakeLimits(limits(connections=1))
    released: list[str | None] = []
    admission.connections.on_release = released.append
    slot = admission.acquire("x", 0.0)
    assert isinstance(slot, Slot)
    slot.cancel()
    slot.release()
    again = admission.acquire("x", 0.0)
    assert isinstance(again, Slot)
    assert released == []
    again.release()
    again.release()
    assert released == ["x"]
