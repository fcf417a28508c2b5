"""Settings of one process of several."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from bridge.processes.spec import WorkerSpec, process_count
from bridge.processes.worker import worker_settings
from tests.fakes import settings


def spec(number: int, serving: int = 4, **overrides: Any) -> WorkerSpec:
    return WorkerSpec(settings(**overrides), Path("/"), number, serving, "127.0.0.1", 8000)


def test_zero_processes_are_one_for_each_core() -> None:
    assert process_count(0) == len(os.sched_getaffinity(0))
    assert process_count(3) == 3


def test_limits_that_are_not_shared_are_divided_among_the_serving_processes() -> None:
    divided = worker_settings(spec(1, recovery_clients=10))
    assert divided.recovery_clients == 3
    assert divided.snapshot_pages_per_second_per_address == 5
    assert divided.snapshot_pages_burst_per_address == 50
    shared = settings()
    assert divided.connections == shared.connections
    assert divided.handshakes_burst_per_address == shared.handshakes_burst_per_address


def test_limits_of_the_leader_process_are_those_of_the_settings() -> None:
    assert worker_settings(spec(0)).recovery_clients == settings().recovery_clients


@pytest.mark.parametrize("number", [0, 1])
def test_processes_of_one_machine_end_at_once_unless_set_otherwise(number: int) -> None:
    assert worker_settings(spec(number)).drain_seconds == 0
    assert worker_settings(spec(number, drain_seconds=7.0)).drain_seconds == 7


@pytest.mark.parametrize("overrides", [{}, {"connections_per_address": 9}])
def test_loopback_counts_for_a_process_as_for_the_settings(overrides: dict[str, Any]) -> None:
    whole = spec(1, **overrides)
    received: WorkerSpec = pickle.loads(pickle.dumps(whole))
    assert worker_settings(received).count_loopback is whole.settings.count_loopback
    assert whole.settings.count_loopback is bool(overrides)
