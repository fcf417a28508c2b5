"""`bridge dev`: a miniature Supabase with a market in it, and the bridge before it.

Needs no account and no Docker; nothing of it is left when it ends, but a data directory it was
given.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from bridge import serve
from bridge.app import create_app
from bridge.sandbox import Sandbox
from bridge.sandbox.activity import Activity
from bridge.settings import load

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from bridge.app import Bridge

PORT: Final = 8000
HOST: Final = "127.0.0.1"
LOOK_SECONDS: Final = 0.05
MARKET_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for. `port` None: 8000, or a free one where that is taken."""

    port: int | None = None
    data: Path | None = None
    activity: bool = True
    json: bool = False


async def dev(options: Options) -> int:
    """Run until cancelled; gives the exit code. Raises OSError when the port that was asked for is
    taken, and the sandbox's errors when it can't start.
    """
    # A program that reads our output gets one line of JSON; what is for people goes beside it.
    tell = _Teller(sys.stderr if options.json else sys.stdout)
    with _listen(options.port, tell) as listening:
        tell("Starting PostgreSQL and a miniature Supabase ...")
        async with Sandbox.open(data=options.data, port=0) as sandbox:
            tell("Starting the bridge ...")
            bridge = create_app(
                load(
                    supabase_url=sandbox.supabase_url,
                    supabase_secret_key=sandbox.supabase_key,
                    table="public.properties",
                    host=HOST,
                    port=listening.getsockname()[1],
                    **_unless_set(
                        cors_origins=("*",),
                        log=f"sqlite:///{sandbox.home / 'bridge.sqlite3'}",
                        watchers="public.property_watchers",
                    ),
                )
            )
            async with asyncio.TaskGroup() as tasks:
                beside = tasks.create_task(_when_ready(bridge, listening, sandbox, options, tell))
                code = await serve.serve(bridge, listening)
                beside.cancel()
            tell("Stopping ...")
            return code


async def _when_ready(
    bridge: Bridge, listening: socket.socket, sandbox: Sandbox, options: Options, tell: _Teller
) -> None:
    while not bridge.operations.verdict().ready:  # noqa: ASYNC110 - readiness is asked for
        await asyncio.sleep(LOOK_SECONDS)
    url = serve.url(listening)
    if options.json:
        where = {
            "bridge_url": url,
            "database_url": sandbox.database_url,
            "supabase_url": sandbox.supabase_url,
            "supabase_key": sandbox.supabase_key,
        }
        print(json.dumps(where), flush=True)  # noqa: T201 - the command's output
    else:
        tell(_welcome(url, bridge.settings.path, sandbox, activity=options.activity))
    if options.activity:
        # A seed would tell the same story each time; people come back for another one.
        market = Activity(sandbox.database_url, random.Random(), interval=MARKET_SECONDS)  # noqa: S311
        await market.run()


def _unless_set(**overrides: Any) -> dict[str, Any]:
    """What differs from the settings' defaults, where the environment doesn't say otherwise."""
    return {
        name: value
        for name, value in overrides.items()
        if f"BRIDGE_{name.upper()}" not in os.environ
    }


def _welcome(url: str, path: str, sandbox: Sandbox, *, activity: bool) -> str:
    market = (
        "A listing changes every other second (--no-activity stops the market)."
        if activity
        else "Nothing changes but by your hand."
    )
    return f"""
Ready.

  Socket.IO   {url}  (path {path})
  status      {url}/status
  Supabase    {sandbox.supabase_url}
  database    {sandbox.database_url}

{market}

Hear it, in a second terminal:

  {sys.executable} -m bridge listen {url} --region TX

Change a row, in a third:

  {_change_a_row(sandbox.database_url)}

Ctrl-C stops everything.
"""


def _change_a_row(database_url: str) -> str:
    statement = (
        "update properties set price = price - 25000 "
        "where id = (select id from properties where state = 'TX' order by id limit 1)"
    )
    psql = shutil.which("psql")
    if psql:
        return f'psql "{database_url}" -c "{statement}"'
    return (
        f"{sys.executable} -c 'import psycopg, sys; "
        f"psycopg.connect(sys.argv[1], autocommit=True).execute(sys.argv[2])' \\\n    "
        f'"{database_url}" \\\n    "{statement}"'
    )


def _listen(port: int | None, tell: _Teller) -> socket.socket:
    if port is not None:
        return serve.listen(HOST, port)
    try:
        return serve.listen(HOST, PORT)
    except OSError:
        listening = serve.listen(HOST, 0)
        tell(f"Port {PORT} is taken; taking {listening.getsockname()[1]} instead.")
        return listening


class _Teller:
    """Prints for people, line by line as things happen."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
