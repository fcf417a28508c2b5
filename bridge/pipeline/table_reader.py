"""One read of the table, tried until it succeeds."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential_jitter

from bridge.errors import TableUnreadableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tenacity import RetryCallState

    from bridge.pipeline.merger import ChangeMerger

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 30.0
"""Between attempts of a read that fails; doubling, with jitter."""


class TableReader:
    """Reads of the table on behalf of the ledger, which has to know when each one began."""

    def __init__(self, ledger: ChangeMerger) -> None:
        self._ledger = ledger
        self.error: str | None = None
        """Why the table can't be read at present."""

    @asynccontextmanager
    async def read(self, ask: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
        """The result of `ask`, tried until it succeeds; inside the block it may be handed to the
        ledger.
        """
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TableUnreadableError),
            wait=wait_exponential_jitter(
                multiplier=FIRST_RETRY_SECONDS,
                max=LONGEST_RETRY_SECONDS,
                jitter=FIRST_RETRY_SECONDS,
            ),
            before_sleep=self._failed,
        ):
            with attempt:
                # Each attempt is a read of its own: what arrived during the last one is known now.
                self._ledger.begin_read()
                try:
                    result = await ask()
                except BaseException:
                    self._ledger.end_read()
                    raise
        self.error = None
        try:
            yield result
        finally:
            self._ledger.end_read()

    def _failed(self, state: RetryCallState) -> None:
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
