"""Inject random faults for minutes, and check every event that every client receives.

    python -m tests.chaos --minutes 5 --seed 7 [--clients 30] [--only kill,cut] [--log memory:]
        [--source postgres]
        [--pause 1.5] [--defaults] [--set page_rows=7] [--json FILE]

The sandbox, the bridge and the clients are processes of their own. Two writers change the table
while faults are injected; after each round of half a minute all faults are ended, and the events of
every client are compared with the committed states. The same seed gives the same settings, clients,
writes and faults, though not the same instants. The exit code is 1 if there was any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.faults import FAULTS
from tests.chaos.run import Options, Run

if TYPE_CHECKING:
    from tests.chaos.report import Report


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=(__doc__ or "").splitlines()[0],
        epilog=f"Faults: {', '.join(sorted(FAULTS))}.",
    )
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--only", default="", metavar="FAULT,...", help="only these faults")
    parser.add_argument("--source", default="realtime", choices=("realtime", "postgres"))
    parser.add_argument("--log", default="sqlite:", help="memory: or sqlite: (a file)")
    parser.add_argument("--pause", type=float, default=1.5, help="seconds between faults, about")
    parser.add_argument("--round", type=float, default=30, help="seconds of faults per round")
    parser.add_argument(
        "--patience", type=float, default=60, help="seconds for clients to converge"
    )
    parser.add_argument(
        "--defaults",
        action="store_true",
        help="real delays and default waits",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the bridge"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    only = tuple(name for name in args.only.split(",") if name)
    unknown = [name for name in only if name not in FAULTS]
    if unknown:
        parser.error(f"no fault {', '.join(unknown)}")
    options = Options(
        seconds=args.minutes * 60,
        seed=args.seed,
        clients=args.clients,
        only=only,
        log=args.log,
        source=args.source,
        round_seconds=args.round,
        pause=args.pause,
        patience=args.patience,
        short_waits=not args.defaults,
        settings=tuple(tuple(pair.split("=", 1)) for pair in args.set),
    )
    report = asyncio.run(_run(options))
    print(report)
    if args.json:
        args.json.write_text(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    return 1 if report.violations or report.notes else 0


async def _run(options: Options) -> Report:
    running = asyncio.current_task()
    assert running is not None
    # On SIGTERM the run stops every process that it started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await Run(options).run(lambda line: print(line, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main())
