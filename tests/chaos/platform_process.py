"""Run the sandbox as a process of its own, independent of the bridge's.

    python -m tests.chaos.platform_process PACE

Prints a line of JSON with its addresses. Then each line on stdin, a JSON object with options of
`Sandbox.restart_postgres`, restarts PostgreSQL and is answered by a line `{"done": ...}`. The
process exits at the end of stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from bridge.sandbox import Sandbox

PUBLICATION_CHECK = 60.0
"""Seconds between Realtime's looks at the publication, at the real pace."""


async def main(pace: float) -> None:
    check = PUBLICATION_CHECK * pace
    async with Sandbox.open(seed=False, pace=pace, publication_check=check) as sandbox:
        _print(
            supabase_url=sandbox.supabase_url,
            supabase_key=sandbox.supabase_key,
            database_url=sandbox.database_url,
        )
        while line := await asyncio.to_thread(sys.stdin.readline):
            options = json.loads(line)
            await sandbox.restart_postgres(**options)
            _print(done=options)


def _print(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1])))
