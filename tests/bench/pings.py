"""CPU of the gateway for the pings of idle clients, the only work that they cause.

    python -m tests.bench pings [--clients 2000] [--json FILE]

The server pings every 5 s instead of every 25 s, so that a short run has many. A ping is a frame to
the client, and the frame that answers it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from tests.bench.rig import rig

PING_SECONDS = 5
SECONDS = 20


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    os.environ["BENCH_PING_SECONDS"] = str(PING_SECONDS)
    with rig() as machine, machine.pair("bridge", options.clients) as (server, load):
        time.sleep(PING_SECONDS)
        before, cpu = load.ask("stat")["pings"], server.cpu
        time.sleep(SECONDS)
        pings = load.ask("stat")["pings"] - before
        cost = (server.cpu - cpu).total / pings * 1e6
    print(f"{pings:,} pings of {options.clients:,} clients: {cost:.1f} CPU µs each")
    if options.json:
        options.json.write_text(json.dumps({"pings": pings, "cpu_us": cost}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
