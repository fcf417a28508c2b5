"""The file of the log at its start and while it is open: full disks, permissions, losses."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.errors import LogUnusableError
from bridge.log.sqlite import database as module
from bridge.log.sqlite.database import Database
from bridge.log.sqlite.log_file import LogFile

TABLE = ("CREATE TABLE t (x)",)
CHECK_SECONDS = module.CHECK_SECONDS
LATER = (*TABLE, "CREATE TABLE u (x)")


@contextmanager
def full_disk() -> Iterator[None]:
    """Limit files of this process to nothing: writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.01)


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not reached():
            await asyncio.sleep(0.001)


async def insert(database: Database) -> None:
    await database.write(lambda connection: connection.execute("INSERT INTO t VALUES (1)"))


# -- start


@pytest.mark.parametrize("before", [(), TABLE])
async def test_start_on_a_full_disk_waits_until_there_is_space(
    tmp_path: Path, before: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    if before:
        database = Database(tmp_path / "log")
        await database.open(before)
        await database.close()
    database = Database(tmp_path / "log")
    with full_disk(), caplog.at_level(logging.ERROR):
        opening = asyncio.create_task(database.open(LATER))
        await until(lambda: database.error is not None)
        assert "can't be written" in (database.error or "")
        assert "Free space on its disk" in caplog.text
        assert not opening.done()
    async with asyncio.timeout(20):
        await opening
    assert database.error is None
    await insert(database)
    await database.close()


async def test_start_on_a_disk_without_room_for_the_file_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = LogFile.prepare
    full = [True]

    def failing(file: LogFile) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        prepare(file)

    monkeypatch.setattr(LogFile, "prepare", failing)
    database = Database(tmp_path / "log")
    opening = asyncio.create_task(database.open(TABLE))
    await until(lambda: database.error is not None)
    full.clear()
    async with asyncio.timeout(20):
        await opening
    await database.close()


async def test_start_that_waits_for_a_disk_can_be_cancelled(tmp_path: Path) -> None:
    database = Database(tmp_path / "log")
    with full_disk():
        opening = asyncio.create_task(database.open(TABLE))
        await until(lambda: database.error is not None)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening


async def test_start_without_a_migration_succeeds_on_a_full_disk(tmp_path: Path) -> None:
    database = Database(tmp_path / "log")
    await database.open(TABLE)
    await database.close()
    before = (tmp_path / "log").read_bytes()
    with full_disk():
        database = Database(tmp_path / "log")
        await database.open(TABLE)
        assert database.error is None
        await database.close()
    assert (tmp_path / "log").read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_start_in_a_folder_that_is_not_writable_fails_with_the_reason(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LogUnusableError, match="Permission denied"):
        await Database(tmp_path / "log").open(TABLE)


async def test_wal_that_can_not_be_created_for_want_of_permission_ends_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(tmp_path / "log")
    await database.open(TABLE)
    await database.close()
    (tmp_path / "log-wal").mkdir()  # SQLite can't open it, as in a folder that is not writable
    monkeypatch.setattr(LogFile, "accessible", lambda _: False)
    with pytest.raises(LogUnusableError, match=r"can't be opened: its folder, or the -wal file"):
        await Database(tmp_path / "log").open(TABLE)


# -- permissions and links


async def test_file_that_others_could_read_is_restricted_to_its_owner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA application_id={module.APPLICATION_ID}")
    connection.close()
    path.chmod(0o644)
    database = Database(path)
    await database.open(TABLE)
    await insert(database)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    await database.close()
    assert modes == {0o600}
    assert "was open to other users (mode 0644)" in caplog.text


async def test_link_to_no_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LogUnusableError, match=r"symbolic link to .*elsewhere, which does not"):
        await Database(tmp_path / "log").open(TABLE)
    assert not (tmp_path / "elsewhere").exists()


async def test_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    database = Database(tmp_path / "log")
    await database.open(TABLE)
    await insert(database)
    await database.close()
    assert (tmp_path / "elsewhere").stat().st_size


async def test_pipe_is_rejected_and_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    path.chmod(0o666)
    with pytest.raises(LogUnusableError, match="is a device or a pipe"):
        await Database(path).open(TABLE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666


# -- losses


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_name("moved"))


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").rename(path)


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (delete, "was deleted or moved"),
        (move, "was deleted or moved"),
        (truncate, "was truncated to 0 bytes"),
        (replace, "was replaced by another file"),
    ],
)
async def test_loss_of_an_open_file_is_reported(
    tmp_path: Path,
    suffix: str,
    damage: Callable[[Path], None],
    text: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database = Database(tmp_path / "log")
    await database.open(TABLE)
    await insert(database)
    await database.run(database._file.loss)
    damage(tmp_path / f"log{suffix}")
    await until(lambda: database.error is not None)
    assert f"log{suffix} {text}" in (database.error or "")
    assert "Restart the bridge" in (database.error or "")
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [database.error]
    await database.close()


async def test_file_that_is_in_its_place_again_is_no_error(tmp_path: Path) -> None:
    database = Database(tmp_path / "log")
    await database.open(TABLE)
    (tmp_path / "log").rename(tmp_path / "moved")
    await until(lambda: database.error is not None)
    (tmp_path / "moved").rename(tmp_path / "log")
    await until(lambda: database.error is None)
    await database.close()


async def test_truncated_file_that_grows_again_stays_an_error(tmp_path: Path) -> None:
    database = Database(tmp_path / "log")
    await database.open(TABLE)
    size = (tmp_path / "log").stat().st_size
    os.truncate(tmp_path / "log", 0)
    await until(lambda: database.error is not None)
    os.truncate(tmp_path / "log", size)
    assert await database.run(database._file.loss) is not None
    await database.close()


async def test_checkpoints_and_large_transactions_are_no_loss(tmp_path: Path) -> None:
    database = Database(tmp_path / "log")
    await database.open(TABLE)
    for size in (100, 20_000_000, 100, 100):
        await database.write(
            lambda connection, size=size: connection.execute(  # type: ignore[misc]
                "INSERT INTO t VALUES (zeroblob(?))", (size,)
            )
        )
        assert await database.run(database._file.loss) is None
    await database.read(lambda connection: connection.execute("PRAGMA wal_checkpoint").fetchall())
    await insert(database)
    assert await database.run(database._file.loss) is None
    await database.close()


def test_loss_is_noticed_within_a_minute() -> None:
    assert CHECK_SECONDS < 60
