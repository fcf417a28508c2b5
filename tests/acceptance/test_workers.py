"""Several workers of one server: each names the cause, and says how many to run."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox

SERVERS = {
    "gunicorn": (
        *("gunicorn", "--workers", "4", "--bind", "127.0.0.1:0", "--no-control-socket"),
        *("--worker-class", "uvicorn.workers.UvicornWorker", "bridge:create_app()"),
    ),
    "uvicorn": ("uvicorn", "--workers", "2", "--port", "0", "--factory", "bridge:create_app"),
}
servers = pytest.mark.parametrize(
    "server", ["gunicorn", pytest.param("uvicorn", marks=pytest.mark.once)]
)
REMEDY = "un one worker (--workers 1, gunicorn -w 1)"


@asynccontextmanager
async def output_of(
    server: str, sandbox: Sandbox, log: str, directory: Path
) -> AsyncIterator[asyncio.StreamReader]:
    """Run a server with several workers, and give what they print."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *SERVERS[server],
        env=os.environ
        | {
            "SUPABASE_URL": sandbox.supabase_url,
            "SUPABASE_SECRET_KEY": sandbox.supabase_key,
            "BRIDGE_LOG": log,
            "TMPDIR": str(directory),
        },
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(SECONDS):
            await process.communicate()


@servers
async def test_workers_with_a_log_in_memory_name_the_cause(
    server: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    async with output_of(server, sandbox, "memory:", tmp_path) as output:
        assert "another worker of this server runs the bridge" in await line_with(output, REMEDY)


@pytest.mark.once
@servers
async def test_workers_with_a_log_in_a_file_name_the_cause_in_one_line(
    server: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    async with output_of(server, sandbox, f"sqlite:///{tmp_path}/log", tmp_path) as output:
        line = await line_with(output, REMEDY)
    assert "in use by another worker of this server" in line
    assert "another file" not in line


async def line_with(output: asyncio.StreamReader, text: str) -> str:
    """Return the first line with `text`; no traceback may be printed before it."""
    printed = ""
    async with asyncio.timeout(4 * SECONDS):
        async for line in output:
            printed += line.decode()
            assert "Traceback" not in printed, printed
            if text in printed:
                return line.decode()
    raise AssertionError(printed)
