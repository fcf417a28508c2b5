"""Checks the event log: the server, or the file and its disk."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.cli.check.finding import Finding, fail, ok, warn
from bridge.log.backends import check_backend
from bridge.options import log_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.settings import Settings

WARNING: Final = "warning: "
FREE_BYTES: Final = 500_000_000
"""Free space that is taken for enough: the log of 100,000 events with its WAL takes about half."""


async def log_findings(settings: Settings) -> Sequence[Finding]:
    """Without a write."""
    if settings.log.startswith("sqlite:"):
        return list(_file(Path(settings.log.removeprefix("sqlite:///"))))
    return [_server(fine, text) for fine, text in await check_backend(log_options(settings))]


def _server(fine: bool, line: str) -> Finding:
    text = line.removeprefix("log: ")
    if text.startswith(WARNING):
        cause, _, fix = text.removeprefix(WARNING).rpartition(". ")
        return warn("log", cause or text.removeprefix(WARNING), fix if cause else "")
    return ok("log", text) if fine else fail("log", text)


def _file(path: Path) -> Iterator[Finding]:
    folder = path.parent
    if not folder.is_dir():
        yield fail("log", f"the folder {folder} of {path} does not exist", f"mkdir -p {folder}")
        return
    unwritable = next((p for p in (folder, path) if p.exists() and not os.access(p, os.W_OK)), None)
    if unwritable is not None:
        yield fail(
            "log",
            f"{unwritable} can't be written by this user",
            f"chown {os.getuid() if hasattr(os, 'getuid') else 'USER'} {unwritable}, or name "
            "another file in BRIDGE_LOG",
        )
        return
    if path.exists() and not path.is_file():
        yield fail("log", f"{path} is not a file", "name a file in BRIDGE_LOG, or memory:")
        return
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        yield warn(
            "log",
            f"{free / 1e6:,.0f} MB are free for {path}: on a full disk no change is published",
            "free some space, or lower BRIDGE_LOG_EVENTS or BRIDGE_LOG_SECONDS",
        )
    if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield warn(
            "log",
            f"{path} can be read by others, and holds what clients resume their sessions with",
            f"chmod 600 {path} (the bridge does it when it starts)",
        )
    yield ok("log", f"{path}, {free / 1e9:,.1f} GB free")
