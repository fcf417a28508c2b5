"""A small process between us and PostgreSQL, so that no server outlives us whatever happens.

Run as `python -I warden.py <instructions as JSON>`; imports nothing but the standard library. It
starts the server as its child and reads its own stdin. The pipe's other end is held by the process
that wants the server: when that end closes, on purpose or because the process was killed, the
warden stops the server and, if told so, removes its directory. If the server ends by itself, the
warden ends with its exit code and removes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

PATIENCE = 5.0
"""Seconds that a fast shutdown may take before the server is told to drop everything."""


def main(instructions: dict[str, object]) -> int:
    command = [str(part) for part in _list(instructions["command"])]
    user = instructions.get("user")
    remove = instructions.get("remove")
    with open(str(instructions["log"]), "ab") as log:  # noqa: PTH123 - pathlib is slow to import
        os.dup2(log.fileno(), 2)  # our own last words belong there too
        server = subprocess.Popen(  # noqa: S603 - our own parent gave the command
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            user=str(user) if user else None,
            extra_groups=[] if user else None,
        )
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    threading.Thread(target=_watch_owner, args=(stop,), daemon=True).start()

    while not stop.wait(0.05):
        code = server.poll()
        if code is not None:
            return code if code >= 0 else 128 - code
    _end(server)
    if remove:
        shutil.rmtree(str(remove), ignore_errors=True)
    return 0


def _watch_owner(stop: threading.Event) -> None:
    while os.read(0, 1024):
        pass
    stop.set()


def _end(server: subprocess.Popen[bytes]) -> None:
    """Fast shutdown (rolls back what runs), then an immediate one, then the axe."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        server.send_signal(number)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        return


def _list(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
