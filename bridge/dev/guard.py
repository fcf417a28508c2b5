"""Kills processes when the process that started this one is gone, however it ended.

    python -I guard.py PID ...

Run as a script, with stdin a pipe of that process: its end is what is waited for.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def main(pids: list[int]) -> None:
    # A descriptor means the same process for ever; its number may be given to another one.
    known = {}
    for pid in pids:
        with suppress(OSError, AttributeError):
            known[pid] = os.pidfd_open(pid)
    print("ready", flush=True)  # noqa: T201 - to the process that waits
    sys.stdin.buffer.read()
    for pid in pids:
        with suppress(OSError):
            if pid in known:
                signal.pidfd_send_signal(known[pid], signal.SIGKILL)
            elif not hasattr(os, "pidfd_open"):
                os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the end of stdin decides
    main([int(pid) for pid in sys.argv[1:]])
