"""One SQLite file, and the one thread that uses it.

**Commits are durable.** The file is in WAL mode with `synchronous=FULL`: a commit returns after the
WAL was synced, so neither a killed process nor a power cut undoes it (as far as the disk reports
its own cache correctly).

**Commits are grouped.** One transaction runs at a time; writes that are requested meanwhile share
the next one. So the slower the disk, the more writes share a sync.

**The thread seldom needs the GIL.** Each call of SQLite releases the GIL and has to acquire it
again, which takes up to 5 ms while the loop is busy. So writers put many rows into one statement,
as JSON that SQLite parses itself.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_exponential

from bridge.errors import LogUnusableError
from bridge.log.sqlite.log_file import WAL_BYTES, LogFile
from bridge.log.worker_lock import is_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tenacity import RetryCallState

log = logging.getLogger(__name__)

T = TypeVar("T")

Job: TypeAlias = "Callable[[sqlite3.Connection], object]"
"""Part of a transaction. It may run again if the transaction could not be committed."""

APPLICATION_ID: Final = 0x42524447
"""In the file's header: identifies a log of the bridge."""

FIRST_RETRY_SECONDS: Final = 0.1
LONGEST_RETRY_SECONDS: Final = 5.0
"""Between attempts to write to a disk that is full or fails; doubling."""

CHECK_SECONDS: Final = 20.0
"""Between checks whether the file is still in its place."""

FULL_DISK_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})

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
"""Primary result codes of failures that may pass, with the same file."""


@dataclass(frozen=True, slots=True)
class _Write:
    job: Job
    committed: Callable[[], None] | None
    done: asyncio.Future[None]


class _TransientError(Exception):
    """A transaction was not committed, but may be when it is retried."""


