"""A small file system that can be filled up."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = "64m"
BLOCK = bytes(64 * 1024)


class Disk:
    """A file system of 64 MiB at `path`. Created by `Disk.mounted()`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    @classmethod
    @contextmanager
    def mounted(cls, path: Path) -> Iterator[Disk | None]:
        """Mount a tmpfs, which requires root; yield None if that fails."""
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", path],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            yield None
            return
        try:
            yield cls(path)
        finally:
            subprocess.run(["umount", "-l", path], check=False)

    async def fill(self) -> None:
        """Write a file until no space is left."""
        await asyncio.to_thread(self._fill)

    def empty(self) -> None:
        """Delete the file that `fill` wrote."""
        self._filler.unlink(missing_ok=True)

    def _fill(self) -> None:
        file = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with suppress(OSError):
            while True:
                os.write(file, BLOCK)
        with suppress(OSError):
            while True:
                os.write(file, b"0")
        os.close(file)
