"""A Realtime client on a bare websocket, which sends and receives single frames."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from websockets.asyncio.client import ClientConnection, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox

PATIENCE = 10.0
"""Seconds within which an expected frame has to arrive."""


def url(sandbox: Sandbox, key: str | None = None, vsn: str = "1.0.0") -> str:
    base = sandbox.supabase_url.replace("http", "ws", 1)
    return f"{base}/realtime/v1/websocket?apikey={key or sandbox.supabase_key}&vsn={vsn}"


def binding(table: str, event: str = "*", **more: Any) -> dict[str, Any]:
    return {"event": event, "schema": "public", "table": table, **more}


class RawClient:
    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    @classmethod
    @asynccontextmanager
    async def open(cls, sandbox: Sandbox, key: str | None = None) -> AsyncIterator[Self]:
        async with connect(url(sandbox, key), max_size=None) as connection:
            yield cls(connection)

    async def send(self, topic: str, event: str, payload: Any, **refs: str | None) -> None:
        await self.connection.send(
            json.dumps({"topic": topic, "event": event, "payload": payload, **refs})
        )

    async def text(self) -> str:
        frame = await asyncio.wait_for(self.connection.recv(), PATIENCE)
        assert isinstance(frame, str)
        return frame

    async def frame(self) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self.text())
        return frame

    async def join(
        self,
        *bindings: dict[str, Any],
        topic: str = "realtime:props",
        ref: str = "1",
        token: str | None = None,
    ) -> dict[str, Any]:
        """Send a join. Return the next frame, its reply."""
        payload: dict[str, Any] = {"config": {"postgres_changes": list(bindings)}}
        if token is not None:
            payload["access_token"] = token
        await self.send(topic, "phx_join", payload, ref=ref, join_ref=ref)
        return await self.frame()

    async def subscribe(self, *bindings: dict[str, Any], **more: Any) -> list[int]:
        """Join and wait for `system` ok. Return the ids of the bindings."""
        reply = await self.join(*bindings, **more)
        assert reply["payload"]["status"] == "ok", reply
        system = await self.frame()
        assert system["payload"]["status"] == "ok", system
        return [echo["id"] for echo in reply["payload"]["response"]["postgres_changes"]]

    async def data(self) -> dict[str, Any]:
        """Return the `data` of the next frame, which has to be a change."""
        frame = await self.frame()
        assert frame["event"] == "postgres_changes", frame
        data: dict[str, Any] = frame["payload"]["data"]
        return data

    async def heartbeat(self) -> dict[str, Any]:
        await self.send("phoenix", "heartbeat", {}, ref="hb")
        return await self.frame()
