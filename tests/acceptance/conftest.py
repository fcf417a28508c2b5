"""The official JavaScript client, and the bridge as a process of its own."""

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

SECONDS = 15.0
"""How long a test waits for what has to happen."""


class Lines:
    """A process that prints a JSON line for everything that happens to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        """All of them, in order."""
        self.text = ""
        """All that it printed, other lines too."""
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
        """The next line that has `key`, after the one that was given last. Skips others."""
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
        """All that it printed, once `end` is in it."""
        async with asyncio.timeout(SECONDS):
            while end not in self.text:
                if self._ended:
                    raise EOFError(f"the process ended; it had printed {self.text}")
                self._news.clear()
                await self._news.wait()
        return self.text

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that were heard so far, as {event, data, args}."""
        return [line for line in self.lines if "event" in line]


class SeedClient(Lines):
    """`seed_client.mjs`: see there for what it prints and takes."""

    async def event(self) -> dict[str, Any]:
        return await self.next("event")

    async def connected(self) -> dict[str, Any]:
        return await self.next("connected")

    def tell(self, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")

    async def ack(self, name: str, *args: Any) -> Any:
        """Emit, and give what was acknowledged."""
        self.tell(emit=name, args=args)
        return (await self.next("ack"))["ack"]


class SeedClients(Protocol):
    def __call__(self, url: str, **options: Any) -> AbstractAsyncContextManager[SeedClient]: ...


@pytest.fixture(scope="session")
def js() -> Path:
    """The directory of the JavaScript clients, with what they need installed."""
    return installed()


class Start(Protocol):
    def __call__(
        self, script: str, url: str, **options: Any
    ) -> AbstractAsyncContextManager[SeedClient]: ...


@pytest.fixture
def start_js(js: Path) -> Start:
    """`async with start_js("script.mjs", url, **io_options) as client`: a script that prints and
    takes what `seed_client.mjs` does.
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
    """`async with seed_client(url, **io_options) as client`: the seed document's own client, on the
    official library, connected to `url`. `await client.connected()`, then `await client.event()`.
    """
    return lambda url, **options: start_js("seed_client.mjs", url, **options)


class BridgeProcess(Lines):
    """`python -m bridge ...`. What it wrote to stderr is in `stderr` once it has ended."""

    stderr = ""

    async def end(self, signal: int | None = None) -> int:
        """Wait for its end, after `signal` if one is given; the exit code."""
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
    """The command line, in an environment without settings of the machine's own. It is killed if
    it is left running. `directory` keeps what it wrote to stderr.
    """
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("BRIDGE_", "SUPABASE_"))}
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
        it = BridgeProcess(process)
        try:
            async with _read(process, it):
                yield it
        finally:
            it.stderr = log.read_text()
            print(it.stderr)  # where a failed test shows it


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
