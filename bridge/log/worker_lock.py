"""Detects that a server runs several workers, each with a bridge of its own.

A log in memory can't notice the others: each worker knows its own clients, and answers the requests
of all others with "Invalid session".
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)

MESSAGE: Final = (
    "another worker of this server runs the bridge as well: requests of one client reach both, and "
    "are answered 'Invalid session'. Run one worker (--workers 1, gunicorn -w 1), or `bridge "
    "serve` with BRIDGE_PROCESSES, whose processes share one port and one log"
)


class WorkerLock:
    """Held by one worker of a server while its bridge runs."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = Path(tempfile.gettempdir()) if directory is None else directory
        self._file = -1

    def acquire(self) -> bool:
        """Return whether no other worker of the same server holds it; logs if one does. Without
        workers there is nothing to hold.
        """
        if sys.platform == "win32" or not is_worker():
            return True
        path = self._directory / f"supabase-socketio-bridge-{os.getuid()}-{os.getppid()}.lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(path, flags, 0o600)
        except OSError:
            return True  # no folder for it: only the message is lost
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.release()
            log.error(MESSAGE)  # noqa: TRY400 - the error says no more
            return False
        return True

    def release(self) -> None:
        """Let another worker acquire it. Idempotent."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def is_worker() -> bool:
    """Whether this process was started by uvicorn or gunicorn as one of several."""
    gunicorn = os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/")
    return gunicorn or multiprocessing.parent_process() is not None
