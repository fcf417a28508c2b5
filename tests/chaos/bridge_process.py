"""Run `bridge serve` with a wall clock that another process sets.

    python -m tests.chaos.bridge_process FILE SLOW

FILE holds the offset of the clock, a double of seconds; writing it steps the wall clock of the
running bridge. The monotonic clock is not affected, as on a real machine. SLOW: seconds for which
the source waits after a rejected key or an exceeded quota; there is no setting for it. The process
exits at the end of stdin, so that none is left of a run that was killed.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import threading
import time
from pathlib import Path

from bridge.cli import main as cli
from bridge.clock import SystemClock
from bridge.source.realtime import disconnects


def main(file: Path, slow: float) -> int:
    threading.Thread(target=_exit_with_stdin, daemon=True).start()
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)

    def wall(self: SystemClock) -> float:
        return time.time() + float(struct.unpack("<d", offset[:8])[0])

    SystemClock.wall = wall  # type: ignore[method-assign]
    disconnects.SLOW_SECONDS = slow
    return cli.main(["serve"])


def _exit_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
