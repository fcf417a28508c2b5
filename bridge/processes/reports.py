"""The counts of the serving processes, which the leader process asks for."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.ops.readiness import Readiness
from bridge.ops.status import ProcessStatus
from bridge.ops.traffic import Traffic, summed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.app import Bridge
    from bridge.log.ipc.leader import FollowerServer
    from bridge.log.ipc.link import LeaderLink
    from bridge.ops.status import StatusReport

ASK_SECONDS: Final = 2.0
"""How long the leader process waits for the answer of a serving process."""


def serve_reports(bridge: Bridge, link: LeaderLink, name: str) -> None:
    """Answer what the leader process asks this one."""

    async def counts(_process: str, _argument: bytes) -> bytes:
        report = bridge.report()
        if isinstance(report, Readiness):
            return b""
        return orjson.dumps(
            {
                "name": name,
                "pid": os.getpid(),
                "connections": report.connections,
                "clients": report.hub.clients,
                "rooms": list(report.rooms),
                "rejections": dict(report.rejections),
                "slow_clients_closed": report.slow_clients_closed,
                "recoveries": report.recoveries,
                "traffic": report.traffic,
            }
        )

    link.handlers["counts"] = counts


class ServingProcesses:
    """The serving processes, for the operators' endpoints of the leader process."""

    def __init__(self, server: FollowerServer) -> None:
        self._server = server

    async def combine(self, report: StatusReport) -> StatusReport:
        """Return the report with the counts of all processes."""
        answers = await self._server.ask("counts", seconds=ASK_SECONDS)
        return combined(
            report, {each: orjson.loads(text) for each, text in answers.items() if text}
        )


def combined(report: StatusReport, counts: Mapping[str, Mapping[str, Any]]) -> StatusReport:
    """Return the report of the leader process with the counts of the serving ones added."""
    own = ProcessStatus("leader", os.getpid(), report.hub.clients, report.connections)
    every = counts.values()
    rooms = set(report.rooms).union(*(each["rooms"] for each in every))
    return replace(
        report,
        hub=replace(
            report.hub,
            clients=report.hub.clients + sum(each["clients"] for each in every),
            rooms=len(rooms),
        ),
        connections=report.connections + sum(each["connections"] for each in every),
        rejections=summed(report.rejections, *(each["rejections"] for each in every)),
        slow_clients_closed=report.slow_clients_closed
        + sum(each["slow_clients_closed"] for each in every),
        recoveries=summed(report.recoveries, *(each["recoveries"] for each in every)),
        traffic=reduce(
            Traffic.plus, (Traffic.parse(each["traffic"]) for each in every), report.traffic
        ),
        processes=(
            own,
            *sorted(
                (
                    ProcessStatus(each["name"], each["pid"], each["clients"], each["connections"])
                    for each in every
                ),
                key=lambda process: process.name,
            ),
        ),
    )
