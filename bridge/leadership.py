"""Leads while this process has the lease: one process at a time follows the table and appends.

A process that gets the lease first applies what the leader before it has appended, then opens its
`Ingest`, whose first scan emits what was missed in between. It stops leading when the lease is
lost, when the log refuses its appends, when the log's history has gone, and when it can't follow
the table while another process could.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import LeaseLostError
from bridge.source.base import SourceState
from bridge.supervisor import run_until_failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bridge.clock import Clock
    from bridge.log.base import Lease
    from bridge.replica import Replica
    from bridge.roles import Ingest
    from bridge.upstream import Upstream

log = logging.getLogger(__name__)

PAUSE_SECONDS: Final = 30.0
"""How long a process that can't follow the table leaves the lease to others."""

CHECK_SECONDS: Final = 0.1
"""Interval at which a leader checks whether it can follow the table."""


@dataclass(frozen=True, slots=True)
class LeadershipLimits:
    """When a leader gives the lease to another process: after `down_seconds` without a live source,
    or `start_seconds` if its source has not been live yet.
    """

    down_seconds: float
    start_seconds: float


class Leadership:
    """Opens, runs and closes the `Ingest` of this process whenever it has the lease."""

    def __init__(
        self,
        lease: Lease,
        replica: Replica,
        upstream: Upstream,
        *,
        open_ingest: Callable[[AsyncExitStack], Awaitable[Ingest]],
        limits: LeadershipLimits,
        others: Callable[[], int],
        clock: Clock,
    ) -> None:
        """`open_ingest` opens the parts, which the stack closes. `others` returns the number of
        other processes that could lead.
        """
        self.ingest: Ingest | None = None
        """None while another process leads."""
        self._lease = lease
        self._replica = replica
        self._upstream = upstream
        self._open_ingest = open_ingest
        self._limits = limits
        self._others = others
        self._clock = clock
        self._closing = AsyncExitStack()
        self._interrupted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._retired = False

    async def open(self) -> None:
        """Lead from the start, if no other process can: an error is one of the start then."""
        if self._lease.leading:
            await self._begin()

    async def run(self) -> None:
        """Lead whenever this process has the lease, until cancelled. Raises what makes it
        impossible to go on.
        """
        if not self._retired:
            self._task = asyncio.create_task(self._lead_forever(), name="lead")
            try:
                await asyncio.wait({self._task})
            finally:
                await _cancel(self._task)
            if not self._task.cancelled():
                self._task.result()
        await asyncio.get_running_loop().create_future()  # retired

    async def interrupt(self) -> None:
        """Stop leading for now, and return when the parts are closed."""
        if not self._idle.is_set():
            self._interrupted.set()
            await self._idle.wait()

    async def retire(self) -> None:
        """Stop leading for good, since the process ends, and give the lease away."""
        self._retired = True
        await self._lease.release()  # first: another process waits for it
        if self._task is not None:
            await _cancel(self._task)
            await self._lease.release()

    async def close(self) -> None:
        """Close the parts. Harmless if they are closed."""
        self.ingest = self._upstream.own = None
        closing, self._closing = self._closing, AsyncExitStack()
        await closing.aclose()

    async def _begin(self) -> Ingest:
        ingest = await self._open_ingest(self._closing)
        self.ingest = self._upstream.own = ingest
        return ingest

    async def _lead_forever(self) -> None:
        while not self._retired:
            pause = 0.0
            await self._lease.acquired()
            await self._replica.caught_up()
            # No await from there to here: the replica does not load its rows again meanwhile.
            self._idle.clear()
            try:
                pause = await self._lead()
            finally:
                await self.close()
                self._interrupted.clear()
                self._idle.set()
            await self._lease.release(pause=pause)

    async def _lead(self) -> float:
        """Lead until something ends it. Return how long to leave the lease to others."""
        try:
            ingest = self.ingest or await self._begin()
        except LeaseLostError:
            return 0.0
        failure = asyncio.create_task(run_until_failure(ingest.tasks()), name="ingest")
        lost = asyncio.create_task(self._lease.lost(), name="lost lease")
        interrupted = asyncio.create_task(self._interrupted.wait(), name="interrupted")
        unable = asyncio.create_task(self._unable(ingest), name="unable to lead")
        ends: tuple[asyncio.Task[Any], ...] = (failure, lost, interrupted, unable)
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if failure.done() and not _is_fenced(failure.result()):
                raise failure.result()
            if unable.done():
                log.warning(
                    "this process can't follow the table (%s) and another process may: the lease "
                    "is given away for %.0f s",
                    ingest.source.status().error or ingest.pipeline.status().error,
                    PAUSE_SECONDS,
                )
                return PAUSE_SECONDS
            return 0.0
        finally:
            await _cancel(*ends)

    async def _unable(self, ingest: Ingest) -> None:
        """Wait until the source has not been live for too long, though another process is there."""
        live_at: float | None = None
        began = self._clock.monotonic()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            now = self._clock.monotonic()
            state = self._upstream.state()
            live = ingest.source.status().state is SourceState.LIVE and not state.blind
            if live or (live_at is None and state.reconciled):
                live_at = now
            limits = self._limits
            since, limit = (
                (began, limits.start_seconds) if live_at is None else (live_at, limits.down_seconds)
            )
            if now - since > limit and self._others():
                return


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end, whatever it is."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _is_fenced(error: BaseException) -> bool:
    """Return whether an error is nothing but refused appends."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(LeaseLostError)[1] is None
    return isinstance(error, LeaseLostError)
