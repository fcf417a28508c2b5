"""`bridge dev`: runs the bridge with a miniature Supabase and generated traffic.

Needs no account and no Docker. Nothing remains after it stops, except the data directory if one is
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
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

import httpx

from bridge.app import create_app
from bridge.dev.machines import DevMachines, redis_server
from bridge.dev.traffic import TrafficGenerator
from bridge.dev.web import NodeInstallation, WebApp, WebAppError, WebServer, find_app, find_node
from bridge.errors import BridgeError
from bridge.processes.spec import process_count
from bridge.processes.supervisor import Supervisor
from bridge.sandbox import Sandbox
from bridge.sandbox.auth.users import DEMO_USER
from bridge.server import serve
from bridge.settings import load

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.settings import Settings
    from bridge.source.base import SourceKind

PORT: Final = 8000
WEB_PORT: Final = 3000
HOST: Final = "127.0.0.1"
POLL_SECONDS: Final = 0.05
READY_ANSWERS: Final = 20
"""Answers of /readyz in a row, after which surely each process is ready."""
DEMO_EMAIL: Final = "demo@sandbox.example"
DEMO_PASSWORD: Final = "sandbox"  # noqa: S105 - printed; the server listens on loopback
DEMO_REGION: Final = "TX"
DEMO_METADATA: Final = {"regions": [DEMO_REGION], "role": "member"}
"""The demo user's `app_metadata`, for `BRIDGE_REGIONS_CLAIM` and `BRIDGE_MEMBER_ROLES`."""
TRAFFIC_INTERVAL_SECONDS: Final = 2.0
TOKEN_SECONDS: Final = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class DevOptions:
    """Options of the command line."""

    port: int | None = None
    """None: 8000, or a free port if that is in use."""
    data: Path | None = None
    """Directory in which the database is kept; None: a temporary one."""
    activity: bool = True
    """Whether generated traffic changes the listings."""
    json: bool = False
    """Whether stdout is one line of JSON; messages then go to stderr."""
    source: SourceKind | None = None
    """Source of changes; None: that of BRIDGE_SOURCE, realtime by default."""
    web: bool = False
    """Whether the web app is served, too."""
    web_port: int | None = None
    """None: 3000, or a free port if that is in use."""
    processes: int = 1
    """As BRIDGE_PROCESSES."""
    machines: int = 1
    """Bridges that share a Redis server."""


@dataclass(frozen=True, slots=True)
class _WebOptions:
    """The built web app and the port to serve it on."""

    app: WebApp
    node: NodeInstallation
    port: int

    @property
    def origins(self) -> tuple[str, ...]:
        return tuple(f"http://{name}:{self.port}" for name in ("localhost", HOST))


class PortInUseError(BridgeError):
    """The requested port is in use."""


class DevOptionsError(BridgeError):
    """The options contradict each other."""


async def dev(options: DevOptions) -> int:
    """Run until cancelled. Return the exit code.

    Raises `PortInUseError` and `DevOptionsError`; `MachinesError` or `RedisServerError` if there is
    no Redis server for several machines; `WebAppError` if the web app is missing, cannot be built
    or exits; `PostgresError` or `MigrationError` if the sandbox cannot start.
    """
    if options.machines < 1 or (options.machines > 1 and options.processes != 1):
        raise DevOptionsError(
            "expected --machines 1 or more, and not together with --processes; found "
            f"--machines {options.machines} --processes {options.processes}"
        )
    # With `json`, a program reads stdout, so messages go to stderr.
    show = _Printer(sys.stderr if options.json else sys.stdout)
    try:
        with _listen(options.port, PORT, show) as listening:
            web = await _prepare_web(options, show) if options.web else None
            return await _run(options, listening, web, show)
    except* WebAppError as failed:
        raise _first_error(failed) from None


async def _run(
    options: DevOptions, listening: socket.socket, web: _WebOptions | None, show: _Printer
) -> int:
    redis = redis_server() if options.machines > 1 else None
    show("Starting PostgreSQL and the Supabase sandbox ...")
    async with (
        Sandbox.open(data=options.data, port=0) as sandbox,
        contextlib.AsyncExitStack() as closing,
    ):
        await _add_demo_user(sandbox)
        if redis is not None:
            redis.folder = sandbox.home / "redis"
            redis.folder.mkdir(exist_ok=True)
            # Its port is known once it runs.
            await closing.enter_async_context(redis)
        show("Starting the bridge ...")
        settings = load(
            supabase_url=sandbox.supabase_url,
            supabase_secret_key=sandbox.supabase_key,
            supabase_jwt_secret=None,
            table="public.properties",
            **({"source": options.source} if options.source else {}),
            database_url=sandbox.database_url,
            host=HOST,
            port=listening.getsockname()[1],
            **_without_environment(
                cors_origins=("*",),
                log=redis.url if redis else f"sqlite:///{sandbox.home / 'bridge.sqlite3'}",
                watchers="public.property_watchers",
            ),
        )
        if web is not None and "*" not in settings.cors_origins:
            origins = {"cors_origins": (*settings.cors_origins, *web.origins)}
            settings = settings.model_copy(update=origins)
        bridge: _Bridge
        if options.machines > 1:
            ports = _free_ports(listening, options.machines)
            bridge = DevMachines(settings, ports, redis, show)
        else:
            bridge = _bridge(settings, listening, options.processes)
        async with asyncio.TaskGroup() as tasks:
            companions = tasks.create_task(
                _announce_when_ready(bridge, sandbox, options=options, web=web, show=show)
            )
            code = await bridge.run()
            companions.cancel()
        show("Stopping ...")
        return code


