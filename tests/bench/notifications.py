"""CPU of notifications per change, and memory per watch.

    python -m tests.bench.notifications [--watches 0 10000 100000] [--present 1000]

The changes are those of `tests.bench.pipeline`: random rows, each with a new price, most of which
cause a notification, and half with a new status. Measures the CPU time of the process for
everything between Realtime's client library and the gateway, including the memory log, and for
finding the recipients; medians of five rounds.

- `properties`: as many users as watches, each watching one existing property;
- `one region`: all watch one region, which has a fifth of the changes;
- `elsewhere`: all watch regions without changes.

`--present` users have a client that is connected or may reconnect; the others receive nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from typing import Final

from bridge.clock import SystemClock
from bridge.gateway.hub import Hub
from bridge.log.base import Entry
from bridge.log.memory import MemoryEventLog
from bridge.notifications.notifier import Notifier, NotifierOptions
from bridge.notifications.rules import NotificationRules
from bridge.notifications.watch_index import Watch, WatchIndex
from bridge.pipeline.event_sink import events_of
from bridge.pipeline.merger import ChangeMerger
from bridge.projection import Projection
from bridge.rows import RowStore
from bridge.source.realtime.decode import decode
from tests.bench.pipeline import fill, payloads

ROUNDS: Final = 5
ROWS: Final = 10_000
USERS: Final = 10_000

Make = Callable[[int, list[str]], Watch]

WHAT: Final[dict[str, Make]] = {
    "elsewhere": lambda number, _keys: Watch(f"user-{number}", region=f"R{number}"),
    "properties": lambda number, keys: Watch(f"user-{number}", property=keys[number % len(keys)]),
    "one region": lambda number, _keys: Watch(f"user-{number}", region="TX"),
}


def watching(count: int, make: Make, keys: list[str]) -> tuple[WatchIndex, float]:
    """Return an index of `count` watches, and the bytes per watch."""
    watches = WatchIndex()
    tracemalloc.start()
    for number in range(count):
        watches.set(f"watch-{number}", make(number, keys))
    weight, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return watches, weight / max(1, count)


async def cost(
    rows: RowStore, projection: Projection, changes: int, rng: random.Random, notifier: Notifier
) -> tuple[float, float]:
    """Return CPU µs per change, and the maximum CPU ms of one transaction."""
    ledger, log = ChangeMerger(projection, rows), MemoryEventLog(changes, 900)
    hub = Hub(deliver=_deliver, max_rooms=9)
    spent = longest = 0.0
    for turn in payloads(rows, changes, rng):
        started = time.process_time()
        for data in turn:
            change = decode(data, projection)
            assert change is not None
            ledger.apply_change(change, 0.0)
        decided = ledger.take()
        events = notifier.add_notifications(
            events_of(projection, rows, decided.changes),
            lambda key: rows.decode(ledger.state(key) or b"[]"),
        )
        commit = await log.append(events, list(decided.rows.items()))
        rows.apply(decided.rows.items())
        ledger.applied()
        hub.publish(commit.entries)
        took = time.process_time() - started
        spent += took
        longest = max(longest, took)
    return spent / changes * 1e6, longest * 1e3


def _deliver(_entry: Entry, _recipients: Iterable[object]) -> None:
    raise AssertionError("expected no delivery without a connected client")


def measure(what: str, count: int, changes: int, present: int) -> str:
    rng = random.Random(count)
    projection = Projection()
    rows, _ = fill(projection, ROWS, rng)
    watches, weight = watching(count, WHAT[what], [str(key) for key in rows])
    rounds = []
    for _ in range(ROUNDS):
        notifier = Notifier(
            NotifierOptions(NotificationRules(), max_users=USERS, region_scoped=False),
            watches,
            present={f"user-{number}" for number in range(present)},
            clock=SystemClock(),
        )
        rounds.append(asyncio.run(cost(rows, projection, changes, rng, notifier)))
    notified = notifier.counts().notified / changes
    per_change = statistics.median(us for us, _ in rounds)
    longest = statistics.median(ms for _, ms in rounds)
    weighs = f"{weight:.0f}" if count else "-"
    return f"| {count:,} | {what} | {notified:,.1f} | {per_change:.1f} | {longest:.1f} | {weighs} |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--watches", type=int, nargs="+", default=[0, 10_000, 100_000])
    parser.add_argument("--changes", type=int, default=5_000)
    parser.add_argument("--present", type=int, default=1_000)
    logging.disable()  # warnings about skipped users
    options = parser.parse_args(argv)
    print(
        "| watches | of | users notified per change | CPU µs per change | longest turn, CPU ms "
        "| bytes per watch |\n|---:|---|---:|---:|---:|---:|"
    )
    for count in options.watches:
        for what in WHAT if count else ["elsewhere"]:
            print(measure(what, count, options.changes, options.present), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
