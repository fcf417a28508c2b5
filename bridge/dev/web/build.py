"""The app's directory: installs its dependencies and keeps its build up to date."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.dev.web.errors import WebAppError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from bridge.dev.web.node import NodeInstallation

GENERATED: Final = ("node_modules", ".next", "next-env.d.ts")
"""Names in the directory that are created by installing and building; excluded from the digest."""

TAIL: Final = 3000
"""Characters of a failed command's output that are included in the error."""

POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class WebApp:
    """The app in `folder`, which has a package.json."""

    folder: Path

    def built(self) -> bool:
        """Return whether there is a build of the current files."""
        try:
            return self._stamp.read_text("utf-8") == self.inputs()
        except FileNotFoundError:
            return False

    def installed(self) -> bool:
        """Return whether npm installed `node_modules` after package-lock.json last changed."""
        lock = self.folder / "package-lock.json"
        try:
            return self._installed_lock.stat().st_mtime >= lock.stat().st_mtime
        except FileNotFoundError:
            return False

    def inputs(self) -> str:
        """Return a digest of the names and contents of all files that a build depends on."""
        digest = hashlib.sha256()
        for file in self._files():
            content = file.read_bytes()
            name = file.relative_to(self.folder).as_posix()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    async def prepare(self, node: NodeInstallation, show: Callable[[str], None]) -> None:
        """Install and build if missing or outdated, and announce it through `show`.

        Concurrent calls, also of other processes, wait for each other. Raises `WebAppError` with
        the end of npm's output.
        """
        async with self._locked():
            await self._install(node, show)
            if self.built():
                return
            show(f"Building the web app in {self.folder} (once, about 30 s) ...")
            # Computed before the build: a file that changes during it causes another build.
            inputs = self.inputs()
            self._stamp.unlink(missing_ok=True)
            await self._npm(node, "run", "build")
            self._stamp.parent.mkdir(exist_ok=True)
            self._stamp.write_text(inputs, "utf-8")

    async def install(self, node: NodeInstallation, show: Callable[[str], None]) -> None:
        """Install the dependencies if missing or outdated. Raises `WebAppError`."""
        async with self._locked():
            await self._install(node, show)

    async def _install(self, node: NodeInstallation, show: Callable[[str], None]) -> None:
        if self.installed():
            return
        show("Installing the dependencies of the web app (npm ci) ...")
        await self._npm(node, "ci", "--no-audit", "--no-fund")
        # npm does not write this file for an app without dependencies.
        self._installed_lock.parent.mkdir(exist_ok=True)
        self._installed_lock.touch()

    @property
    def _stamp(self) -> Path:
        return self.folder / ".next" / "built-from"

    @property
    def _installed_lock(self) -> Path:
        """The record of the installed packages that npm writes."""
        return self.folder / "node_modules" / ".package-lock.json"

    def _files(self) -> Iterator[Path]:
        for place, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if name not in GENERATED)
            for name in sorted(files):
                if name not in GENERATED and not name.endswith(".tsbuildinfo"):
                    yield Path(place) / name

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold an exclusive lock on the directory. npm itself does not lock it."""
        directory = os.open(self.folder, os.O_RDONLY)
        try:
            while True:
                try:
                    fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    break
            yield
        finally:
            os.close(directory)

    async def _npm(self, node: NodeInstallation, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *node.npm,
            *arguments,
            cwd=self.folder,
            env=node.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Its own process group, so that npm's child processes can be killed with it.
            start_new_session=True,
        )
        try:
            output, _ = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        if process.returncode != 0:
            command = " ".join(("npm", *arguments))
            raise WebAppError(
                f"expected `{command}` to succeed in {self.folder}, got exit code "
                f"{process.returncode}. End of its output:\n"
                f"{output.decode(errors='replace').strip()[-TAIL:]}"
            )


def find_app() -> WebApp:
    """Return the app of the repository. Raises `WebAppError` in an installed package, which does
    not contain it.
    """
    folder = Path(__file__).resolve().parents[3] / "deploy" / "web"
    if not (folder / "package.json").is_file():
        raise WebAppError(
            "the web app is part of the repository, not of the installed package: expected it in "
            f"{folder}, found none. Clone the repository, run `pip install -e '.[sandbox]'` in it, "
            "and start `bridge dev --web` there"
        )
    return WebApp(folder)
