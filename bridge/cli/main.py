"""What a person types: `bridge serve`, `dev`, `check`, `listen`, `schema`.

Exit codes: 0 stopped as asked, or all is well; 1 it could not start, or a part of it died, or a
check failed; 2 settings or arguments are wrong.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError, SettingsError
from bridge.ops import logging_setup as logs
from bridge.server import serve
from bridge.settings import load, reference
from bridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger(__name__)

NOWHERE = "http://localhost"
"""In the place of settings that have to be there and that a command has no use for."""


def out(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


def err(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the command's output


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code. Wrong arguments exit with 2 from inside."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except SettingsError as error:
        err(f"{error}\n(`bridge serve --help` tells of all settings.)")
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
        epilog="`bridge dev` shows it at work without an account. "
        "`bridge COMMAND --help` tells more of each.",
    )
    parser.add_argument("--version", action="version", version=f"bridge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    add = partial(
        _command, commands, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    serving = add(
        "serve", _serve, "run the bridge before a Supabase project", epilog=_settings_help()
    )
    serving.add_argument("--host", help="address to listen on; overrides BRIDGE_HOST")
    serving.add_argument("--port", type=int, help="port to listen on; overrides BRIDGE_PORT")

    dev = add(
        "dev",
        _dev,
        "run the bridge before a miniature Supabase of its own, for development",
        epilog="Needs no account and no Docker, but the sandbox extra:\n"
        "  pip install 'supabase-socketio-bridge[sandbox]'\n\n"
        "BRIDGE_* settings apply, SUPABASE_* ones do not.",
    )
    dev.add_argument("--port", type=int, help="the bridge's port (default: 8000, or a free one)")
    dev.add_argument(
        "--data", type=Path, metavar="DIR", help="keep the database there (default: thrown away)"
    )
    dev.add_argument(
        "--no-activity", action="store_true", help="change no listings; leave that to me"
    )
    dev.add_argument(
        "--web",
        action="store_true",
        help="serve the web app of deploy/web too, built first where it isn't (needs Node.js)",
    )
    dev.add_argument(
        "--web-port", type=int, help="the web app's port (default: 3000, or a free one)"
    )
    dev.add_argument(
        "--json",
        action="store_true",
        help="when ready, print one line of JSON that says where everything is, and nothing else",
    )

    add(
        "check",
        _check,
        "try the settings: read the table, join its changes; changes nothing",
        epilog="Exit code 0 if all went well, 1 if not. Settings: `bridge serve --help`.",
    )

    hear = add("listen", _listen, "connect to a bridge and print what it says, an event per line")
    hear.add_argument(
        "url", nargs="?", default="http://127.0.0.1:8000", help="the bridge (default: %(default)s)"
    )
    hear.add_argument(
        "--region", action="append", default=[], metavar="R", help="only this region; repeatable"
    )
    hear.add_argument(
        "--property", action="append", default=[], metavar="ID", help="only this one; repeatable"
    )
    hear.add_argument(
        "--path", default="/socket.io", help="the bridge's BRIDGE_PATH (default: %(default)s)"
    )

    shape = add(
        "schema",
        _schema,
        "print the wire contract: all that goes to clients and back",
        epilog="The AsyncAPI document is that of the BRIDGE_* settings, and is what a bridge with "
        "them\nserves at /asyncapi.json. SUPABASE_* ones are not needed.",
    )
    shape.add_argument(
        "--format",
        choices=("json-schema", "asyncapi", "typescript"),
        default="json-schema",
        help="what to print it as (default: %(default)s)",
    )
    shape.add_argument("--out", type=Path, metavar="FILE", help="write it there instead")
    return parser


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
    """Every setting, from the model that reads them."""
    lines = ["Settings are read from the environment:", ""]
    for entry in reference.entries():
        shown = "required" if entry.default is None else f"default: {entry.default or 'empty'}"
        lines.append(f"  {entry.names[0]}")
        lines.append(f"      {entry.description} ({shown})")
    return "\n".join(lines)


def _serve(args: argparse.Namespace) -> int:
    asked = {"host": args.host, "port": args.port}
    settings = load(**{name: value for name, value in asked.items() if value is not None})
    logs.set_up(settings.log_level, secrets=settings.secrets)
    try:
        listening = serve.listen(settings.host, settings.port)
    except OSError as error:
        err(f"bridge: {serve.refusal(settings.host, settings.port, error)}")
        return 1
    from bridge.app import create_app  # noqa: PLC0415 - slow to import: --help shall be quick

    with listening:
        log.info(
            "%s at %s%s, status at %s/status",
            settings.table,
            serve.url(listening),
            settings.path,
            serve.url(listening),
        )
        return serve.until_signalled(serve.serve(create_app(settings), listening))


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
        web=args.web or args.web_port is not None,
        web_port=args.web_port,
    )
    return serve.until_signalled(dev(options))


def _check(_args: argparse.Namespace) -> int:
    settings = load()
    logs.set_up("error", secrets=settings.secrets)
    from bridge.cli.check import check  # noqa: PLC0415 - slow to import

    return serve.until_signalled(check(settings, out))


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

    if args.format == "typescript":
        text = typescript.source()
    elif args.format == "asyncapi":
        settings = load(supabase_url=NOWHERE, supabase_secret_key=NOWHERE)
        text = _json(asyncapi.document(document_options(settings)))
    else:
        text = _json(json_schema.document())
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
