"""Several bridges over one Redis server, as machines run them, for `bridge dev --machines`.

Each is a `bridge serve` of its own. One that ends is reported and not started again, so that one
can see another one take over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

import httpx

from bridge.dev import guard
from bridge.errors import BridgeError
from bridge.log.redis.url import is_redis, shown
from bridge.sandbox.redis import RedisServer, server_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from bridge.settings import Settings

POLL_SECONDS: Final = 0.05
PROBE_SECONDS: Final = 2.0
STOP_SECONDS: Final = 5.0
READY: Final = 200
GUARD: Final = guard.__file__
NOT_INHERITED: Final = ("SUPABASE_JWT_SECRET", "SUPABASE_SERVICE_ROLE_KEY", "BRIDGE_PROCESSES")


class MachinesError(BridgeError):
    """The settings allow one machine only."""


def redis_server() -> RedisServer | None:
    """Return a server to start for the machines; None if BRIDGE_LOG names one.

    Raises `MachinesError` if it names another log, and `RedisServerError` if there is no server.
    """
    given = os.environ.get("BRIDGE_LOG", "")
    if not given:
        return RedisServer(program=server_program())
    if is_redis(given):
        return None
    raise MachinesError(
        "several machines share a Redis server: expected BRIDGE_LOG=redis://host:6379/0, or no "
        f"BRIDGE_LOG for a server of their own. Found {given.partition(':')[0]}:"
    )


class DevMachines:
    """Bridges with the same settings, a port for each. `run` starts them; `show` gets a line for
    each line that one logs, and for one that ends.
    """

    def __init__(
        self,
        settings: Settings,
        ports: Sequence[int],
        server: RedisServer | None,
        show: Callable[[str], None],
    ) -> None:
        """`server`: the Redis server of `settings`, running, if it is of this process."""
        self.settings = settings
        self.urls = [f"http://{settings.host}:{port}" for port in ports]
        self.url = self.urls[0]
        self.redis_url = shown(settings.log)
        """The Redis server, without credentials."""
        self.pids: list[int] = []
        """In the order of `urls`."""
        self._ports = ports
        self._server = server
        self._show = show
        self._started = asyncio.Event()
        self._processes: list[asyncio.subprocess.Process] = []

    async def run(self) -> int:
        """Run all until cancelled, or until none is left. Return the exit code."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._stop)
            for port in self._ports:
                self._processes.append(await self._start(port))
            self.pids = [process.pid for process in self._processes]
            await stack.enter_async_context(self._guarded())
            self._started.set()
            async with asyncio.TaskGroup() as tasks:
                for number, process in enumerate(self._processes):
                    tasks.create_task(self._watch(number, process))
            self._show("No bridge is left.")
            return 1

    async def ready(self) -> None:
        """Wait until each bridge that runs is ready."""
        await self._started.wait()
        async with httpx.AsyncClient(timeout=PROBE_SECONDS) as http:
            for url, process in zip(self.urls, self._processes, strict=True):
                while process.returncode is None:
                    with contextlib.suppress(httpx.HTTPError):
                        if (await http.get(f"{url}/readyz")).status_code == READY:
                            break
                    await asyncio.sleep(POLL_SECONDS)

    async def _start(self, port: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bridge",
            "serve",
            "--host",
            self.settings.host,
            "--port",
            str(port),
            env=self._environment(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            process_group=0,  # Ctrl-C reaches this process alone, which stops them
        )

    @contextlib.asynccontextmanager
    async def _guarded(self) -> AsyncIterator[None]:
        """Inside, all processes end if this one is killed."""
        own = [] if self._server is None else [self._server.pid]
        guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            GUARD,
            *map(str, [*self.pids, *own]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert guard.stdout is not None
        try:
            await guard.stdout.readline()
            yield
        finally:
            guard.kill()
            await guard.wait()

    def _environment(self) -> dict[str, str]:
        settings, database = self.settings, self.settings.database_url
        inherited = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
        return {
            "BRIDGE_LOG_LEVEL": "warning",
            **inherited,
            "SUPABASE_URL": settings.supabase_url,
            "SUPABASE_SECRET_KEY": settings.supabase_secret_key.get_secret_value(),
            "BRIDGE_DATABASE_URL": "" if database is None else database.get_secret_value(),
            "BRIDGE_TABLE": settings.table,
            "BRIDGE_SOURCE": settings.source,
            "BRIDGE_CORS_ORIGINS": ",".join(settings.cors_origins),
            "BRIDGE_WATCHERS": settings.watchers,
            "BRIDGE_LOG": settings.log,
        }

    async def _watch(self, number: int, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self._show(f"bridge {number + 1}: {line.decode(errors='replace').rstrip()}")
        code = await process.wait()
        how = f"with code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        self._show(
            f"Bridge {number + 1} (pid {process.pid}, {self.urls[number]}) was ended {how} and is "
            "not started again: its clients recover at the others, one of which leads."
        )

    async def _stop(self) -> None:
        running = [process for process in self._processes if process.returncode is None]
        for _ in range(2):  # the second signal ends them at once
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                    process.terminate()
            await asyncio.sleep(POLL_SECONDS)
        waiting = [asyncio.create_task(process.wait()) for process in running]
        if waiting and (await asyncio.wait(waiting, timeout=STOP_SECONDS))[1]:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.wait(waiting)
