"""One SQLite file, and the one thread that touches it.

**What is stored is on the disk.** The file is in WAL mode with `synchronous=FULL`: a commit returns
after the WAL was synced, so neither a killed process nor a power cut takes back what was committed
(as far as the disk tells the truth of its own cache).

**Commits come in groups.** One transaction is on its way at a time; what is asked for meanwhile
goes into the next one together. So the slower the disk, the more a sync carries.

**The thread needs the GIL seldom.** Each call of SQLite gives the GIL away and has to get it back,
which takes up to 5 ms while the loop is busy. So writers put many rows into one statement, as JSON
that SQLite takes apart itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from bridge.errors import LogUnusableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tenacity import RetryCallState

log = logging.getLogger(__name__)

T = TypeVar("T")

Job: TypeAlias = "Callable[[sqlite3.Connection], object]"
"""Part of a transaction. It may run again if the transaction could not be committed."""

APPLICATION_ID: Final = 0x42524447
"""In the file's header: it is ours."""

FIRST_RETRY_SECONDS: Final = 0.1
LONGEST_RETRY_SECONDS: Final = 5.0
"""Between attempts to write to a disk that is full or failing; doubling."""

WAL_BYTES: Final = 16 * 1024 * 1024
"""What the WAL is cut back to after a large transaction."""

TRANSIENT_ERRORS: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Primary result codes that may be other ones later, with the same file."""


class _TransientError(Exception):
    """A transaction was not committed, and may be when it is tried again."""


class Database:
    """Open before the first use, close at the end. One process at a time has the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: str | None = None
        """Why nothing can be written at present."""
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: list[tuple[Job, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def open(self, migrations: tuple[str, ...]) -> None:
        """Open or make the file and bring its schema up to the last of `migrations`: SQL scripts,
        each of which takes the schema one version further.

        Raises `LogUnusable` if it is in use, damaged, not ours, or from a later version.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bridge-log")
        try:
            await self.run(lambda: self._open(migrations))
        except BaseException:
            await self.close()
            raise

    async def run(self, work: Callable[[], T]) -> T:
        """`work()` in the file's thread."""
        if self._thread is None:
            raise RuntimeError("expected an open log: call open() first")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work` in the file's thread. Raises `LogUnusable`."""

        def reading() -> T:
            try:
                return work(self._connected())
            except sqlite3.Error as error:
                raise self._unusable(error) from error

        return await self.run(reading)

    async def write(self, job: Job) -> None:
        """Run `job` in a transaction, perhaps together with others. When this returns it is on the
        disk. While the disk is full or fails it is tried again, and `error` says so.

        Raises `LogUnusable` where trying again can't help. Cancelled, it may or may not happen.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="write the log")
        await done

    async def close(self) -> None:
        """Close the file, which gives it to others. What is being written is still written, unless
        the disk doesn't take it. Twice is fine.
        """
        if self._writer is not None:
            if self.error is not None:
                self._writer.cancel()
            await asyncio.wait([self._writer])
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    # -- in the loop ----------------------------------------------------------------------------

    async def _write(self) -> None:
        group: list[tuple[Job, asyncio.Future[None]]] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit_until_done([job for job, _ in group])
                for _, done in group:
                    if not done.done():
                        done.set_result(None)
        except LogUnusableError as error:
            self.error = str(error)
            for _, done in (*group, *self._waiting):
                if not done.done():
                    done.set_exception(error)
        finally:
            for _, done in (*group, *self._waiting):
                done.cancel()
            self._waiting = []
            self._writer = None

    async def _commit_until_done(self, jobs: list[Job]) -> None:
        try:
            # What a retry needs to begin costs the loop more than a commit does.
            await self.run(partial(self._commit, jobs))
        except _TransientError:
            await self._try_again(jobs)

    async def _try_again(self, jobs: list[Job]) -> None:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_TransientError),
            wait=wait_exponential(multiplier=FIRST_RETRY_SECONDS, max=LONGEST_RETRY_SECONDS),
            before_sleep=self._failed,
        ):
            with attempt:
                await self.run(partial(self._commit, jobs))
        if self.error is not None:
            log.warning("the log %s can be written again", self.path)
            self.error = None

    def _failed(self, state: RetryCallState) -> None:
        said = state.outcome.exception() if state.outcome else None
        self.error = f"the log {self.path} can't be written: {said}"
        log.error(
            "%s; nothing is told until it can be (attempt %d, next in %.1f s). Free space on its "
            "disk, or see to the disk",
            self.error,
            state.attempt_number,
            state.upcoming_sleep,
        )

    # -- in the thread --------------------------------------------------------------------------

    def _open(self, migrations: tuple[str, ...]) -> None:
        try:
            self._make()
            connection = sqlite3.connect(
                self.path, isolation_level=None, timeout=0, check_same_thread=False
            )
            self._connection = connection
            # Exclusive, so that a second bridge finds the file taken, and no shared memory is
            # needed, which some volumes don't have.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
            connection.execute("BEGIN IMMEDIATE")
            self._migrate(connection, migrations)
            connection.execute("COMMIT")
            [said] = connection.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                raise self._damaged(" ".join(said.split()))
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        except OSError as error:
            raise LogUnusableError(
                f"the log {self.path} can't be opened: {error.strerror or error}. Expected in "
                "BRIDGE_LOG: sqlite:///file or sqlite:////path/file, in a folder that exists and "
                "can be written"
            ) from error

    def _make(self) -> None:
        """An empty file is a database to SQLite. It holds what clients are known by: 0600."""
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    def _migrate(self, connection: sqlite3.Connection, migrations: tuple[str, ...]) -> None:
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [version] = connection.execute("PRAGMA user_version").fetchone()
        [tables] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application != APPLICATION_ID and (tables or application):
            raise LogUnusableError(
                f"the database {self.path} is not a log of the bridge: name another file in "
                "BRIDGE_LOG"
            )
        if version > len(migrations):
            raise LogUnusableError(
                f"the log {self.path} is from a later version of the bridge (its schema is version "
                f"{version}, this one knows {len(migrations)}): run that version, or name another "
                "file in BRIDGE_LOG"
            )
        for number, script in enumerate(migrations[version:], version + 1):
            for statement in script.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={number}")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")

    def _commit(self, jobs: list[Job]) -> None:
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if _primary(error) in TRANSIENT_ERRORS:
                raise _TransientError(_said(error)) from error
            raise self._unusable(error) from error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        assert self._connection is not None, "the log is open"
        return self._connection

    def _unusable(self, error: sqlite3.Error) -> LogUnusableError:
        code = _primary(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return LogUnusableError(
                f"the log {self.path} is in use by another process: one bridge at a time can have "
                "it; stop the other one, or name another file in BRIDGE_LOG"
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged(_said(error))
        return LogUnusableError(f"the log {self.path} can't be used: {_said(error)}")

    def _damaged(self, said: str) -> LogUnusableError:
        return LogUnusableError(
            f"the log {self.path} is damaged, or no SQLite database: {said}. Move it away, with "
            f"{self.path.name}-wal beside it, and start again: a new history begins, clients are "
            "told that they did not recover and read the table anew"
        )


def _primary(error: sqlite3.Error) -> int:
    """The primary result code; -1 for errors of Python's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def _said(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)
