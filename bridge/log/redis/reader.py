"""Reads the stream: blocks for the next entries on a connection of its own, for ever.

It never starts at `$`, which leaves out what is added between two reads: each read continues after
the last entry. After every new connection it asks whether the history is still the one it has read.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final

from bridge.log.redis.connection import ServerUnavailableError, cancellable, delays
from bridge.log.redis.history import HistoryBrokenError
from bridge.log.redis.losses import LOSSES
from bridge.log.redis.reading import ENTRIES_PER_READ

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from redis.asyncio import Redis

    from bridge.clock import Clock
    from bridge.log.redis.connection import Connection
    from bridge.log.redis.history import LocalHistory
    from bridge.log.redis.keys import Keys
    from bridge.log.redis.scripts import Scripts

log = logging.getLogger(__name__)

BLOCK_SECONDS: Final = 5.0
"""Longest wait of one read. Proxies close connections that are silent for longer, from 60 s on."""

SILENCE_SECONDS: Final = 12.0
"""A connection on which no entry arrived for so long is replaced: the leader sends a beat each 5 s,
and a node that was demoted or cut off sends none."""

POLL_SECONDS: Final = 0.1
"""Between two reads of a server that does not block."""

UNBLOCKED_READS: Final = 3
"""Reads that return nothing at once, until the server is taken for one that does not block."""


class StreamReader:
    """Adds the entries of the stream to the history of this process."""

    def __init__(
        self,
        connection: Connection,
        scripts: Scripts,
        keys: Keys,
        history: LocalHistory,
        *,
        process: str,
        restart: Callable[[], Awaitable[None]],
        clock: Clock,
    ) -> None:
        """`restart` begins the local history again, from what is stored."""
        self.error: str | None = None
        """Why nothing can be read at present."""
        self.freed = asyncio.Event()
        """Set for a moment when the lease was released."""
        self._connection = connection
        self._scripts = scripts
        self._stream = keys("stream")
        self._history = history
        self._process = process
        self._restart = restart
        self._clock = clock
        self._silent_since = clock.monotonic()
        self._blocks = True
        self._unblocked = 0  # reads that should have blocked and did not

    async def run(self) -> None:
        """Read until cancelled. Raises `LogUnusableError` where a retry can't help."""
        retries = delays()
        while True:
            self._silent_since = self._clock.monotonic()
            before = self._history.last_id
            try:
                async with self._connection.own_client(answer_seconds=BLOCK_SECONDS + 5) as client:
                    await self._read(client)
            except ServerUnavailableError as error:
                self._failed(str(error))
            except _SilentError as error:
                self._failed(str(error))
                continue
            except HistoryBrokenError as error:
                await self._begin_again(error)
                continue
            if self._history.last_id != before:
                retries = delays()
            await asyncio.sleep(next(retries))

    async def doubt(self) -> None:
        """Begin another history if the stored one is not the one that was read; the reader of each
        process then gets an entry of it. Raises `ServerUnavailableError`.
        """
        seen, fresh = self._history.seen, secrets.token_hex(6)
        await self._connection.run(
            lambda redis: self._scripts.doubt(redis, self._process, seen, fresh)
        )

    async def _read(self, client: Redis) -> None:
        await cancellable(self._check(client))
        if self.error is not None and not self.error.startswith(SILENCE):
            self._healed()
        history = self._history
        while True:
            for entry_id, fields in await self._next(client):
                kind = history.receive(entry_id.decode(), fields)
                if kind == b"f":
                    self.freed.set()
                    self.freed.clear()
                if kind == b"a":
                    await asyncio.sleep(0)  # decoding hundreds of events takes some milliseconds
            if self.error is not None:
                self._healed()

    async def _next(self, client: Redis) -> Sequence[tuple[bytes, Mapping[bytes, bytes]]]:
        """Return the next entries, at least one. Raises `_SilentError` if none arrives."""
        while True:
            started = self._clock.monotonic()
            answer: Any = await cancellable(
                client.xread(
                    {self._stream: self._history.last_id},
                    count=ENTRIES_PER_READ,
                    block=round(BLOCK_SECONDS * 1000) if self._blocks else None,
                )
            )
            now = self._clock.monotonic()
            if answer:
                self._silent_since = now
                [(_, entries)] = answer
                return entries  # type: ignore[no-any-return]
            if now - self._silent_since > SILENCE_SECONDS:
                raise _SilentError(
                    f"{SILENCE} {self._connection.shown} for {SILENCE_SECONDS:.0f} s: no bridge "
                    "leads, or this connection is to a server that is cut off"
                )
            if now - started < BLOCK_SECONDS / 2:
                self._poll()
                await asyncio.sleep(POLL_SECONDS)

    async def _check(self, client: Redis) -> None:
        """Raises `HistoryBrokenError` if the stored history is not the one that was read."""
        info: Any = await client.info("replication")
        if info.get("role", "master") != "master":
            raise ServerUnavailableError(
                f"{self._connection.shown} is a replica; expected the server that takes writes"
            )
        seen, fresh = self._history.seen, secrets.token_hex(6)
        why = await self._scripts.doubt(client, self._process, seen, fresh)
        if why:
            raise HistoryBrokenError(LOSSES.get(why, why))

    async def _begin_again(self, error: HistoryBrokenError) -> None:
        # The entry may be missing because it was trimmed, or because the history was lost.
        try:
            await self.doubt()
            await self._restart()
        except ServerUnavailableError as unavailable:
            self._failed(str(unavailable))
            return
        log.error(
            "the log at %s does not continue what this bridge has read (%s): clients load a new "
            "snapshot. Epoch %s is followed from now on",
            self._connection.shown,
            error,
            self._history.epoch,
        )

    def _poll(self) -> None:
        self._unblocked += 1
        if self._unblocked == UNBLOCKED_READS:
            self._blocks = False
            log.warning(
                "%s does not wait in XREAD BLOCK: the log is read each %.1f s, which is slower and "
                "costs %.0f commands per second. Use a server that supports blocking reads",
                self._connection.shown,
                POLL_SECONDS,
                1 / POLL_SECONDS,
            )

    def _failed(self, reason: str) -> None:
        if self.error is None:
            log.error("the log can't be followed: %s; retrying", reason)
        self.error = reason

    def _healed(self) -> None:
        self.error = None
        log.warning("the log at %s is followed again", self._connection.shown)


SILENCE: Final = "nothing was received from"
"""Begins the error of a silent connection."""


class _SilentError(Exception):
    """No entry was read for too long."""
