"""The app's folder: whether its build is of its present files, and how it gets one."""

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
"""Names in the folder that installing and building make; none of them is part of a build's
inputs.
"""

TAIL: Final = 3000
"""Characters of a failed command's output that are shown."""

POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class WebApp:
    """The app in `folder`, which has a package.json."""

    folder: Path

    def built(self) -> bool:
        """Whether there is a build, and of these very files."""
        try:
            return self._stamp.read_text("utf-8") == self.inputs()
        except FileNotFoundError:
            return False

    def installed(self) -> bool:
        """Whether `node_modules` is what package-lock.json asks for, by npm's own note of it."""
        lock = self.folder / "package-lock.json"
        try:
            return self._npm_note.stat().st_mtime >= lock.stat().st_mtime
        except FileNotFoundError:
            return False

    def inputs(self) -> str:
        """A digest of every file that a build is made from."""
        digest = hashlib.sha256()
        for file in self._files():
            content = file.read_bytes()
            name = file.relative_to(self.folder).as_posix()
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        return digest.hexdigest()

    async def prepare(self, node: NodeInstallation, tell: Callable[[str], None]) -> None:
        """Install and build what isn't there or is of other files; says so first. Whoever comes at
        the same time waits for who came first. Raises `WebFailed` with npm's last words.
        """
        async with self._alone():
            await self._install(node, tell)
            if self.built():
                return
            tell(f"Building the web app in {self.folder} (once; half a minute or so) ...")
            # A file that changes during the build makes the next one, not a wrong one.
            inputs = self.inputs()
            self._stamp.unlink(missing_ok=True)
            await self._npm(node, "run", "build")
            self._stamp.parent.mkdir(exist_ok=True)
            self._stamp.write_text(inputs, "utf-8")

    async def install(self, node: NodeInstallation, tell: Callable[[str], None]) -> None:
        """Only what the app depends on."""
        async with self._alone():
            await self._install(node, tell)

    async def _install(self, node: NodeInstallation, tell: Callable[[str], None]) -> None:
        if self.installed():
            return
        tell("Installing what the web app depends on (npm ci) ...")
        await self._npm(node, "ci", "--no-audit", "--no-fund")
        # Without any dependency npm leaves no note.
        self._npm_note.parent.mkdir(exist_ok=True)
        self._npm_note.touch()

    @property
    def _stamp(self) -> Path:
        return self.folder / ".next" / "built-from"

    @property
    def _npm_note(self) -> Path:
        return self.folder / "node_modules" / ".package-lock.json"

    def _files(self) -> Iterator[Path]:
        for place, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if name not in GENERATED)
            for name in sorted(files):
                if name not in GENERATED and not name.endswith(".tsbuildinfo"):
                    yield Path(place) / name

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        place = os.open(self.folder, os.O_RDONLY)
        try:
            while True:
                try:
                    fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    await asyncio.sleep(POLL_SECONDS)
                else:
                    break
            yield
        finally:
            os.close(place)

    async def _npm(self, node: NodeInstallation, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *node.npm,
            *arguments,
            cwd=self.folder,
            env=node.environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # A group of its own: what npm starts ends with it.
            start_new_session=True,
        )
        try:
            said, _ = await process.communicate()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        if process.returncode != 0:
            command = " ".join(("npm", *arguments))
            raise WebAppError(
                f"expected `{command}` to succeed in {self.folder}, came exit code "
                f"{process.returncode}. It ended so:\n"
                f"{said.decode(errors='replace').strip()[-TAIL:]}"
            )


def find_app() -> WebApp:
    """The app beside the sources. Raises `WebFailed` in an installed package, which has none."""
    folder = Path(__file__).resolve().parents[3] / "deploy" / "web"
    if not (folder / "package.json").is_file():
        raise WebAppError(
            f"the web app is part of the repository, not of the installed package: expected it in "
            f"{folder}, found none. Clone the repository, `pip install -e '.[dev]'` in it, and "
            "start `bridge dev --web` there"
        )
    return WebApp(folder)
