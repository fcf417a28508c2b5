"""Everything goes wrong at once, at random, for minutes: is every client told the truth?

    python -m tests.chaos --minutes 5 --seed 7 [--clients 30] [--only kill,cut] [--log memory:]
        [--pause 1.5] [--defaults] [--set page_rows=7] [--json FILE]

A miniature Supabase, the bridge and the clients are processes of their own. Two writers change the
table while faults are injected; after each round of half a minute everything is healed, and what
every client was told is compared with what was committed. The same seed gives the same settings,
clients, writes and faults, though not the same instants. Exit code 1 if anything was wrong.
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
    parser.add_argument("--log", default="sqlite:", help="memory: or sqlite: (a file)")
    parser.add_argument("--pause", type=float, default=1.5, help="seconds between faults, about")
    parser.add_argument("--round", type=float, default=30, help="seconds of one round's trouble")
    parser.add_argument("--patience", type=float, default=60, help="seconds for all to be well")
    parser.add_argument(
        "--defaults", action="store_true", help="Realtime's true pace, the bridge's default waits"
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
        round_seconds=args.round,
        pause=args.pause,
        patience=args.patience,
        hurried=not args.defaults,
        settings=tuple(tuple(pair.split("=", 1)) for pair in args.set),
    )
    report = asyncio.run(_play(options))
    print(report)
    if args.json:
        args.json.write_text(json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n")
    return 1 if report.violations or report.notes else 0


async def _play(options: Options) -> Report:
    playing = asyncio.current_task()
    assert playing is not None
    # So that a run that is told to end takes everything down that it started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    return await Run(options).play(lambda text: print(text, file=sys.stderr, flush=True))


if __name__ == "__main__":
    sys.exit(main())
