"""Run the sandbox as a process of its own, independent of the bridge's.

    python -m tests.chaos.platform_process PACE

Prints a line of JSON with its addresses. Then each line on stdin, `restart` or `crash`, restarts
PostgreSQL and is answered by a line `{"done": ...}`. The process exits at the end of stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys

from bridge.sandbox import Sandbox


async def main(pace: float) -> None:
    async with Sandbox.open(seed=False, pace=pace) as sandbox:
        _print(
            supabase_url=sandbox.supabase_url,
            supabase_key=sandbox.supabase_key,
            database_url=sandbox.database_url,
        )
        while line := await asyncio.to_thread(sys.stdin.readline):
            command = line.strip()
            await sandbox.restart_postgres(crash=command == "crash")
            _print(done=command)


def _print(**fields: str) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
