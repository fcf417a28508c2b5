"""The miniature Supabase as a process of its own, so that the bridge can die without it.

    python -m tests.chaos.platform_process PACE

Prints a line of JSON that says where everything is, then obeys lines on stdin, `restart` and
`crash`, which are about PostgreSQL, with a line `{"done": ...}` for each; ends with stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys

from bridge.sandbox import Sandbox


async def main(pace: float) -> None:
    async with Sandbox.open(seed=False, pace=pace) as sandbox:
        _say(
            supabase_url=sandbox.supabase_url,
            supabase_key=sandbox.supabase_key,
            database_url=sandbox.database_url,
        )
        while line := await asyncio.to_thread(sys.stdin.readline):
            what = line.strip()
            await sandbox.restart_postgres(crash=what == "crash")
            _say(done=what)


def _say(**words: str) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