def _free_ports(listening: socket.socket, number: int) -> list[int]:
    """Return the port that was bound, and further free ones. None is bound any more."""
    bound = [listening, *(serve.listen(HOST, 0) for _ in range(number - 1))]
    ports = [each.getsockname()[1] for each in bound]
    for each in bound:
        each.close()
    return ports


class _Bridge(Protocol):
    """The bridge that is developed with."""

    url: str
    settings: Settings

    async def run(self) -> int:
        """Serve until cancelled. Return the exit code."""
        ...

    async def ready(self) -> None:
        """Wait until it is ready."""
        ...

    @property
    def pids(self) -> Sequence[int]:
        """The leader process, then the serving ones, or the machines; empty for a bridge in this
        process.
        """
        ...


def _bridge(settings: Settings, listening: socket.socket, processes: int) -> _Bridge:
    if processes == 1:
        return _InThisProcess(settings, listening)
    return _InProcesses(settings, listening, processes)


class _InThisProcess:
    """The bridge in the process of the sandbox."""

    pids = ()

    def __init__(self, settings: Settings, listening: socket.socket) -> None:
        self.url, self.settings = serve.url(listening), settings
        self._listening = listening
        self._app = create_app(settings)

    async def run(self) -> int:
        return await serve.serve(self._app, self._listening)

    async def ready(self) -> None:
        while not self._app.operations.readiness().ready:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(POLL_SECONDS)


class _InProcesses:
    """The bridge as several processes on one port."""

    def __init__(self, settings: Settings, listening: socket.socket, processes: int) -> None:
        self.url, self.settings = serve.url(listening), settings
        self._listening = listening
        self._started = asyncio.Event()
        host, port = listening.getsockname()[:2]
        self._address = (host, port)
        self._supervisor = Supervisor(
            settings, host=host, port=port, serving=process_count(processes)
        )

    @property
    def pids(self) -> Sequence[int]:
        return self._supervisor.pids

    async def run(self) -> int:
        # The port was bound for one process.
        self._listening.close()
        with serve.reserve(*self._address):
            return await self._supervisor.run(self._started.set)

    async def ready(self) -> None:
        await self._started.wait()
        async with httpx.AsyncClient() as http:
            # Each request may reach another process.
            headers, streak = {"Connection": "close"}, 0
            while streak < READY_ANSWERS:
                response = await http.get(f"{self.url}/readyz", headers=headers)
                streak = streak + 1 if response.status_code == 200 else 0  # noqa: PLR2004 - HTTP
                await asyncio.sleep(POLL_SECONDS)


async def _announce_when_ready(
    bridge: _Bridge,
    sandbox: Sandbox,
    *,
    options: DevOptions,
    web: _WebOptions | None,
    show: _Printer,
) -> None:
    """Wait until the bridge is ready, start the web app, print the URLs, generate traffic."""
    await bridge.ready()
    url = bridge.url
    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        server = None
        if web is not None:
            show("Starting the web app ...")
            environment = {
                "BRIDGE_URL": url,
                "BRIDGE_PATH": bridge.settings.path,
                "BRIDGE_REGION": ",".join(bridge.settings.region),
                "SUPABASE_URL": sandbox.supabase_url,
                "SUPABASE_PUBLISHABLE_KEY": sandbox.anon_key,
            }
            server = await stack.enter_async_context(
                WebServer.open(web.app, web.node, port=web.port, environment=environment)
            )
            server.on_output = lambda line: show(f"web: {line}")
            tasks.create_task(_raise_when_ended(server))
        if options.json:
            addresses = {
                "bridge_url": url,
                "database_url": sandbox.database_url,
                "supabase_url": sandbox.supabase_url,
                "supabase_key": sandbox.supabase_key,
                "publishable_key": sandbox.anon_key,
                "user_token": _demo_token(sandbox),
                "user_email": DEMO_EMAIL,
                "user_password": DEMO_PASSWORD,
                **({"web_url": server.url} if server else {}),
                **_machine_addresses(bridge),
                **({"pids": bridge.pids} if bridge.pids else {}),
            }
            print(json.dumps(addresses), flush=True)  # noqa: T201 - the command's output
        else:
            path, activity = bridge.settings.path, options.activity
            show(_ready_message(url, path, sandbox, server, activity=activity))
            if isinstance(bridge, DevMachines):
                show(_machines_message(bridge))
        if options.activity:
            # Unseeded, so that each run has other traffic.
            rng = random.Random()  # noqa: S311 - no secret
            traffic = TrafficGenerator(sandbox.database_url, rng, interval=TRAFFIC_INTERVAL_SECONDS)
            tasks.create_task(traffic.run())


