"""`SlotRetention` warns once of WAL that a slot makes PostgreSQL keep."""

from __future__ import annotations

import logging

import pytest

from bridge.source.base import SlotStatus
from bridge.source.replication.retention import SlotRetention, size


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="bridge.source.replication.retention")
    return caplog


def test_retained_wal_above_the_bound_is_warned_of_once_with_the_sql(
    logged: pytest.LogCaptureFixture,
) -> None:
    retention = SlotRetention("bridge", 1_000_000_000)
    for retained in (10, 1_500_000_000, 1_600_000_000):
        retention.observe(SlotStatus("bridge", retained, retained, 9_000_000_000))
    [warning] = logged.messages
    assert "1.5 GB of WAL for the slot bridge" in warning
    assert "lost after 9 GB more" in warning
    assert "SELECT pg_drop_replication_slot('bridge')" in warning


def test_retained_wal_is_warned_of_again_after_it_was_below(
    logged: pytest.LogCaptureFixture,
) -> None:
    retention = SlotRetention("bridge", 100)
    for retained in (200, 50, 200):
        retention.observe(SlotStatus("bridge", 0, retained, 1))
    assert len(logged.messages) == 3


def test_slot_without_a_bound_is_named_once(logged: pytest.LogCaptureFixture) -> None:
    retention = SlotRetention("bridge", 100)
    for _ in range(2):
        retention.observe(SlotStatus("bridge", 0, 0, None))
    [warning] = logged.messages
    assert "max_slot_wal_keep_size" in warning
    assert "bridge replication drop" in warning


@pytest.mark.parametrize(
    ("count", "text"), [(999, "999 B"), (1500, "1.5 kB"), (2_500_000_000_000, "2.5e+03 GB")]
)
def test_size_is_for_people(count: int, text: str) -> None:
    assert size(count) == text
