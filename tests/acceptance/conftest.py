"""The official JavaScript client, and the bridge as a process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.acceptance.node import BINARY, installed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

SECONDS = 45.0
"""How long a test waits for one event, at most; a process starts slowly on a busy machine."""


class Lines:
    """Reads the JSON lines that a process prints."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        """All JSON lines so far."""
        self.text = ""
        """All output so far, other lines too."""
        self._next = 0
        self._news = asyncio.Event()
        self._ended = False

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            text = line.decode()
            self.text += text
            if text.startswith("{"):
                self.lines.append(json.loads(text))
            self._news.set()
        self._ended = True
        self._news.set()

    async def next(self, key: str) -> dict[str, Any]:
        """Return the next line with `key` after the one returned last; others are skipped."""
        async with asyncio.timeout(SECONDS):
            while True:
                while self._next < len(self.lines):
                    line = self.lines[self._next]
                    self._next += 1
                    if key in line:
                        return line
                if self._ended:
                    raise EOFError(f"the process ended; it had printed {self.lines}")
                self._news.clear()
                await self._news.wait()

    async def text_until(self, end: str) -> str:
        """Return all output, once it contains `end`."""
        async with asyncio.timeout(SECONDS):
            while end not in self.text:
                if self._ended:
                    raise EOFError(f"the process ended; it had printed {self.text}")
                self._news.clear()
                await self._news.wait()
        return self.text

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events received so far, as {event, data, args}."""
        return [line for line in self.lines if "event" in line]


class SeedClient(Lines):
    """`seed_client.mjs`, where its lines and commands are described."""

    async def event(self) -> dict[str, Any]:
        return await self.next("event")

    async def connected(self) -> dict[str, Any]:
        return await self.next("connected")

    def command(self, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    async def ack(self, name: str, *args: Any) -> Any:
        """Emit an event, and return its ack."""
        self.command(emit=name, args=args)
        return (await self.next("ack"))["ack"]


class SeedClients(Protocol):
    def __call__(self, url: str, **options: Any) -> AbstractAsyncContextManager[SeedClient]: ...


@pytest.fixture(scope="session")
def js() -> Path:
    """Return the directory of the JavaScript clients, with their packages installed."""
    return installed()


class Start(Protocol):
    def __call__(
        self, script: str, url: str, **options: Any
    ) -> AbstractAsyncContextManager[SeedClient]: ...


@pytest.fixture
def start_js(js: Path) -> Start:
    """Return a function: `async with start_js("script.mjs", url, **io_options) as client` runs a
    script with the lines and commands of `seed_client.mjs`.
    """

    @asynccontextmanager
    async def start(script: str, url: str, **options: Any) -> AsyncIterator[SeedClient]:
        process = await asyncio.create_subprocess_exec(
            BINARY,
            js / script,
            url,
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with _read(process, SeedClient(process)) as client:
            yield client

    return start


@pytest.fixture
def seed_client(start_js: Start) -> SeedClients:
    """Return a function: `async with seed_client(url, **io_options) as client` runs the seed
    document's client on the official library. `await client.connected()`, then
    `await client.event()`.
    """
    return lambda url, **options: start_js("seed_client.mjs", url, **options)


class BridgeProcess(Lines):
    """A process `python -m bridge ...`. `stderr` is set when it has exited."""

    stderr = ""

    async def end(self, signal: int | None = None) -> int:
        """Send `signal`, if given, wait for the exit, and return its code."""
        if signal is not None:
            self.process.send_signal(signal)
        async with asyncio.timeout(SECONDS):
            await self.process.wait()
        assert self.process.returncode is not None
        return self.process.returncode


@asynccontextmanager
async def bridge_process(
    directory: Path, *args: str, **environment: str
) -> AsyncIterator[BridgeProcess]:
    """Run the command line in an environment without the machine's own settings.

    The process is killed if it is still running at the end. `directory`: for its stderr.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BRIDGE_", "SUPABASE_"))}
    clean["BRIDGE_LOG_FORMAT"] = "text"
    log = directory / f"stderr-{len(list(directory.iterdir()))}"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bridge",
            *args,
            env=clean | environment,
            cwd=directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
        )
        bridge = BridgeProcess(process)
        try:
            async with _read(process, bridge):
                yield bridge
        finally:
            bridge.stderr = log.read_text()
            print(bridge.stderr)  # shown with a failed test


@pytest.fixture
def run_bridge(
    tmp_path: Path,
) -> Callable[..., AbstractAsyncContextManager[BridgeProcess]]:
    """`async with run_bridge("serve", BRIDGE_PORT="0") as process`: see `bridge_process`."""
    return partial(bridge_process, tmp_path)


@asynccontextmanager
async def _read(process: asyncio.subprocess.Process, lines: Any) -> AsyncIterator[Any]:
    reading = asyncio.create_task(lines.read())
    try:
        yield lines
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading
        if process.stdin is not None:
            process.stdin.close()
