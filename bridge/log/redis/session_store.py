"""Sessions of clients, which any process can take over."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from bridge.log.redis.connection import ServerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bridge.log.redis.connection import Connection
    from bridge.log.redis.keys import Keys
    from bridge.log.redis.scripts import Scripts

log = logging.getLogger(__name__)

SESSIONS_PER_COMMAND: Final = 500
"""Sessions in one command, which the server handles in about 1 ms."""


class RedisSessionStore:
    """Implements `log.base.SessionStore`. A session belongs to the process that took it last."""

    shared = True

    def __init__(
        self, connection: Connection, scripts: Scripts, keys: Keys, *, process: str
    ) -> None:
        self._connection = connection
        self._scripts = scripts
        self._key = keys("sessions")
        self._process = process
        self._wanted: dict[str, asyncio.Future[bytes | None]] = {}
        self._taking: set[asyncio.Task[None]] = set()

    async def load(self) -> Sequence[tuple[str, bytes]]:
        return ()

    async def put(self, sessions: Mapping[str, bytes | None]) -> Collection[str]:
        refused: list[str] = []
        arguments: list[bytes | str] = []
        for name, session in sessions.items():
            arguments += (name, session or b"")
        for start in range(0, len(arguments), 2 * SESSIONS_PER_COMMAND):
            part = arguments[start : start + 2 * SESSIONS_PER_COMMAND]
            refused += await self._connection.until_done(
                lambda redis, part=part: self._scripts.put_sessions(  # type: ignore[misc]
                    redis, self._process, part
                ),
                lambda _: None,
            )
        return refused

    async def take(self, name: str, /) -> bytes | None:
        """Return the session and make it one of this process; None if there is none, or the server
        is away.
        """
        wanted = self._wanted.get(name)
        if wanted is None:
            wanted = self._wanted[name] = asyncio.get_running_loop().create_future()
            if len(self._wanted) == 1:
                task = asyncio.create_task(self._take(), name="take sessions")
                self._taking.add(task)
                task.add_done_callback(self._taking.discard)
        return await asyncio.shield(wanted)

    async def sweep(self, alive: Collection[str]) -> None:
        """Delete the sessions of processes that are not `alive`."""
        cursor = 0
        while True:
            found: Any
            cursor, found = await self._connection.run(
                lambda redis: redis.hscan(self._key, cursor, count=SESSIONS_PER_COMMAND)  # noqa: B023
            )
            owners = ((name, stored.partition(b"|")[0].decode()) for name, stored in found.items())
            gone = [part for name, owner in owners if owner not in alive for part in (name, owner)]
            if gone:
                await self._connection.run(
                    lambda redis: self._scripts.drop_sessions(redis, gone)  # noqa: B023
                )
            if not cursor:
                return

    async def _take(self) -> None:
        await asyncio.sleep(0)  # all that are wanted in this step of the loop are one command
        wanted, self._wanted = self._wanted, {}
        names = list(wanted)
        found: list[bytes | None] = []
        try:
            for start in range(0, len(names), SESSIONS_PER_COMMAND):
                part = names[start : start + SESSIONS_PER_COMMAND]
                found += await self._connection.run(
                    lambda redis, part=part: self._scripts.take_sessions(  # type: ignore[misc]
                        redis, self._process, part
                    )
                )
        except ServerUnavailableError as error:
            log.warning("sessions of reconnecting clients can't be read: %s", error)
        finally:
            sessions = dict(zip(names, found, strict=False))
            for name, future in wanted.items():
                if not future.done():
                    future.set_result(sessions.get(name))
