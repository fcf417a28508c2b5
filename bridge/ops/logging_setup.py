"""Logging of the process: one line per record on stderr, secrets hidden."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Final

from bridge.ops.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

QUIET: Final = ("realtime", "websockets", "httpx", "httpcore", "hpack", "uvicorn", "asyncio")
"""Libraries that tell of every message, request or connection at `info`. The bridge says itself
what of it matters."""

CLIENTS: Final = ("uvicorn.error", "bridge.gateway.engineio")
"""Whose warnings are about what clients do wrong: anybody can cause as many as they like."""


def set_up(level: str, *, secrets: Iterable[str] = ()) -> None:
    """Send all logs to stderr, from `level` (a setting's value) on, libraries' from `warning` on,
    and from `error` on where warnings are about clients.

    For a process that is the bridge. An application that mounts it has logging of its own, and puts
    `redaction.Redactor` on its handlers.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    )
    handler.addFilter(Redactor(secrets))
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # What nobody caught would else be printed as it is.
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )
    for name in QUIET:
        logger = logging.getLogger(name)
        logger.setLevel(max(logging.WARNING, root.level))
        # A handler of its own, which somebody may have given it before, would scrub nothing.
        logger.handlers.clear()
        logger.propagate = True
    for name in CLIENTS:
        logging.getLogger(name).setLevel(max(logging.ERROR, root.level))


def _uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    logging.getLogger("bridge").critical("nobody caught this", exc_info=(kind, error, traceback))
