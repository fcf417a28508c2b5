"""Logging of the process: records on stderr, with secrets redacted."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Final

from bridge.ops.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

QUIET_LIBRARIES: Final = (
    "realtime",
    "websockets",
    "httpx",
    "httpcore",
    "hpack",
    "uvicorn",
    "asyncio",
)
"""Libraries that log every message, request or connection at `info`. The bridge logs the relevant
ones itself."""

CLIENT_LOGGERS: Final = ("uvicorn.error", "bridge.gateway.engineio")
"""Loggers of warnings that clients cause, in any number."""


def set_up(level: str, *, secrets: Iterable[str] = (), process: str = "") -> None:
    """Log to stderr from `level` on (a value of the setting), libraries from `warning` on, and
    loggers with warnings caused by clients from `error` on. `process` names this process in each
    line, where several of them share stderr.

    For a process that runs only the bridge. An application that mounts the bridge configures its
    own logging and adds `redaction.Redactor` to its handlers.
    """
    handler = logging.StreamHandler(sys.stderr)
    name = process and f"[{process}] "
    handler.setFormatter(
        logging.Formatter(f"%(asctime)s %(levelname)-7s {name}%(name)s: %(message)s", "%H:%M:%S")
    )
    handler.addFilter(Redactor(secrets))
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # Uncaught exceptions would be printed unredacted otherwise.
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )
    for name in QUIET_LIBRARIES:
        logger = logging.getLogger(name)
        logger.setLevel(max(logging.WARNING, root.level))
        # A handler of its own, added before, would not redact.
        logger.handlers.clear()
        logger.propagate = True
    for name in CLIENT_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.ERROR, root.level))


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("bridge").critical("uncaught exception", exc_info=(kind, error, traceback))
