"""The limit of open files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from bridge.clock import ManualClock
from bridge.server import file_limit
from bridge.server.file_limit import ACCEPT_FAILED, RESERVED_FILES, WARN_SECONDS, FileLimit

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], FileLimit]:
    def limit(number: int) -> FileLimit:
        monkeypatch.setattr(file_limit, "open_files_limit", lambda: number)
        return FileLimit(lambda: 0.0)

    return limit


@pytest.mark.parametrize(
    ("limit", "most"), [(1024, 1024 - RESERVED_FILES), (300, 300 - RESERVED_FILES), (40, 20)]
)
def test_connections_leave_files_for_everything_else(
    files: Callable[[int], FileLimit], limit: int, most: int
) -> None:
    assert files(limit).admits(most)
    assert not files(limit).admits(most + 1)


def test_limit_is_logged_once_a_minute_with_its_number(
    files: Callable[[int], FileLimit], caplog: pytest.LogCaptureFixture
) -> None:
    files(300)
    clock = ManualClock()
    limit = FileLimit(clock.monotonic)
    for _ in range(3):
        assert not limit.admits(1000)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "300 files (ulimit -n)" in caplog.text
    clock.advance(WARN_SECONDS)
    assert not limit.admits(1000)
    assert len(caplog.records) == 2


def test_admitted_connection_is_not_logged(
    files: Callable[[int], FileLimit], caplog: pytest.LogCaptureFixture
) -> None:
    assert files(300).admits(1)
    assert caplog.records == []


async def test_failed_accepts_are_one_line_and_other_errors_are_asyncios(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop, limit = asyncio.get_running_loop(), FileLimit(lambda: 0.0)
    for _ in range(3):
        limit.on_loop_exception(loop, {"message": ACCEPT_FAILED, "exception": OSError(24, "x")})
    limit.on_loop_exception(loop, {"message": "something else"})
    assert [record.name for record in caplog.records] == [file_limit.__name__, "asyncio"]


def test_limit_is_that_of_the_process() -> None:
    assert file_limit.open_files_limit() > 0
