"""CPU per change inside the bridge, and memory per known row.

    python -m tests.bench.pipeline [--rows 10000 1000000] [--changes 50000] [--views] [--json FILE]

Measures everything between Realtime's client library and the gateway: decode, order against the
last known row, diff, encode, route, append to the memory log, store the row. The figures are CPU
time of the process, which depends little on other load; medians of five rounds.

With `--views` members receive two more columns: a change of public columns is then one event for
both views, and a change that includes member columns is one event per view.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.log.memory import MemoryEventLog
from bridge.pipeline.event_sink import events_of
from bridge.pipeline.merger import ChangeMerger
from bridge.pipeline.pipeline import MAX_CHANGES_PER_COMMIT
from bridge.projection import Projection
from bridge.rows import RowStore
from bridge.source.normalize import normalize
from bridge.source.realtime.decode import decode
from tests.bench.machine import resident

ROUNDS = 5
TYPES = {
    "id": "uuid", "name": "text", "address": "text", "city": "text", "state": "text",
    "price": "int8", "units": "int4", "status": "text", "latitude": "float8",
    "longitude": "float8", "created_at": "timestamptz", "updated_at": "timestamptz",
    "owner_contact": "text", "internal_notes": "text",
}  # fmt: skip
COLUMNS = [{"name": name, "type": type_} for name, type_ in TYPES.items()]


def listing(rng: random.Random, number: int) -> dict[str, Any]:
    return {
        "id": str(uuid.UUID(int=rng.getrandbits(128))),
        "name": f"{rng.choice(['Oak', 'Elm', 'Cedar', 'Birch'])} View Apartments {number}",
        "address": f"{rng.randrange(9999)} {rng.choice(['Main St', 'Lakeshore Blvd'])}",
        "city": rng.choice(["Austin", "Dallas", "San Diego", "Orlando"]),
        "state": rng.choice(["TX", "CA", "FL", "GA", "AZ"]),
        "price": rng.randrange(1_000_000, 50_000_000),
        "units": rng.randrange(4, 400),
        "status": rng.choice(["available", "pending", "sold"]),
        "latitude": round(rng.uniform(25, 45), 4),
        "longitude": round(rng.uniform(-120, -75), 4),
        "created_at": f"2026-01-{rng.randrange(10, 29)}T10:00:00.{rng.randrange(10**6):06d}+00:00",
        "updated_at": f"2026-02-01T10:00:00.{rng.randrange(10**6):06d}+00:00",
        "owner_contact": "someone@example.org",
        "internal_notes": "not for the public",
    }


def type_of(column: str) -> str:
    """Return the type of a column as far as values are normalized by it."""
    return "timestamptz" if column.endswith("_at") else ""


def payload(number: int, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": "public",
        "table": "properties",
        "type": "UPDATE",
        "commit_timestamp": f"2026-03-01T10:{number // 60 % 60:02d}:{number % 60:02d}.123Z",
        "columns": COLUMNS,
        "errors": None,
        "record": after,
        "old_record": before,
    }


def fill(projection: Projection, count: int, rng: random.Random) -> tuple[RowStore, float]:
    """Return rows as the first scan stores them, and the bytes per row."""
    rows = RowStore(projection.known)
    gc.collect()
    before = resident()
    for number in range(count):
        record = {
            name: normalize(value, type_of(name)) for name, value in listing(rng, number).items()
        }
        rows.apply([(record["id"], rows.encode(record))])
    gc.collect()
    return rows, (resident() - before) / count


def payloads(
    rows: RowStore, changes: int, rng: random.Random, *, hidden: bool = False
) -> Iterator[list[dict[str, Any]]]:
    """Yield updates of random rows, of price, status and optionally member columns, in batches of
    the pipeline's maximum.
    """
    keys = list(rows)
    for start in range(0, changes, MAX_CHANGES_PER_COMMIT):
        turn = []
        for number in range(start, min(changes, start + MAX_CHANGES_PER_COMMIT)):
            key = rng.choice(keys)
            row = rows.get(key)
            assert row is not None
            unknown = {"owner_contact": "x", "internal_notes": "y"}
            before = {"id": key, **unknown, **rows.decode(row)}
            after = {
                **before,
                "price": rng.randrange(1_000_000, 50_000_000),
                "status": rng.choice(["available", "pending"]),
                "updated_at": f"2026-03-01T10:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
            }
            if hidden:
                after["owner_contact"] = f"{number}@example.org"
            turn.append(payload(number, before, after))
        yield turn


async def cost(
    rows: RowStore,
    projection: Projection,
    changes: int,
    rng: random.Random,
    *,
    hidden: bool = False,
) -> float:
    """Return CPU µs per change."""
    ledger, log = ChangeMerger(projection, rows), MemoryEventLog(2 * changes, 900)
    spent = 0.0
    for turn in payloads(rows, changes, rng, hidden=hidden):
        started = time.process_time()
        for data in turn:
            change = decode(data, projection)
            assert change is not None
            ledger.apply_change(change, 0.0)
        decided = ledger.take()
        events = events_of(projection, rows, decided.changes)
        await log.append(events, list(decided.rows.items()))
        rows.apply(decided.rows.items())
        ledger.applied()
        spent += time.process_time() - started
    return spent / changes * 1e6


def measure(count: int, changes: int) -> dict[str, float]:
    rng = random.Random(count)
    projection = Projection()
    rows, weight = fill(projection, count, rng)
    costs = [asyncio.run(cost(rows, projection, changes, rng)) for _ in range(ROUNDS)]
    return {"rows": count, "bytes_per_row": weight, "us_per_change": statistics.median(costs)}


def measure_views(count: int, changes: int) -> dict[str, float]:
    """Return CPU µs per change by case, measured in interleaved rounds."""
    rng = random.Random(count)
    one, two = Projection(), Projection(member=("owner_contact", "internal_notes"))
    filled = {projection: fill(projection, count, rng)[0] for projection in (one, two)}
    cases = {
        "one view": (one, False),
        "two views, public columns": (two, False),
        "two views, both kinds of columns": (two, True),
    }
    costs: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (projection, hidden) in cases.items():
            work = cost(filled[projection], projection, changes, rng, hidden=hidden)
            costs[name].append(asyncio.run(work))
    return {name: statistics.median(each) for name, each in costs.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--changes", type=int, default=20_000)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--views", action="store_true", help="with member columns")
    options = parser.parse_args(argv)
    if options.views:
        views = measure_views(options.rows[0], options.changes)
        print("| case | CPU µs per change |\n|---|---:|")
        for name, microseconds in views.items():
            print(f"| {name} | {microseconds:.1f} |")
        return 0
    results = [measure(count, options.changes) for count in options.rows]
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    print("| known rows | CPU µs per change | bytes per row |\n|---:|---:|---:|")
    for result in results:
        print(
            f"| {result['rows']:,} | {result['us_per_change']:.1f} "
            f"| {result['bytes_per_row']:.0f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
