"""Runs a server as a child process and stops it when the owner exits, even if that was killed.

Run as a script, `python -I process_guard.py <instructions as JSON>`; imports only the standard
library. The owner holds the write end of the guard's stdin. When that end closes, on purpose or
because the owner was killed, the guard stops the server and removes the directory `remove`, if
given. If the server exits by itself, the guard exits with the same code and removes nothing.

Instructions: `command`; `log`, the file for the server's output (default: the guard's own stdout
and stderr); `user`; `cwd`; `signals` that stop it, in order of severity; `group`, whether they are
sent to the whole process group; `remove`, a directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

STOP_SECONDS = 5.0
"""Seconds between a signal and the next one."""

SIGNALS = ("SIGINT", "SIGQUIT", "SIGKILL")
"""PostgreSQL's fast shutdown (rolls back open transactions), immediate shutdown, then SIGKILL."""


def main(instructions: dict[str, object]) -> int:
    """Run the server until it or its owner exits. Return the guard's exit code."""
    command = [str(part) for part in _list(instructions["command"])]
    group = bool(instructions.get("group"))
    numbers = [signal.Signals[str(name)] for name in _list(instructions.get("signals", SIGNALS))]
    user = instructions.get("user")
    remove = instructions.get("remove")
    if instructions.get("log"):
        with open(str(instructions["log"]), "ab") as log:  # noqa: PTH123 - pathlib imports slowly
            # Tracebacks of the guard are logged there, too.
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
    server = subprocess.Popen(  # noqa: S603 - the command is the owner's
        command,
        stdin=subprocess.DEVNULL,
        cwd=str(instructions.get("cwd") or "/"),
        user=str(user) if user else None,
        extra_groups=[] if user else None,
        start_new_session=group,
    )
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    threading.Thread(target=_watch_stdin, args=(stop,), daemon=True).start()

    while not stop.wait(0.05):
        code = server.poll()
        if code is not None:
            if group:
                _stop_group(server, numbers)
            return code if code >= 0 else 128 - code
    (_stop_group if group else _stop)(server, numbers)
    if remove:
        shutil.rmtree(str(remove), ignore_errors=True)
    return 0


def _watch_stdin(stop: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stop.set()


def _stop(server: subprocess.Popen[bytes], numbers: Sequence[signal.Signals]) -> None:
    for number in numbers:
        server.send_signal(number)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return


def _stop_group(server: subprocess.Popen[bytes], numbers: Sequence[signal.Signals]) -> None:
    """Stop all processes of the group: a child may outlive the server that started it."""
    for number in numbers:
        _signal_group(server, number)
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            server.poll()  # reap it: a zombie stays in the group
            if not _signal_group(server, 0):
                return
            time.sleep(0.02)


def _signal_group(server: subprocess.Popen[bytes], number: int) -> bool:
    """Return whether the group has a process."""
    try:
        os.killpg(server.pid, number)
    except ProcessLookupError:
        return False
    return True


def _list(value: object) -> Sequence[object]:
    assert isinstance(value, list | tuple)
    return value


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
