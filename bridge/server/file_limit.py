"""The limit of open files of this process (`ulimit -n`), which every connection takes one of.

At the limit asyncio accepts nothing and logs an error thousands of times, and the log and the
requests to Supabase can't open files either. So connections are rejected before.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

log = logging.getLogger(__name__)

RESERVED_FILES: Final = 64
"""Files kept for everything but connections: the log, the source, requests to Supabase. With a
limit below twice of it, connections take at most half."""

WARN_SECONDS: Final = 60.0
"""Minimum time between two warnings."""

ACCEPT_FAILED: Final = "socket.accept() out of system resource"
"""asyncio's message for a connection that could not be accepted for want of a file."""


class FileLimit:
    """Rejects connections for want of files, and logs it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._warned_at: float | None = None

    def admits(self, connections: int) -> bool:
        """Return whether the process may hold so many connections; logs if it may not."""
        files = open_files_limit()
        if connections <= max(files - RESERVED_FILES, files // 2):
            return True
        self.warn()
        return False

    def warn(self) -> None:
        """Log that the limit is reached, at most once in `WARN_SECONDS`."""
        now = self._clock()
        if self._warned_at is not None and now - self._warned_at < WARN_SECONDS:
            return
        self._warned_at = now
        log.error(
            "new connections are rejected: this process may open %d files (ulimit -n), and each "
            "connection takes one; raise the limit (systemd: LimitNOFILE, Docker: --ulimit nofile)",
            open_files_limit(),
        )

    def on_loop_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """For `loop.set_exception_handler`. asyncio reports a failed accept up to 2048 times a
        second, each with a traceback.
        """
        if context.get("message") == ACCEPT_FAILED:
            self.warn()
        else:
            loop.default_exception_handler(context)


def open_files_limit() -> int:
    """Return how many files this process may have open."""
    if sys.platform == "win32":  # without such a limit
        return sys.maxsize
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


file_limit: Final = FileLimit()
"""The limit belongs to the process, and so does this."""
