"""Frames that the `realtime` package drops: it logs them, whole rows and all, and calls nobody.

A change whose commit timestamp is null (Realtime's errors 400 and 401) and anything else that does
not fit the package's models ends as one ERROR line. The line is kept out of the logs, since it
holds rows, and becomes a `Gap`.
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
MARK = "Unrecognized message format"
"""As `realtime` 2.34 logs it; a test fails when a version says it otherwise."""


class _RejectedFrameFilter(logging.Filter):
    """One for all clients of the process: the package's logger is theirs together, and a filter
    that keeps a line out keeps it from the filters after it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inboxes: list[ChangeQueue] = []
        self.before = (False, logging.NOTSET)  # how the logger was, to be put back

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if not message.startswith(MARK):
            return True
        if '"postgres_changes"' in message:
            why = next(
                (error for error in ("Error 401", "Error 400") if error in message), "unknown shape"
            )
            advice = {
                "Error 401": "; grant select on the table, its key included, to service_role",
                "Error 400": "; the table needs a primary key",
            }.get(why, "")
            log.error("a change could not be read (%s)%s", why, advice)
            for inbox in self.inboxes:  # the line doesn't say whose it was
                inbox.put_nowait(Gap(GapReason.UNREADABLE, why))
        else:
            log.warning("the server sent a message of unknown shape (%d bytes)", len(message))
        return False


_REJECTED: Final = _RejectedFrameFilter()


@contextmanager
def capture_rejected_frames(inbox: ChangeQueue) -> Iterator[None]:
    """While the block runs, a change that the package could not read is a `Gap` in `inbox`. Several
    may watch at a time; each hears of all.

    The package's logger is woken for so long if it had been silenced, as `logging.config` does by
    default to every logger that it is not told of: no record, no gap.
    """
    logger, inboxes = logging.getLogger(LIBRARY_LOGGER), _REJECTED.inboxes
    if not inboxes:
        _REJECTED.before = (logger.disabled, logger.level)
        logger.addFilter(_REJECTED)
    inboxes.append(inbox)
    logger.disabled = False
    if not logger.isEnabledFor(logging.ERROR):
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        inboxes.remove(inbox)
        if not inboxes:
            logger.removeFilter(_REJECTED)
            logger.disabled, level = _REJECTED.before
            logger.setLevel(level)
