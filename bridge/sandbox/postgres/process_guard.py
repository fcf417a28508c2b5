"""A small process between us and a server, so that no server outlives us whatever happens.

Run as `python -I warden.py <instructions as JSON>`; imports nothing but the standard library. It
starts the server as its child and reads its own stdin. The pipe's other end is held by the process
that wants the server: when that end closes, on purpose or because the process was killed, the
warden stops the server and, if told so, removes its directory. If the server ends by itself, the
warden ends with its exit code and removes nothing.

Instructions: `command`; `log`, the file for its output (else our own stdout and stderr); `user`;
`cwd`; `signals` that end it, the gentle one first; `group`, whether they go to all processes that
it started, too; `remove`, a directory.
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
"""Seconds that a server may take after each signal."""

SIGNALS = ("SIGINT", "SIGQUIT", "SIGKILL")
"""PostgreSQL's: fast shutdown (rolls back what runs), then an immediate one, then the axe."""


def main(instructions: dict[str, object]) -> int:
    command = [str(part) for part in _list(instructions["command"])]
    group = bool(instructions.get("group"))
    numbers = [signal.Signals[str(name)] for name in _list(instructions.get("signals", SIGNALS))]
    user = instructions.get("user")
    remove = instructions.get("remove")
    if instructions.get("log"):
        with open(str(instructions["log"]), "ab") as log:  # noqa: PTH123 - pathlib imports slowly
            # Our own last words belong there too.
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
    server = subprocess.Popen(  # noqa: S603 - our own parent gave the command
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
    """Until nobody of its group is left: a child may outlive the server that started it."""
    for number in numbers:
        _signal_group(server, number)
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            server.poll()  # or it stays as a zombie, and in the group
            if not _signal_group(server, 0):
                return
            time.sleep(0.02)


def _signal_group(server: subprocess.Popen[bytes], number: int) -> bool:
    """Whether there was anybody to tell."""
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