class Database:
    """Open before the first use, close at the end. One process at a time can open the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = LogFile(path)
        self._write_error: str | None = None
        self._loss: str | None = None  # what happened to the file
        self._checks: asyncio.Task[None] | None = None
        self._connection: sqlite3.Connection | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._first: Job | None = None
        self._waiting: list[_Write] = []
        self._writer: asyncio.Task[None] | None = None

    async def open(self, migrations: tuple[str, ...]) -> None:
        """Open or create the file and apply the `migrations` that it lacks: SQL scripts, each of
        which raises the schema's version by one. A file that lacks none is not written.

        While the disk is full or fails it is retried, and `error` is set. Raises `LogUnusableError`
        if the file is in use, can't be accessed, is damaged, not a log of the bridge, or of a later
        version.
        """
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bridge-log")
        try:
            await self._until_done(lambda: self.run(lambda: self._open(migrations)))
        except BaseException:
            await self.close()
            raise
        await self.run(self._file.loss)
        self._checks = asyncio.create_task(self._check_regularly(), name="check the log's file")

    @property
    def error(self) -> str | None:
        """Why nothing can be written at present, or what was written is lost with the process."""
        return self._write_error or self._loss

    async def run(self, work: Callable[[], T]) -> T:
        """Return `work()`, run in the file's thread."""
        if self._thread is None:
            raise RuntimeError("expected an open log: call open() first")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return the result of `work`, run in the file's thread. Raises `LogUnusableError`."""

        def reading() -> T:
            try:
                return work(self._connected())
            except sqlite3.Error as error:
                raise self._unusable(error) from error

        return await self.run(reading)

    async def write(self, job: Job, committed: Callable[[], None] | None = None) -> None:
        """Run `job` in a transaction, perhaps together with others; durable when this returns.
        While the disk is full or fails it is retried, and `error` is set.

        `committed` is called in the loop as soon as the transaction is committed, in the order of
        the calls of `write`, even if the caller was cancelled meanwhile: a job that waits is then
        still run. Raises `LogUnusableError` where a retry can't help.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(job, committed, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write(), name="write the log")
        await done

    def before_first_write(self, job: Job) -> None:
        """Make `job` the first part of the next transaction. Call it before the first write."""
        self._first = job

    async def close(self) -> None:
        """Close the file, so that another process can open it. Waiting writes are still completed,
        unless the disk fails. Idempotent.
        """
        if self._checks is not None:
            self._checks.cancel()
            await asyncio.wait([self._checks])
        if self._writer is not None:
            if self._write_error is not None:
                self._writer.cancel()
            await asyncio.wait([self._writer])
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.get_running_loop().run_in_executor(thread, self._close)
            thread.shutdown()

    # -- in the loop ----------------------------------------------------------------------------

    async def _write(self) -> None:
        group: list[_Write] = []
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                await self._commit_until_done([write.job for write in group])
                for write in group:
                    if write.committed is not None:
                        write.committed()
                    if not write.done.done():
                        write.done.set_result(None)
        except LogUnusableError as error:
            self._write_error = str(error)
            for write in (*group, *self._waiting):
                if not write.done.done():
                    write.done.set_exception(error)
        finally:
            for write in (*group, *self._waiting):
                write.done.cancel()
            self._waiting = []
            self._writer = None

    async def _commit_until_done(self, jobs: list[Job]) -> None:
        try:
            # Not within the retry loop: its setup costs more than a commit.
            await self.run(partial(self._commit, jobs))
        except _TransientError:
            await self._until_done(lambda: self.run(partial(self._commit, jobs)))

    async def _until_done(self, attempted: Callable[[], Awaitable[None]]) -> None:
        """Retry for as long as the attempts raise `_TransientError`."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_TransientError),
            wait=wait_exponential(multiplier=FIRST_RETRY_SECONDS, max=LONGEST_RETRY_SECONDS),
            before_sleep=self._failed,
        ):
            with attempt:
                await attempted()
        if self._write_error is not None:
            log.warning("the log %s can be written again", self.path)
            self._write_error = None

    def _failed(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._write_error = f"the log {self.path} can't be written: {error}"
        log.error(
            "%s; no event is published until it can (attempt %d, next in %.1f s). Free space on "
            "its disk, or check the disk",
            self._write_error,
            state.attempt_number,
            state.upcoming_sleep,
        )

    async def _check_regularly(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            loss = await self.run(self._file.loss)
            if loss is not None and self._loss is None:
                self._loss = (
                    f"the log {self.path} is lost when the bridge stops: {loss} while it was in "
                    "use. Restart the bridge"
                )
                log.error("%s", self._loss)
            elif loss is None and self._loss is not None:
                self._loss = None
                log.warning("the log %s is in its place again", self.path)

    # -- in the thread --------------------------------------------------------------------------

    def _open(self, migrations: tuple[str, ...]) -> None:
        try:
            self._file.prepare()
            connection = sqlite3.connect(
                self.path, isolation_level=None, timeout=0, check_same_thread=False
            )
            self._connection = connection
            # Exclusive, so that a second bridge can't open the file, and no shared memory is
            # needed, which some volumes don't have.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
            connection.execute("BEGIN IMMEDIATE")
            self._migrate(connection, migrations)
            connection.execute("COMMIT")
            [result] = connection.execute("PRAGMA quick_check(1)").fetchone()
            if result != "ok":
                raise self._damaged(" ".join(result.split()))
        except sqlite3.Error as error:
            self._close()
            raise self._opening_error(error) from error
        except OSError as error:
            if error.errno in FULL_DISK_ERRNOS:
                raise _TransientError(error.strerror) from error
            raise self._inaccessible(error.strerror or str(error)) from error

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
        if application != APPLICATION_ID:
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")

    def _commit(self, jobs: list[Job]) -> None:
        connection = self._connected()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs if self._first is None else (self._first, *jobs):
                job(connection)
            connection.execute("COMMIT")
            self._first = None
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if _primary(error) in TRANSIENT_ERRORS:
                raise _TransientError(_text(error)) from error
            raise self._unusable(error) from error

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connected(self) -> sqlite3.Connection:
        assert self._connection is not None, "the log is open"
        return self._connection

    def _opening_error(self, error: sqlite3.Error) -> Exception:
        code = _primary(error)
        if code == sqlite3.SQLITE_CANTOPEN and not self._file.accessible():
            return self._inaccessible("its folder, or the -wal file next to it, is not writable")
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            return _TransientError(_text(error))
        return self._unusable(error)

    def _inaccessible(self, reason: str) -> LogUnusableError:
        return LogUnusableError(
            f"the log {self.path} can't be opened: {reason}. Expected in BRIDGE_LOG: "
            "sqlite:///file or sqlite:////path/file, in a folder that exists and can be written"
        )

    def _unusable(self, error: sqlite3.Error) -> LogUnusableError:
        code = _primary(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            if is_worker():
                return LogUnusableError(
                    f"the log {self.path} is in use by another worker of this server: one bridge "
                    "at a time can have it; run one worker (--workers 1, gunicorn -w 1)"
                )
            return LogUnusableError(
                f"the log {self.path} is in use by another process: one bridge at a time can have "
                "it; run one worker (--workers 1), stop the other bridge, or name another file in "
                "BRIDGE_LOG for another table"
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self._damaged(_text(error))
        return LogUnusableError(f"the log {self.path} can't be used: {_text(error)}")

    def _damaged(self, reason: str) -> LogUnusableError:
        return LogUnusableError(
            f"the log {self.path} is damaged, or no SQLite database: {reason}. Move it away, with "
            f"{self.path.name}-wal next to it, and start again: a new epoch begins, and clients "
            "load a new snapshot"
        )


def _primary(error: sqlite3.Error) -> int:
    """Return the primary result code; -1 for errors of Python's own."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def _text(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else str(error)
