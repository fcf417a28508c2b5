"""The built app as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import httpx

from bridge.dev.web.errors import WebAppError
from bridge.sandbox.postgres import process_guard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from bridge.dev.web.build import WebApp
    from bridge.dev.web.node import NodeInstallation

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.05
LAST_LINES: Final = 20
"""Lines of its output that are shown when it ends by itself."""

SERVER_ERROR: Final = 500
PROCESS_GUARD: Final = Path(process_guard.__file__)


class WebServer:
    """Made by `WebServer.open()` only; alive inside its `async with`. `url` is where it answers.
    `hear`, if it is set, is given each line of its output from then on.
    """

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.url = f"http://localhost:{port}"
        self.on_output: Callable[[str], None] | None = None
        self._process = process
        self._port = port
        self._last_lines: deque[str] = deque(maxlen=LAST_LINES)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        app: WebApp,
        node: NodeInstallation,
        *,
        port: int,
        environment: Mapping[str, str],
        command: Sequence[str] = ("start",),
    ) -> AsyncIterator[Self]:
        """The app of `app`, answering on `port` of loopback. What it is told of bridge and project
        is in `environment`; our own settings are not passed on.

        `command` is npm's. Raises `WebFailed` when it doesn't come up. At the end, and if this
        process is killed, all of its processes end.
        """
        instructions = {
            "command": [*node.npm, *command],
            "cwd": str(app.folder),
            "group": True,
            "signals": ["SIGTERM", "SIGKILL"],
        }
        inherited = {
            name: value
            for name, value in node.environment().items()
            if not name.startswith(("BRIDGE_", "SUPABASE_", "NEXT_PUBLIC_"))
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            str(PROCESS_GUARD),
            json.dumps(instructions),
            env={**inherited, **environment, "PORT": str(port), "HOSTNAME": HOST},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        server = cls(process, port)
        reading = asyncio.create_task(server._read_output())
        try:
            await server._wait_until_ready()
            yield server
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()
            await reading

    async def ended(self) -> WebAppError:
        """Wait until it ends by itself; gives what to say about it."""
        code = await self._process.wait()
        last = "\n".join(self._last_lines) or "(nothing)"
        return WebAppError(
            f"the web app has ended by itself, with exit code {code}. It had said:\n{last}"
        )

    async def _wait_until_ready(self) -> None:
        url = f"http://{HOST}:{self._port}/"
        try:
            async with httpx.AsyncClient(timeout=START_SECONDS) as http:
                async with asyncio.timeout(START_SECONDS):
                    while True:
                        if self._process.returncode is not None:
                            raise await self.ended()
                        with contextlib.suppress(httpx.TransportError):
                            if (await http.get(url)).status_code < SERVER_ERROR:
                                return
                        await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            last = "\n".join(self._last_lines) or "(nothing)"
            raise WebAppError(
                f"expected the web app to answer at {url} within {START_SECONDS:g} s, it did not. "
                f"It had said:\n{last}"
            ) from None

    async def _read_output(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            if self.on_output is not None:
                self.on_output(text)
