"""Overload: counts lost, repeated and disordered events above the planned rate of changes.

    python -m tests.bench overload [--transaction 50000] [--rate 2000] [--seconds 60] [--clients 3]
                                   [--json FILE]

The sandbox and `bridge serve` are separate processes, the log is a SQLite file. Three loads in
sequence: one transaction over all rows; a constant rate of changes; the same again, while Realtime
drops everything above its rate limit during the middle third. Each client starts with the rows of
GET /properties and checks every event against its rows: old values, order, positions. In the end
its rows must equal the table. Exit code 1 on any violation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psycopg

from tests.bench import listings, machine
from tests.bench.listener import Listener
from tests.bench.site import Site
from tests.bench.tasks import cancelled
from tests.chaos.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ROWS_PER_TRANSACTION: Final = 20
"""Rows per transaction of the constant rate."""
POLL_SECONDS: Final = 0.2
TIMEOUT_SECONDS: Final = 300.0
LIMIT_SHARE: Final = 20
"""Ratio of the rate to the rate limit."""

Figures = dict[str, Any]


class Stage:
    """A bridge under load, and clients that check it. Created by `Stage.open()`."""

    def __init__(self, platform: Platform, site: Site, listeners: list[Listener]) -> None:
        self.platform = platform
        self.site = site
        self.listeners = listeners
        self._rng = random.Random(1)
        self._keys: list[str] = []

    @classmethod
    @asynccontextmanager
    async def open(
        cls, rows: int, clients: int, *, pace: float = 1.0, **settings: str
    ) -> AsyncIterator[Stage]:
        """Run a bridge that has read the table, with clients that have read its rows."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            platform = await stack.enter_async_context(Platform.open(pace))
            site = await stack.enter_async_context(Site.open(platform, folder, **settings))
            await listings.fill(platform, rows)
            await site.start()
            await site.ready()
            listeners = [Listener(site, f"client {n}", whole=True) for n in range(clients)]
            for listener in listeners:
                stack.push_async_callback(cancelled, asyncio.create_task(listener.run()))
            stage = cls(platform, site, listeners)
            stage._keys = await listings.keys(platform, rows)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                for listener in listeners:
                    await listener.connected.wait()
            await site.quiet()
            yield stage

    async def transaction(self, rows: int) -> Figures:
        """Measure one transaction over so many rows."""

        async def write() -> int:
            return len(await listings.reprice(self.platform, self._keys[:rows]))

        return await self._measure(write)

    async def steady(self, rate: float, seconds: float) -> Figures:
        """Measure a constant rate of changes per second."""

        async def write() -> int:
            return await self._write(rate, seconds)

        return await self._measure(write)

    async def limited(self, rate: float, seconds: float, limit: float) -> Figures:
        """As `steady`, with a rate limit (changes per second, averaged over a minute) during the
        second third, and longer until Realtime has dropped a change.
        """

        async def write() -> int:
            dropped = await self._dropped()
            made = await self._write(rate, seconds / 3)
            await self.platform.fault("rate_limit", changes_per_second=limit)
            made += await self._write(rate, seconds / 3)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while await self._dropped() == dropped:
                    made += await self._write(rate, ROWS_PER_TRANSACTION / rate)
            await self.platform.fault("rate_limit", changes_per_second=None)
            return made + await self._write(rate, seconds / 3)

        return await self._measure(write)

    async def _dropped(self) -> int:
        """Return the number of changes dropped by the rate limit."""
        return (await self.platform.counters())["rate_limited"]

    async def _write(self, rate: float, seconds: float) -> int:
        made, began = 0, time.monotonic()
        async with await psycopg.AsyncConnection.connect(
            self.platform.database_url, autocommit=True
        ) as connection:
            while (spent := time.monotonic() - began) < seconds:
                await asyncio.sleep(made / rate - spent)
                done = await connection.execute(
                    "update properties set price = price + 1 where id = any(%s::uuid[])",
                    [self._rng.sample(self._keys, ROWS_PER_TRANSACTION)],
                )
                made += done.rowcount
        return made

    async def _measure(self, write: Callable[[], Awaitable[int]]) -> Figures:
        before = await self._counts()
        dropped = await self._dropped()
        states = [len(listener.states) for listener in self.listeners]
        machine.forget_peak(self.site.pid)
        cpu, watch = machine.cpu(self.site.pid), _StatusWatch(self.site)
        watching = asyncio.create_task(watch.run())
        try:
            began = time.monotonic()
            changes = await write()
            written = time.monotonic()
            problems = await self._converged()
            converged = time.monotonic()
        finally:
            await cancelled(watching)
        after = await self._counts()
        statuses = {
            state
            for listener, start in zip(self.listeners, states, strict=True)
            for _, state in listener.states[start:]
        }
        if watch.passing and "catching-up" not in statuses:
            problems.append("a scan ran, and no client received the status catching-up")
        for listener in self.listeners:
            problems += listener.wrong
        rss, peak = machine.memory(self.site.pid)
        counts = after - before
        return {
            "changes": changes,
            "changes per s": changes / max(written - began, 0.001),
            "events of a client": (counts["created"] + counts["updated"] + counts["deleted"])
            / len(self.listeners),
            "s until converged": converged - written,
            "bridge CPU s": machine.cpu(self.site.pid) - cpu,
            "RSS MB": rss / 1e6,
            "peak RSS MB": peak / 1e6,
            "max rows to re-read": watch.doubts,
            "dropped by Realtime": await self._dropped() - dropped,
            "dropped by the queue": counts["dropped"],
            "repaired": counts["repaired"],
            "passes": counts["passes"],
            "catching-up was sent": "catching-up" in statuses,
            "clients cut": counts["cut"],
            "recovered": counts["recovered"],
            "read the rows again": counts["reread"],
            "wrong": problems,
        }

    async def _counts(self) -> Counter[str]:
        """Return the counts of the pipeline and the sums of those of the clients."""
        pipeline = (await self.site.pipeline())["counts"]
        counts = Counter({name: pipeline[name] for name in ("dropped", "repaired", "passes")})
        for listener in self.listeners:
            counts.update(listener.counts)
        return counts

    async def _converged(self) -> list[str]:
        """Wait until all clients equal the table and no scan runs. Return what differs after the
        timeout.
        """
        table = await listings.table(self.platform)
        differing: dict[str, list[str]] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while True:
                    differing = {
                        listener.name: keys
                        for listener in self.listeners
                        if (keys := listener.differs(table))
                    }
                    if not differing:
                        await self.site.quiet()
                        return []
                    await asyncio.sleep(POLL_SECONDS)
        if not differing:
            return ["scans do not end"]
        return [
            f"{name} differs from the table in {len(keys)} properties, such as {keys[0]}"
            for name, keys in differing.items()
        ]


