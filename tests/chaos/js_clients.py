"""Official JavaScript clients, many in one process of node, and the sessions they feed."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from tests.acceptance.node import BINARY, installed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.chaos.client_session import ClientSession
    from tests.chaos.client_spec import ClientSpec

LINE_BYTES = 64 * 1024 * 1024


class JsClients:
    """Created by `JsClients.open()`. Feeds each client's session."""

    def __init__(
        self, process: asyncio.subprocess.Process, sessions: Mapping[str, ClientSession]
    ) -> None:
        self._process = process
        self._sessions = sessions

    @classmethod
    @asynccontextmanager
    async def open(
        cls, specs: Mapping[ClientSpec, str], sessions: Mapping[str, ClientSession]
    ) -> AsyncIterator[JsClients]:
        """Start the clients. `specs` with the URL of each, `sessions` by the specs' names."""
        clients = [
            {
                "name": spec.name,
                "url": url,
                "options": {"transports": spec.transports},
                "auth": spec.auth,
                "snapshots": spec.snapshots,
            }
            for spec, url in specs.items()
        ]
        process = await asyncio.create_subprocess_exec(
            BINARY,
            installed() / "chaos_clients.mjs",
            json.dumps(clients),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        started = cls(process, sessions)
        reading = asyncio.create_task(started._read())
        try:
            yield started
        finally:
            process.kill()
            await process.wait()
            await reading
            assert process.stdin is not None
            process.stdin.close()

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def command(self, name: str, **command: Any) -> None:
        """Send a command of `chaos_clients.mjs` to one client."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"c": name, **command}).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.endswith(b"\n"):  # the last line is incomplete if the process was killed
                self._dispatch(orjson.loads(line))

    def _dispatch(self, report: dict[str, Any]) -> None:
        session = self._sessions[report["c"]]
        if "event" in report:
            session.receive(report["event"], report.get("position"))
        elif "requested" in report:
            session.on_request()
        elif "ack" in report:
            session.on_ack(report["request"], report["ack"])
        elif "connected" in report:
            session.on_connect(
                report["connected"],
                recovered=report["recovered"],
                transport=report["transport"],
            )
        elif "disconnected" in report:
            session.on_disconnect(report["disconnected"])
