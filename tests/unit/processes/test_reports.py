"""The report for operators has the counts of all processes."""

from __future__ import annotations

import os
from dataclasses import replace

import orjson
import pytest

from bridge.gateway.hub import HubCounts
from bridge.histogram import Histogram
from bridge.ops.status import ProcessStatus, StatusReport
from bridge.ops.traffic import Traffic
from bridge.pipeline.pipeline import PipelineStatus
from bridge.processes.reports import combined
from bridge.source.base import SourceState, SourceStatus

REPORT = StatusReport(
    source=SourceStatus(SourceState.LIVE, 0.0),
    pipeline=PipelineStatus(
        reconciled=True,
        scanning=False,
        rows=5,
        pending_rereads=0,
        counts={},
        activity="",
        error=None,
    ),
    hub=HubCounts(clients=0, rooms=0),
    connections=0,
    rejections={},
    slow_clients_closed=0,
    recoveries={"away": 0},
    head="e-1",
    log_error=None,
    started_at=0.0,
)

SLOW = Histogram()
SLOW.observe(0.3, times=2)
TRAFFIC = Traffic(
    deliveries=5,
    bytes=70,
    transports={"websocket": 2, "polling": 1},
    refusals={"origin_forbidden foreign": 1},
    delivery_delay=SLOW.counts(),
)

ONE = {
    "name": "serve 1",
    "pid": 11,
    "connections": 3,
    "clients": 2,
    "rooms": ["region:TX", "region:CA"],
    "rejections": {"rate_limited": 1},
    "slow_clients_closed": 1,
    "recoveries": {"away": 1, "recovered": 4},
    "traffic": orjson.loads(orjson.dumps(TRAFFIC)),
}
TWO = {
    **ONE,
    "name": "serve 2",
    "pid": 12,
    "rooms": ["region:TX"],
    "rejections": {"rate_limited": 2, "too_many_connections": 1},
}


def test_counts_of_all_processes_are_added() -> None:
    report = combined(REPORT, {"b": TWO, "a": ONE})
    assert (report.connections, report.hub.clients, report.slow_clients_closed) == (6, 4, 2)
    assert report.rejections == {"rate_limited": 3, "too_many_connections": 1}
    assert report.recoveries == {"away": 2, "recovered": 8}
    assert report.processes == (
        ProcessStatus("leader", os.getpid(), 0, 0),
        ProcessStatus("serve 1", 11, 2, 3),
        ProcessStatus("serve 2", 12, 2, 3),
    )


def test_room_with_clients_of_several_processes_counts_once() -> None:
    assert combined(REPORT, {"b": TWO, "a": ONE}).hub.rooms == 2
    own = replace(REPORT, rooms=("region:TX", "region:NV"))
    assert combined(own, {"b": TWO}).hub.rooms == 2


def test_report_without_an_answer_is_that_of_the_leader_process() -> None:
    report = combined(REPORT, {})
    assert (report.connections, report.hub, report.source) == (0, REPORT.hub, REPORT.source)
    assert report.processes == (ProcessStatus("leader", os.getpid(), 0, 0),)


def test_traffic_of_all_processes_is_added() -> None:
    traffic = combined(REPORT, {"a": ONE, "b": TWO}).traffic
    assert (traffic.deliveries, traffic.bytes) == (10, 140)
    assert traffic.transports == {"websocket": 4, "polling": 2}
    assert traffic.refusals == {"origin_forbidden foreign": 2}
    assert sum(traffic.delivery_delay.counts) == 4
    assert traffic.delivery_delay.total == pytest.approx(1.2)
