"""Several workers of one server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.log import worker_lock
from bridge.log.worker_lock import WorkerLock

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif("sys.platform == 'win32'", reason="no locks of this kind")


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_SOFTWARE", "gunicorn/23.0.0")


@pytest.mark.usefixtures("worker")
def test_second_worker_of_a_server_is_logged_with_the_remedy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = WorkerLock(tmp_path), WorkerLock(tmp_path)
    assert first.acquire()
    assert caplog.records == []
    assert not second.acquire()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Run one worker" in caplog.text
    assert "BRIDGE_PROCESSES" in caplog.text
    first.release()
    assert second.acquire()
    second.release()


@pytest.mark.usefixtures("worker")
def test_lock_without_a_folder_does_not_stop_a_worker(tmp_path: Path) -> None:
    assert WorkerLock(tmp_path / "missing").acquire()


def test_process_that_is_no_worker_holds_nothing(tmp_path: Path) -> None:
    assert not worker_lock.is_worker()
    assert WorkerLock(tmp_path).acquire()
    assert list(tmp_path.iterdir()) == []
