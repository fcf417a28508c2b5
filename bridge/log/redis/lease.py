"""The lease: the right to append, which one process has at a time, for a term that is counted."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bridge.log.redis.connection import ServerUnavailableError, delays
from bridge.log.redis.scripts import Acquired, Held, Lost

if TYPE_CHECKING:
    from bridge.clock import Clock
    from bridge.log.redis.connection import Connection
    from bridge.log.redis.history import LocalHistory
    from bridge.log.redis.reader import StreamReader
    from bridge.log.redis.scripts import Scripts

log = logging.getLogger(__name__)

RENEWALS: Final = 3
"""Renewals of a lease within its duration."""

BEAT_SECONDS: Final = 4.0
"""The leader adds a beat to a stream to which nothing was added for so long."""

PATIENCE_SECONDS: Final = 6.0
"""How long a new leader on another server waits for processes to verify what they have read: longer
than their pauses between two attempts to connect."""

RELEASE_SECONDS: Final = 1.0
"""Longest wait for the server at a release; the lease lapses otherwise."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term of this process. `term_id` identifies it in the history, `token` in the lease."""

    number: int
    token: str
    term_id: str


class RedisLease:
    """Implements `log.base.Lease`.

    A lease that lapses while the server is away is not lost: the term goes on if no other one has
    begun when the server is back. `append` decides: its script tests the term.
    """

    def __init__(
        self,
        connection: Connection,
        scripts: Scripts,
        history: LocalHistory,
        reader: StreamReader,
        *,
        process: str,
        seconds: float,
        clock: Clock,
    ) -> None:
        self.seconds = seconds
        self.held: Term | None = None
        """The term of this process; None: it does not lead."""
        self._connection = connection
        self._scripts = scripts
        self._history = history
        self._reader = reader
        self._process = process
        self._clock = clock
        self._renewing: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._ended.set()
        self._known_until = 0.0
        self._not_before = 0.0

    @property
    def leading(self) -> bool:
        return self.held is not None and self._clock.monotonic() < self._known_until

    @property
    def term(self) -> int:
        return self._history.term

    async def acquired(self) -> None:
        retries = delays()
        while True:
            pause = self._not_before - self._clock.monotonic()
            if pause > 0:
                await asyncio.sleep(pause)
                continue
            if self.held is not None:
                return
            begins, asked = self._history.begins, self._clock.monotonic()
            term_id = secrets.token_hex(6)
            token = f"{self._process}/{term_id}"
            try:
                answer = await self._ask(token, term_id)
            except ServerUnavailableError:
                await asyncio.sleep(next(retries))
                continue
            if isinstance(answer, Acquired):
                self._begin(Term(answer.term, token, term_id), asked)
                if await self._history.reached(answer.appends) and self._history.begins == begins:
                    return
                self.end("another history has begun")
            elif isinstance(answer, Held):
                await self._until_free(answer.seconds)
            else:
                # The reader begins the other history.
                with suppress(TimeoutError):
                    async with asyncio.timeout(self.seconds):
                        await self._history.changed()

    async def lost(self) -> None:
        await self._ended.wait()

    async def release(self, *, pause: float = 0.0) -> None:
        self._not_before = self._clock.monotonic() + pause
        held = self.held
        if held is None:
            return
        self.end("released")
        with suppress(ServerUnavailableError, TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                await self._connection.run(
                    lambda redis: self._scripts.release(redis, held.token, held.term_id)
                )

    def end(self, reason: str) -> None:
        """Note that this process does not lead any more."""
        if self.held is None:
            return
        log.warning("this bridge does not lead any more (term %d): %s", self.held.number, reason)
        self.held = None
        if self._renewing is not None and self._renewing is not asyncio.current_task():
            self._renewing.cancel()
        self._renewing = None
        self._ended.set()

    def confirm(self, asked: float) -> None:
        """Note that the lease was renewed by a request of that time (monotonic seconds)."""
        self._known_until = max(self._known_until, asked + self.seconds)

    async def _ask(self, token: str, term_id: str) -> Acquired | Held | Lost:
        seen, fresh = self._history.seen, secrets.token_hex(6)
        return await self._connection.run(
            lambda redis: self._scripts.acquire(
                redis,
                seen,
                fresh,
                process=self._process,
                token=token,
                term_id=term_id,
                seconds=self.seconds,
                patience=PATIENCE_SECONDS,
            )
        )

    def _begin(self, term: Term, asked: float) -> None:
        log.warning("this bridge leads from now on (term %d)", term.number)
        self.held = term
        self._history.term = max(self._history.term, term.number)
        self._known_until = asked + self.seconds
        self._ended.clear()
        self._renewing = asyncio.create_task(self._renew(term), name="renew the lease")

    async def _renew(self, term: Term) -> None:
        begins = self._history.begins
        newest, newest_at = "", self._clock.monotonic()
        interval = self.seconds / RENEWALS
        while self.held is term:
            await asyncio.sleep(interval)
            asked = self._clock.monotonic()
            if self._history.begins != begins:
                self.end("another history has begun")
                return
            if self._history.last_id != newest:
                newest, newest_at = self._history.last_id, asked
            try:
                async with asyncio.timeout(max(interval, 1.0)):
                    answer = await self._connection.run(
                        lambda redis: self._scripts.renew(
                            redis,
                            term.token,
                            term.term_id,
                            self.seconds,
                            beat=asked - newest_at >= BEAT_SECONDS - interval,  # noqa: B023
                        )
                    )
            except (ServerUnavailableError, TimeoutError):
                continue
            if answer != "ok":
                self.end("another bridge took over, or another history has begun")
                with suppress(ServerUnavailableError):
                    await self._reader.doubt()
                return
            self.confirm(asked)

    async def _until_free(self, seconds: float) -> None:
        """Wait until a lease that has `seconds` left may be free, or is released."""
        # Not all at the same moment, and each after the server's clock has passed it.
        wait = min(seconds, self.seconds) + random.uniform(0.005, 0.05)  # noqa: S311 - jitter
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._reader.freed.wait()
