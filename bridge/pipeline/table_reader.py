"""One read of the table, retried until it succeeds."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential_jitter

from bridge.errors import TableUnreadableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tenacity import RetryCallState

    from bridge.pipeline.merger import ChangeMerger

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_RETRY_SECONDS: Final = 0.2
LONGEST_RETRY_SECONDS: Final = 30.0
"""Between attempts of a read that fails; doubling, with jitter."""


class TableReader:
    """Reads the table and reports the begin and the end of each read to the merger."""

    def __init__(self, merger: ChangeMerger) -> None:
        self._merger = merger
        self.error: str | None = None
        """Why the table can't be read at present."""

    @asynccontextmanager
    async def read(self, query: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
        """Yield the result of `query`, retried until it succeeds. Its rows may be passed to
        `ChangeMerger.apply_read` within the block.
        """
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TableUnreadableError),
            wait=wait_exponential_jitter(
                multiplier=FIRST_RETRY_SECONDS,
                max=LONGEST_RETRY_SECONDS,
                jitter=FIRST_RETRY_SECONDS,
            ),
            before_sleep=self._on_failure,
        ):
            with attempt:
                # Each attempt is a read of its own: it includes what arrived during the last one.
                self._merger.begin_read()
                try:
                    result = await query()
                except BaseException:
                    self._merger.end_read()
                    raise
        self.error = None
        try:
            yield result
        finally:
            self._merger.end_read()

    def _on_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.error = str(error)
        permanent = isinstance(error, TableUnreadableError) and error.permanent
        log.log(
            logging.ERROR if permanent else logging.WARNING,
            "the table could not be read (attempt %d, next in %.1f s): %s",
            state.attempt_number,
            state.upcoming_sleep,
            error,
        )
