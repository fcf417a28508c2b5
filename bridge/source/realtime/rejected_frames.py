"""Captures frames that the `realtime` package rejects: it logs them and calls no callback.

A change without a commit timestamp (Realtime's errors 400 and 401) and any frame that does not
match the package's models is logged as one ERROR record with the whole frame. The record is kept
out of the logs, since it contains rows, and becomes a `Gap`.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bridge.changes import Gap, GapReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.source.change_queue import ChangeQueue

log = logging.getLogger(__name__)

LIBRARY_LOGGER = "realtime._async.client"
MESSAGE_PREFIX = "Unrecognized message format"
"""Prefix of the record in `realtime` 2.34; a test fails if a version changes it."""


class _RejectedFrameFilter(logging.Filter):
    """One filter for all clients of the process: they share the package's logger, and a filter
    that drops a record hides it from the filters after it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queues: list[ChangeQueue] = []
        self.saved = (False, logging.NOTSET)  # the logger's `disabled` and level, to be restored

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.startswith(MESSAGE_PREFIX):
            return True
        if '"postgres_changes"' in message:
            errors = ("Error 401", "Error 400")
            reason = next((each for each in errors if each in message), "unknown format")
            advice = {
                "Error 401": "; grant select on the table, its key included, to service_role",
                "Error 400": "; the table needs a primary key",
            }.get(reason, "")
            log.error("a change could not be read (%s)%s", reason, advice)
            for queue in self.queues:  # the record does not name the client
                queue.put_nowait(Gap(GapReason.UNREADABLE, reason))
        else:
            log.warning("the server sent a message of unknown format (%d bytes)", len(message))
        return False


_REJECTED: Final = _RejectedFrameFilter()


@contextmanager
def capture_rejected_frames(queue: ChangeQueue) -> Iterator[None]:
    """Put a `Gap` into `queue` for each change that the package rejects while the block runs. With
    several blocks at a time, each queue receives the gaps of all.

    The package's logger is enabled meanwhile: `logging.config` disables by default every existing
    logger that it does not configure, and without a record there is no gap.
    """
    logger, queues = logging.getLogger(LIBRARY_LOGGER), _REJECTED.queues
    if not queues:
        _REJECTED.saved = (logger.disabled, logger.level)
        logger.addFilter(_REJECTED)
    queues.append(queue)
    logger.disabled = False
    if not logger.isEnabledFor(logging.ERROR):
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        queues.remove(queue)
        if not queues:
            logger.removeFilter(_REJECTED)
            logger.disabled, level = _REJECTED.saved
            logger.setLevel(level)
