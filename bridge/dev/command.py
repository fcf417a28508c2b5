"""`bridge dev`: a miniature Supabase with a market in it, and the bridge before it.

Needs no account and no Docker; nothing of it is left when it ends, but a data directory it was
given.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from bridge.app import create_app
from bridge.dev.traffic import TrafficGenerator
from bridge.dev.web import NodeInstallation, WebApp, WebAppError, WebServer, find_app, find_node
from bridge.errors import BridgeError
from bridge.sandbox import Sandbox
from bridge.sandbox.auth.users import DEMO_USER
from bridge.server import serve
from bridge.settings import load

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from bridge.app import Bridge

PORT: Final = 8000
WEB_PORT: Final = 3000
HOST: Final = "127.0.0.1"
POLL_SECONDS: Final = 0.05
DEMO_EMAIL: Final = "demo@sandbox.example"
DEMO_REGION: Final = "TX"
TRAFFIC_INTERVAL_SECONDS: Final = 2.0
TOKEN_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line asked for. `port` None: 8000, or a free one where that is taken."""

    port: int | None = None
    data: Path | None = None
    activity: bool = True
    json: bool = False
    web: bool = False
    """Whether the web app is served too."""
    web_port: int | None = None
    """None: 3000, or a free one where that is taken."""


@dataclass(frozen=True, slots=True)
class _WebOptions:
    """The app, ready to be served."""

    app: WebApp
    node: NodeInstallation
    port: int

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(f"http://{name}:{self.port}" for name in ("localhost", HOST))


class PortInUseError(BridgeError):
    """Somebody has the port that was asked for."""


async def dev(options: DevOptions) -> int:
    """Run until cancelled; gives the exit code. Raises `PortTaken`, `WebFailed` when the web app
    can't be had or ends by itself, and the sandbox's errors when it can't start.
    """
    # A program that reads our output gets one line of JSON; what is for people goes beside it.
    tell = _Printer(sys.stderr if options.json else sys.stdout)
    try:
        with _listen(options.port, PORT, tell) as listening:
            web = await _prepare_web(options, tell) if options.web else None
            return await _run(options, listening, web, tell)
    except* WebAppError as failed:
        raise _first_error(failed) from None


async def _run(
    options: DevOptions, listening: socket.socket, web: _WebOptions | None, tell: _Printer
) -> int:
    tell("Starting PostgreSQL and a miniature Supabase ...")
    async with Sandbox.open(data=options.data, port=0) as sandbox:
        await _add_demo_user(sandbox)
        tell("Starting the bridge ...")
        settings = load(
            supabase_url=sandbox.supabase_url,
            supabase_secret_key=sandbox.supabase_key,
            supabase_jwt_secret=None,
            table="public.properties",
            host=HOST,
            port=listening.getsockname()[1],
            **_without_environment(
                cors_origins=("*",),
                log=f"sqlite:///{sandbox.home / 'bridge.sqlite3'}",
                watchers="public.property_watchers",
            ),
        )
        if web is not None and "*" not in settings.cors_origins:
            origins = {"cors_origins": (*settings.cors_origins, *web.origins)}
            settings = settings.model_copy(update=origins)
        bridge = create_app(settings)
        async with asyncio.TaskGroup() as tasks:
            beside = tasks.create_task(
                _announce_when_ready(
                    bridge, listening, sandbox, options=options, web=web, tell=tell
                )
            )
            code = await serve.serve(bridge, listening)
            beside.cancel()
        tell("Stopping ...")
        return code


