"""Runs the wheel's PostgreSQL on a data directory and a loopback port."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from bridge.sandbox import ports
from bridge.sandbox.postgres.installation import (
    PostgresError,
    binaries,
    copy_binaries,
    first_inaccessible,
    initdb_options,
    server_user,
)

if TYPE_CHECKING:
    from types import TracebackType

HOST = "127.0.0.1"
SUPERUSER = "supabase_admin"
"""As on Supabase, `postgres` is not a superuser; migrations that need one fail here, too."""

PID_FILE_LINES = ("pid", "cluster", "started", "port", "socket", "address", "memory", "status")
"""Names of the lines of postmaster.pid."""

START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A client that was killed must not hold its slot for the default of 60 s.
    "wal_sender_timeout": "10s",
    "logging_collector": "off",
    # Parallel plans save nothing at this size, and starting the workers takes time.
    "max_parallel_workers": "0",
    "max_logical_replication_workers": "0",
    "jit": "off",
}
UNSAFE_SETTINGS = {
    # Unsafe only if the machine crashes. synchronous_commit stays on: without it a crash of the
    # server alone, which tests cause, loses committed transactions.
    "fsync": "off",
    "full_page_writes": "off",
}


class PostgresServer:
    """One PostgreSQL server, running between `start()` and `stop()`, or inside `async with`.

    With `data` the cluster is kept in `data/postgres` and reused, also after a crash, with the
    version that created it. Without, it is in a temporary directory, runs without fsync and is
    removed at the end. In both cases the server stops when this process exits, even if it is
    killed.
    """

    def __init__(
        self, data: Path | None = None, *, port: int = 0, version: int | None = None
    ) -> None:
        self._temporary = data is None
        temporary = Path(tempfile.gettempdir()) / f"bridge-sandbox-{secrets.token_hex(8)}"
        self._home = (data or temporary).absolute()
        self._cluster = self._home / "postgres"
        self._log = self._home / "postgres.log"
        self._password_file = self._home / "postgres.password"
        self._password = ""
        self._guard: asyncio.subprocess.Process | None = None
        self._user = server_user()
        self._version, self._bin = binaries(version or self._cluster_version())
        self._launched_at = 0
        self._lock: IO[bytes] | None = None
        self.port = port

    def url(self, user: str = "postgres") -> str:
        """Return a connection URL for `user`. All login roles share one random password."""
        return f"postgresql://{user}:{self._password}@{HOST}:{self.port}/postgres"

    @property
    def home(self) -> Path:
        """The directory of cluster, log and password; removed at the end if it is temporary."""
        return self._home

    @property
    def password(self) -> str:
        return self._password

    @property
    def running(self) -> bool:
        return self._guard is not None and self._guard.returncode is None

    async def start(self) -> None:
        """Create the cluster if there is none, start the server, return when it accepts
        connections. Raises `PostgresError`.
        """
        try:
            self._prepare()
            if not (self._cluster / "PG_VERSION").exists():
                await self._initdb()
            self._password = self._password_file.read_text()
            await self._launch_at_a_port()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the server, and remove the directory if it is temporary. Idempotent."""
        if self._guard is not None:
            await _close(self._guard)
            self._guard = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        if self._temporary:
            # The guard removes it as well; this is for a start that failed before the guard ran.
            await asyncio.to_thread(shutil.rmtree, self._home, ignore_errors=True)

    async def restart(self, *, crash: bool = False) -> None:
        """Stop and start on the same port. `crash` stops it as a power failure does: without a
        checkpoint, so that it starts with recovery from the WAL, without temporary slots.
        """
        await self.down(crash=crash)
        await self.up()

    async def down(self, *, crash: bool = False, patience: float = STOP_TIMEOUT) -> None:
        """Stop the server and keep its directory and port, until `up()`. Raises TimeoutError if it
        takes more than `patience` seconds.
        """
        assert self._guard is not None, "down() needs a started server"
        os.kill(self._server_pid(), signal.SIGQUIT if crash else signal.SIGINT)
        await asyncio.wait_for(self._guard.wait(), patience)
        await _close(self._guard)

    async def up(self) -> None:
        """Start the server again after `down()`."""
        await self._launch()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()

    def _prepare(self) -> None:
        self._home.mkdir(mode=0o700, parents=not self._temporary, exist_ok=not self._temporary)
        self._lock = (self._home / "lock").open("wb")
        try:
            # The kernel releases the lock when this process exits.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PostgresError(f"{self._home} is in use by another sandbox") from None
        if not self._password_file.exists():
            self._password_file.touch(mode=0o600)
            self._password_file.write_text(secrets.token_urlsafe(24))
        if self._user:
            shutil.chown(self._home, user=self._user)
            shutil.chown(self._password_file, user=self._user)
            blocked = first_inaccessible(self._home, self._user)
            if blocked:
                raise PostgresError(
                    f"PostgreSQL does not run as root, so it runs as {self._user!r}, which may "
                    f"not enter {blocked}. Expected: a data directory whose parents are accessible "
                    f"to every user, such as one below /var/tmp, or a user other than root."
                )
            if first_inaccessible(self._bin, self._user):
                # The virtual environment is below /root, as in many containers.
                self._bin = copy_binaries(self._bin, self._home / "installation")

    async def _initdb(self) -> None:
        # Created under another name and renamed, so that an interrupted initdb is not used.
        draft = self._home / "postgres.new"
        await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)
        process = await asyncio.create_subprocess_exec(
            str(self._bin / "initdb"),
            f"--pgdata={draft}",
            f"--username={SUPERUSER}",
            f"--pwfile={self._password_file}",
            *initdb_options(self._version, keep=not self._temporary),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/",
            user=self._user,
            extra_groups=[] if self._user else None,
        )
        try:
            output, _ = await process.communicate()
        except BaseException:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise
        if process.returncode != 0:
            raise PostgresError(
                f"initdb could not create a cluster in {self._home}: "
                f"{output.decode(errors='replace').strip()[-2000:]}"
            )
        draft.rename(self._cluster)

    async def _launch_at_a_port(self) -> None:
        """Launch at `port`; without one, draw another if another process takes it first."""
        if self.port:
            return await self._launch()
        for _ in range(ports.TRIES - 1):
            self.port = ports.free_port()
            try:
                return await self._launch()
            except PostgresError as failed:
                if ports.TAKEN not in str(failed):
                    raise
                assert self._guard is not None
                await _close(self._guard)
        self.port = ports.free_port()
        return await self._launch()

    async def _launch(self) -> None:
        await self._wait_for_previous_server()
        self._launched_at = int(time.time())
        settings = SETTINGS | (UNSAFE_SETTINGS if self._temporary else {})
        command = [str(self._bin / "postgres"), "-D", str(self._cluster), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        instructions = {
            "command": command,
            "user": self._user,
            "log": str(self._log),
            "remove": str(self._home) if self._temporary else None,
        }
        self._guard = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # no module of this directory or of PYTHONPATH may shadow a standard one
            str(Path(__file__).with_name("process_guard.py")),
            json.dumps(instructions),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            # Ctrl-C signals the whole foreground group; the server must stop after this process.
            start_new_session=True,
        )
        try:
            await asyncio.wait_for(self._ready(), START_TIMEOUT)
        except TimeoutError:
            raise PostgresError(
                f"PostgreSQL was not ready within {START_TIMEOUT:g} s. {self._log_tail()}"
            ) from None

    async def _ready(self) -> None:
        """Poll the status in postmaster.pid, which is cheaper than connection attempts."""
        assert self._guard is not None
        while self._status() != "ready":
            if self._guard.returncode is not None:
                raise PostgresError(
                    f"PostgreSQL did not start (exit {self._guard.returncode}). {self._log_tail()}"
                )
            await asyncio.sleep(0.01)

    def _status(self) -> str:
        lines = self._pid_file()
        if len(lines) < len(PID_FILE_LINES):
            return ""
        values = dict(zip(PID_FILE_LINES, lines, strict=False))
        # The file of an earlier server, left by a crash, also has the status "ready".
        return values["status"].strip() if int(values["started"]) >= self._launched_at else ""

    async def _wait_for_previous_server(self) -> None:
        """Wait until the guard of an owner that was just killed has stopped its server."""
        for _ in range(500):
            lines = self._pid_file()
            if not lines or not _is_alive(int(lines[0])):
                return
            await asyncio.sleep(0.01)

    def _cluster_version(self) -> int | None:
        try:
            return int((self._cluster / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None

    def _server_pid(self) -> int:
        lines = self._pid_file()
        assert lines, "the server has no postmaster.pid: it is not running"
        return int(lines[0])

    def _pid_file(self) -> list[str]:
        try:
            return (self._cluster / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _log_tail(self) -> str:
        try:
            return "End of its log: " + self._log.read_text(errors="replace").strip()[-2000:]
        except FileNotFoundError:
            return "There is no log."


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _close(guard: asyncio.subprocess.Process) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    # Needs no shield: once the pipe is closed the guard finishes even if this is cancelled.
    await guard.wait()