def _machine_addresses(bridge: _Bridge) -> dict[str, Any]:
    if not isinstance(bridge, DevMachines):
        return {}
    return {"bridge_urls": bridge.urls, "redis_url": bridge.redis_url}


def _machines_message(bridge: DevMachines) -> str:
    """Return the machines, and how to see a takeover."""
    machines = "\n".join(
        f"  bridge {number}    {url}  (pid {pid})"
        for number, (url, pid) in enumerate(zip(bridge.urls, bridge.pids, strict=True), 1)
    )
    return f"""The bridges share {bridge.redis_url}:

{machines}

/status of each has its role. Kill one to see another one take over (kill -TERM: in waves):

  kill -9 {bridge.pids[0]}
"""


async def _prepare_web(options: DevOptions, show: _Printer) -> _WebOptions:
    """Build the app and choose its port. Raises `WebAppError` and `PortInUseError`."""
    app, node = find_app(), find_node()
    # Only a check: Node.js binds the port itself.
    with _listen(options.web_port, WEB_PORT, show) as free:
        port = free.getsockname()[1]
    await app.prepare(node, show)
    return _WebOptions(app, node, port)


async def _raise_when_ended(server: WebServer) -> None:
    raise await server.ended()


def _first_error(group: BaseExceptionGroup[WebAppError]) -> WebAppError:
    first = group.exceptions[0]
    return _first_error(first) if isinstance(first, BaseExceptionGroup) else first


def _without_environment(**overrides: Any) -> dict[str, Any]:
    """Return the overrides of defaults, without those that the environment sets."""
    return {
        name: value
        for name, value in overrides.items()
        if f"BRIDGE_{name.upper()}" not in os.environ
    }


def _ready_message(
    url: str, path: str, sandbox: Sandbox, server: WebServer | None, *, activity: bool
) -> str:
    web = (
        f"\n  web app     {server.url}\n  sign in as  {DEMO_EMAIL}  (password {DEMO_PASSWORD})"
        if server
        else ""
    )
    traffic = (
        f"One listing changes every {TRAFFIC_INTERVAL_SECONDS:g} seconds on average "
        "(--no-activity turns this off)."
        if activity
        else "No listing changes by itself (--no-activity)."
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
              (the demo user watches {DEMO_REGION}, see property_watchers)

{traffic}

Print the events, in a second terminal:

  {sys.executable} -m bridge listen {url} --region TX

Change a row, in a third:

  {_update_command(sandbox.database_url)}

Ctrl-C stops everything.
"""


async def _add_demo_user(sandbox: Sandbox) -> None:
    """Insert the demo user, with a watch on a region. Done once per database, so that later changes
    of these rows are kept.
    """
    added = await sandbox.execute(
        "insert into auth.users (id, email, raw_app_meta_data) values (%s, %s, %s)"
        " on conflict do nothing returning id",
        (DEMO_USER, DEMO_EMAIL, json.dumps(DEMO_METADATA)),
    )
    sandbox.set_password(DEMO_EMAIL, DEMO_PASSWORD)
    if added:
        await sandbox.execute(
            "insert into public.property_watchers (user_id, region) values (%s, %s)",
            (DEMO_USER, DEMO_REGION),
        )


def _demo_token(sandbox: Sandbox) -> str:
    """Return an access token of the demo user."""
    return sandbox.user_token(
        DEMO_USER,
        lifetime=TOKEN_SECONDS,
        email=DEMO_EMAIL,
        app_metadata={"provider": "email", "providers": ["email"], **DEMO_METADATA},
    )


def _update_command(database_url: str) -> str:
    """Return a shell command that changes a row: with psql if it is installed, else Python."""
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


def _listen(port: int | None, default: int, show: _Printer) -> socket.socket:
    """Bind `port`; if None, the default port, or a free one if that is in use.

    Raises `PortInUseError`.
    """
    if port is not None:
        try:
            return serve.listen(HOST, port)
        except OSError as error:
            raise PortInUseError(serve.listen_error(HOST, port, error)) from None
    try:
        return serve.listen(HOST, default)
    except OSError:
        listening = serve.listen(HOST, 0)
        show(f"Port {default} is in use; using {listening.getsockname()[1]}.")
        return listening


class _Printer:
    """Prints messages, unbuffered."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
