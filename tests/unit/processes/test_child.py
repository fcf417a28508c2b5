"""A process is stuck if its event loop shows nothing, counted while the supervisor itself runs."""

from __future__ import annotations

import asyncio
import time

import pytest

from bridge.processes import child as module
from bridge.processes.child import Child
from bridge.processes.spec import ALIVE

SECONDS = 0.3


@pytest.fixture(autouse=True)
def _quick_beats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.1)


async def start(script: str) -> Child:
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    return Child(process)


async def test_process_that_prints_nothing_is_stuck() -> None:
    child = await start("exec sleep 60")
    async with asyncio.timeout(10):
        assert await child.stuck(SECONDS) is True
    child.kill()
    assert await child.ended() < 0


async def test_process_that_ends_is_not_stuck() -> None:
    child = await start("exit 4")
    assert await child.stuck(60) is False
    assert await child.ended() == 4


async def test_process_is_not_stuck_while_its_lines_come() -> None:
    lines = f"for _ in 1 2 3 4 5 6 7 8 9 10; do echo {ALIVE.decode()}; sleep 0.1; done"
    child = await start(lines)
    assert await child.stuck(0.6) is False


async def test_pause_of_the_supervisor_does_not_count_as_silence() -> None:
    child = await start(f"sleep 1.2; echo {ALIVE.decode()}; exec sleep 0.2")
    watch = asyncio.create_task(child.stuck(1.0))
    await asyncio.sleep(0)
    time.sleep(1.3)
    assert await watch is False
