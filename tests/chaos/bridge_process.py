"""`bridge serve` with a wall clock that can be set from outside.

    python -m tests.chaos.bridge_process FILE SLOW

FILE holds how far the clock is off, a double of seconds; whoever writes it steps the clock of the
running bridge. The monotonic clock stays, as it does in a real machine. SLOW: seconds that the
source waits where a key or a quota is refused, for which there is no setting. It ends with stdin,
so that nothing of a run that was killed stays behind.
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
from bridge.source.realtime import disconnects as endings


def main(file: Path, slow: float) -> int:
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    with file.open("rb") as opened:
        offset = mmap.mmap(opened.fileno(), 8, access=mmap.ACCESS_READ)

    def wall(self: SystemClock) -> float:
        return time.time() + float(struct.unpack("<d", offset[:8])[0])

    SystemClock.wall = wall  # type: ignore[method-assign]
    endings.SLOW_SECONDS = slow
    return cli.main(["serve"])


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
