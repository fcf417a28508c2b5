"""A physical standby of a `PostgresServer`, which can be promoted."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.sandbox.postgres.installation import binaries, server_user
from bridge.sandbox.postgres.server import SUPERUSER, PostgresServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PHYSICAL_SLOT = "standby"
"""Holds the WAL that the standby needs."""


@asynccontextmanager
async def standby_of(primary: PostgresServer, version: int) -> AsyncIterator[PostgresServer]:
    """Run a standby, made by pg_basebackup; with `primary` down it can be promoted."""
    home = Path(tempfile.gettempdir()) / f"bridge-standby-{secrets.token_hex(8)}"
    home.mkdir(mode=0o700)
    password = home / "postgres.password"
    password.touch(mode=0o600)
    password.write_text(primary.password)
    user = server_user()
    if user:
        for each in (home, password):
            shutil.chown(each, user=user)
    try:
        process = await asyncio.create_subprocess_exec(
            str(binaries(version)[1] / "pg_basebackup"),
            f"--dbname={primary.url(SUPERUSER)}",
            f"--pgdata={home / 'postgres'}",
            "--checkpoint=fast",
            "--no-sync",
            "--write-recovery-conf",
            "--create-slot",
            f"--slot={PHYSICAL_SLOT}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd="/",
            user=user,
            extra_groups=[] if user else None,
            env={**os.environ, "HOME": "/"},
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode(errors="replace")
        async with PostgresServer(home, version=version) as server:
            yield server
    finally:
        await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
