"""The file of a log as the file system has it: its mode, and whether it is still in its place.

SQLite keeps the file open. It does not notice if the file is deleted, moved or truncated meanwhile,
and what is written after that is lost with the process.
"""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING, Final

from bridge.errors import LogUnusableError

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

MODE: Final = 0o600
"""The file holds the ids with which clients resume their sessions."""

WAL_BYTES: Final = 16 * 1024 * 1024
"""Size to which SQLite truncates the WAL after a large transaction."""


class LogFile:
    """One log's file and its WAL. Call `prepare` before SQLite opens them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wal = path.with_name(f"{path.name}-wal")
        self._known: dict[Path, os.stat_result] = {}
        self._truncation: str | None = None

    def prepare(self) -> None:
        """Create the file, empty, which SQLite takes for a database, or restrict its mode to the
        owner. Raises OSError, and `LogUnusableError` for a symbolic link to no file, and for what
        is no file.
        """
        if self.path.is_symlink() and not self.path.exists():
            raise LogUnusableError(
                f"the log {self.path} is a symbolic link to {self.path.readlink()}, which does not "
                "exist: remove the link, or name the file itself in BRIDGE_LOG"
            )
        file = os.open(self.path, os.O_CREAT | os.O_RDWR, MODE)
        try:
            found = os.fstat(file)
        finally:
            os.close(file)
        if not stat.S_ISREG(found.st_mode):
            raise LogUnusableError(
                f"the log {self.path} is a device or a pipe: expected in BRIDGE_LOG the name of a "
                "file, or memory:"
            )
        self._known = {self.path: found}
        for path in (self.path, self.wal):
            self._restrict(path)

    def accessible(self) -> bool:
        """Return whether the permissions allow to write the files and to create the WAL."""
        paths = [path for path in (self.path, self.wal) if path.exists()]
        return os.access(self.path.parent, os.W_OK | os.X_OK) and all(
            os.access(path, os.R_OK | os.W_OK) for path in paths
        )

    def loss(self) -> str | None:
        """Return what happened to the files that SQLite did not do; None: nothing. Call it while
        SQLite has them open, for the first time as soon as it has.
        """
        found = self._loss(self.path, None) or self._loss(self.wal, WAL_BYTES)
        return found or self._truncation

    def _loss(self, path: Path, truncated_to: int | None) -> str | None:
        """`truncated_to`: a size to which SQLite may truncate the file."""
        before = self._known.get(path)
        try:
            now = path.stat()
        except FileNotFoundError:
            return None if before is None else f"{path} was deleted or moved"
        except OSError as error:
            return f"{path} can't be read: {error.strerror}"
        if before is not None:
            if not os.path.samestat(before, now):
                return f"{path} was replaced by another file"
            least = before.st_size if truncated_to is None else min(before.st_size, truncated_to)
            if now.st_size < least:
                # SQLite may fill the gap later, with holes.
                self._truncation = f"{path} was truncated to {now.st_size} bytes"
        self._known[path] = now
        return None

    def _restrict(self, path: Path) -> None:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            if mode & ~MODE:
                path.chmod(mode & MODE)
                log.warning("%s was open to other users (mode %04o): now it is not", path, mode)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning(
                "others can use %s, which holds clients' sessions, and its mode can't be changed "
                "to 0600: %s",
                path,
                error.strerror,
            )
