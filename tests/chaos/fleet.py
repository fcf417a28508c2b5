"""Official JavaScript clients, many in one process of node, and the stories of what they hear."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson

from tests.acceptance.node import BINARY, installed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.chaos.role import Role
    from tests.chaos.story import Story

LINE_BYTES = 64 * 1024 * 1024


class Fleet:
    """Made by `Fleet.open()`. Feeds each client's story."""

    def __init__(self, process: asyncio.subprocess.Process, stories: Mapping[str, Story]) -> None:
        self._process = process
        self._stories = stories

    @classmethod
    @asynccontextmanager
    async def open(
        cls, roles: Mapping[Role, str], stories: Mapping[str, Story]
    ) -> AsyncIterator[Fleet]:
        """`roles` with the URL that each connects to; `stories` by the roles' names."""
        clients = [
            {
                "name": role.name,
                "url": url,
                "options": {"transports": role.transports},
                "auth": role.auth,
                "snapshots": role.snapshots,
            }
            for role, url in roles.items()
        ]
        process = await asyncio.create_subprocess_exec(
            BINARY,
            installed() / "chaos_fleet.mjs",
            json.dumps(clients),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        fleet = cls(process, stories)
        reading = asyncio.create_task(fleet._read())
        try:
            yield fleet
        finally:
            process.kill()
            await process.wait()
            await reading
            assert process.stdin is not None
            process.stdin.close()

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def tell(self, name: str, **command: Any) -> None:
        """A command to one client: see `chaos_fleet.mjs`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"c": name, **command}).encode() + b"\n")

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.endswith(b"\n"):  # else it was killed in the middle of it
                self._take(orjson.loads(line))

    def _take(self, said: dict[str, Any]) -> None:
        story = self._stories[said["c"]]
        if "event" in said:
            story.told(said["event"], said.get("position"))
        elif "asked" in said:
            story.asked()
        elif "answer" in said:
            story.answered(said["request"], said["answer"])
        elif "connected" in said:
            story.came(said["connected"], recovered=said["recovered"], transport=said["transport"])
        elif "disconnected" in said:
            story.went(said["disconnected"])
