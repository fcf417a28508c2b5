"""Logging of the process: records on stderr, with secrets redacted."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Final

from bridge.ops.log_format import LogFormat, configure_structlog, formatter
from bridge.ops.redaction import Redactor
from bridge.ops.terminal import has_colours, is_terminal

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


SILENCED_LIBRARIES: Final = ("realtime",)
"""Libraries that log an ERROR, or several, for each failed attempt to connect. The bridge logs each
attempt itself, in one line, with its cause and the time of the next one. The records are
dropped by the handler, not by the level: `source.realtime.rejected_frames` reads them."""


class _Silence(logging.Filter):
    """Drops the records of `SILENCED_LIBRARIES`, except at `debug`."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.name.partition(".")[0] not in SILENCED_LIBRARIES


def set_up(
    level: str,
    *,
    secrets: Iterable[str] = (),
    process: str = "",
    form: LogFormat = "text",
) -> None:
    """Log to stderr from `level` on (a value of the setting), libraries from `warning` on, and
    loggers with warnings caused by clients from `error` on. `process` names this process in each
    record, where several of them share stderr. `form` is a value of the setting: `auto` is text on
    a terminal and JSON elsewhere.

    For a process that runs only the bridge. An application that mounts the bridge configures its
    own logging and adds `redaction.Redactor` to its handlers.
    """
    handler = logging.StreamHandler(sys.stderr)
    redactor = Redactor(secrets)
    resolved = form if form != "auto" else "text" if is_terminal(sys.stderr) else "json"
    handler.setFormatter(
        formatter(resolved, redactor, process=process, colours=has_colours(sys.stderr))
    )
    if level.lower() != "debug":
        handler.addFilter(_Silence())
    handler.addFilter(redactor)
    configure_structlog()
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