async def _announce_when_ready(
    bridge: Bridge,
    listening: socket.socket,
    sandbox: Sandbox,
    *,
    options: DevOptions,
    web: _WebOptions | None,
    tell: _Printer,
) -> None:
    while not bridge.operations.readiness().ready:  # noqa: ASYNC110 - readiness is asked for
        await asyncio.sleep(POLL_SECONDS)
    url = serve.url(listening)
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        page = None
        if web is not None:
            tell("Starting the web app ...")
            environment = {
                "BRIDGE_URL": url,
                "BRIDGE_PATH": bridge.settings.path,
                "BRIDGE_DEMO_TOKEN": _demo_token(sandbox),
            }
            page = await stack.enter_async_context(
                WebServer.open(web.app, web.node, port=web.port, environment=environment)
            )
            page.on_output = lambda line: tell(f"web: {line}")
            tasks.create_task(_raise_when_ended(page))
        if options.json:
            where = {
                "bridge_url": url,
                "database_url": sandbox.database_url,
                "supabase_url": sandbox.supabase_url,
                "supabase_key": sandbox.supabase_key,
                "user_token": _demo_token(sandbox),
                **({"web_url": page.url} if page else {}),
            }
            print(json.dumps(where), flush=True)  # noqa: T201 - the command's output
        else:
            tell(
                _ready_message(url, bridge.settings.path, sandbox, page, activity=options.activity)
            )
        if options.activity:
            # A seed would tell the same story each time; people come back for another one.
            rng = random.Random()  # noqa: S311 - no secret
            market = TrafficGenerator(sandbox.database_url, rng, interval=TRAFFIC_INTERVAL_SECONDS)
            tasks.create_task(market.run())


async def _prepare_web(options: DevOptions, tell: _Printer) -> _WebOptions:
    """The app, built, and a port for it. Raises what stands against it before anything starts."""
    app, node = find_app(), find_node()
    # Node.js binds it itself, a moment later.
    with _listen(options.web_port, WEB_PORT, tell) as free:
        port = free.getsockname()[1]
    await app.prepare(node, tell)
    return _WebOptions(app, node, port)


async def _raise_when_ended(page: WebServer) -> None:
    raise await page.ended()


def _first_error(group: BaseExceptionGroup[WebAppError]) -> WebAppError:
    first = group.exceptions[0]
    return _first_error(first) if isinstance(first, BaseExceptionGroup) else first


def _without_environment(**overrides: Any) -> dict[str, Any]:
    """What differs from the settings' defaults, where the environment doesn't say otherwise."""
    return {
        name: value
        for name, value in overrides.items()
        if f"BRIDGE_{name.upper()}" not in os.environ
    }


def _ready_message(
    url: str, path: str, sandbox: Sandbox, page: WebServer | None, *, activity: bool
) -> str:
    web = f"\n  web app     {page.url}" if page else ""
    market = (
        "A listing changes every other second (--no-activity stops the market)."
        if activity
        else "Nothing changes but by your hand."
    )
    return f"""
Ready.
{web}
  Socket.IO   {url}  (path {path})
  status      {url}/status
  contract    {url}/docs
  Supabase    {sandbox.supabase_url}
  database    {sandbox.database_url}
  user token  {_demo_token(sandbox)}
              (of a user who watches {DEMO_REGION}, see property_watchers)

{market}

Hear it, in a second terminal:

  {sys.executable} -m bridge listen {url} --region TX

Change a row, in a third:

  {_update_command(sandbox.database_url)}

Ctrl-C stops everything.
"""


async def _add_demo_user(sandbox: Sandbox) -> None:
    """The demo user is signed up, and watches a region. Once for each database: what is changed of
    it by hand stays so.
    """
    added = await sandbox.execute(
        "insert into auth.users (id, email) values (%s, %s) on conflict do nothing returning id",
        (DEMO_USER, DEMO_EMAIL),
    )
    if added:
        await sandbox.execute(
            "insert into public.property_watchers (user_id, region) values (%s, %s)",
            (DEMO_USER, DEMO_REGION),
        )


def _demo_token(sandbox: Sandbox) -> str:
    """Of a signed-in user, always the same one."""
    return sandbox.user_token(DEMO_USER, lifetime=TOKEN_SECONDS, email=DEMO_EMAIL)


def _update_command(database_url: str) -> str:
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


def _listen(port: int | None, usual: int, tell: _Printer) -> socket.socket:
    """On `port`, or where none was asked for on the usual one, or on a free one."""
    if port is not None:
        try:
            return serve.listen(HOST, port)
        except OSError as error:
            raise PortInUseError(serve.refusal(HOST, port, error)) from None
    try:
        return serve.listen(HOST, usual)
    except OSError:
        listening = serve.listen(HOST, 0)
        tell(f"Port {usual} is taken; taking {listening.getsockname()[1]} instead.")
        return listening


class _Printer:
    """Prints for people, line by line as things happen."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