class _StatusWatch:
    """Polls /status."""

    def __init__(self, site: Site) -> None:
        self.passing = False
        """Whether two polls in a row found a running scan."""
        self.doubts = 0
        self._site = site

    async def run(self) -> None:
        before = False
        while True:
            pipeline = await self._site.pipeline()
            self.passing = self.passing or (before and pipeline["passing"])
            before = pipeline["passing"]
            self.doubts = max(self.doubts, pipeline["doubts"])
            await asyncio.sleep(POLL_SECONDS)


async def measure(options: argparse.Namespace) -> dict[str, Figures]:
    async with Stage.open(options.transaction, options.clients) as stage:
        results = {}
        plays: dict[str, Callable[[], Awaitable[Figures]]] = {
            "one transaction": lambda: stage.transaction(options.transaction),
            "steady": lambda: stage.steady(options.rate, options.seconds),
            "rate limit": lambda: stage.limited(
                options.rate, options.seconds, options.rate / LIMIT_SHARE
            ),
        }
        for name, play in plays.items():
            results[name] = await play()
            print(f"{name}: {results[name]}", file=sys.stderr, flush=True)
            if results[name]["wrong"]:
                print(stage.site.logged[-4000:], file=sys.stderr)
        return results


def show(results: dict[str, Figures]) -> str:
    lines = ["| | " + " | ".join(results) + " |", "|---|" + "---:|" * len(results)]
    for figure in next(iter(results.values())):
        values = (_text(figures[figure]) for figures in results.values())
        lines.append(f"| {figure} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--transaction", type=int, default=50_000, help="rows of the table and of the transaction"
    )
    parser.add_argument("--rate", type=float, default=2000, help="changes per second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    results = asyncio.run(measure(options))
    if options.json:
        document = {"load": os.getloadavg(), **results}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    print(show(results))
    return 1 if any(figures["wrong"] for figures in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
