"""Runs the built web app as a process."""

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
"""Lines of its output that are included in errors."""

SERVER_ERROR: Final = 500
PROCESS_GUARD: Final = Path(process_guard.__file__)


class WebServer:
    """The running web app at `url`. Created by `WebServer.open()` only; runs inside its
    `async with`. If `on_output` is set, it is called with each further line of output.
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
        """Serve `app` on `port` of loopback. `environment` configures it; the bridge's own settings
        (`BRIDGE_*`, `SUPABASE_*`) are not inherited.

        `command` is the npm command. Raises `WebAppError` if the app does not respond within
        `START_SECONDS`. Its process group is stopped at the end, and when this process is killed.
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
        """Wait until the process exits by itself. Return the error that describes it."""
        code = await self._process.wait()
        return WebAppError(f"the web app exited with code {code}. {self._output_tail()}")

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
            raise WebAppError(
                f"expected the web app to respond at {url} within {START_SECONDS:g} s, got no "
                f"response. {self._output_tail()}"
            ) from None

    def _output_tail(self) -> str:
        return "End of its output:\n" + ("\n".join(self._last_lines) or "(nothing)")

    async def _read_output(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            text = line.decode(errors="replace").rstrip()
            self._last_lines.append(text)
            if self.on_output is not None:
                self.on_output(text)
