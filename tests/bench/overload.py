"""More changes than anybody planned for: is anything lost, repeated, or out of order?

    python -m tests.bench overload [--transaction 50000] [--rate 2000] [--seconds 60] [--clients 3]
                                   [--json FILE]

The sandbox and `bridge serve` are processes of their own, the log is a SQLite file. One after the
other: one transaction over all rows; so many changes a second, for so long; the same again, while
Realtime drops everything past its rate limit during the middle third. Each client begins with the
rows of GET /properties and checks every event against what it holds: old values, order, positions.
When all is quiet it must hold what the table holds. Exit code 1 if anything is wrong.
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
from tests.chaos.platform import Platform

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TOGETHER: Final = 20
"""Rows of one transaction where there are many."""
LOOK_SECONDS: Final = 0.2
PATIENCE_SECONDS: Final = 300.0
LIMIT_SHARE: Final = 20
"""The rate limit is this part of the rate."""

Figures = dict[str, Any]


class Stage:
    """A bridge under load, and clients that check it. Made by `Stage.open()`."""

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
        """All is quiet inside: the table is read, the clients hold it."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            platform = await stack.enter_async_context(Platform.open(pace))
            site = await stack.enter_async_context(Site.open(platform, folder, **settings))
            await listings.fill(platform, rows)
            await site.start()
            await site.ready()
            listeners = [Listener(site, f"client {n}", whole=True) for n in range(clients)]
            for listener in listeners:
                stack.push_async_callback(_ended, asyncio.create_task(listener.run()))
            it = cls(platform, site, listeners)
            it._keys = await listings.keys(platform, rows)
            async with asyncio.timeout(PATIENCE_SECONDS):
                for listener in listeners:
                    await listener.connected.wait()
            await site.quiet()
            yield it

    async def transaction(self, rows: int) -> Figures:
        """One transaction of so many rows."""

        async def write() -> int:
            return len(await listings.reprice(self.platform, self._keys[:rows]))

        return await self._play(write)

    async def steady(self, rate: float, seconds: float) -> Figures:
        """So many changes a second."""

        async def write() -> int:
            return await self._write(rate, seconds)

        return await self._play(write)

    async def limited(self, rate: float, seconds: float, limit: float) -> Figures:
        """The same, with a limit of so many changes a second, averaged over a minute, from a third
        of the time on: for another third, and until Realtime has dropped something.
        """

        async def write() -> int:
            dropped = await self._dropped()
            made = await self._write(rate, seconds / 3)
            await self.platform.fault("rate_limit", changes_per_second=limit)
            made += await self._write(rate, seconds / 3)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await self._dropped() == dropped:
                    made += await self._write(rate, TOGETHER / rate)
            await self.platform.fault("rate_limit", changes_per_second=None)
            return made + await self._write(rate, seconds / 3)

        return await self._play(write)

    async def _dropped(self) -> int:
        """Changes that the rate limit has swallowed."""
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
                    [self._rng.sample(self._keys, TOGETHER)],
                )
                made += done.rowcount
        return made

    async def _play(self, write: Callable[[], Awaitable[int]]) -> Figures:
        before = await self._counts()
        dropped = await self._dropped()
        states = [len(listener.states) for listener in self.listeners]
        machine.forget_peak(self.site.pid)
        cpu, watch = machine.cpu(self.site.pid), _Watch(self.site)
        watching = asyncio.create_task(watch.run())
        try:
            began = time.monotonic()
            changes = await write()
            written = time.monotonic()
            problems = await self._converged()
            converged = time.monotonic()
        finally:
            await _ended(watching)
        after = await self._counts()
        told = {
            state
            for listener, start in zip(self.listeners, states, strict=True)
            for _, state in listener.states[start:]
        }
        if watch.passing and "catching-up" not in told:
            problems.append("something was looked for, and no client was told")
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
            "most doubts": watch.doubts,
            "dropped by Realtime": await self._dropped() - dropped,
            "dropped by the queue": counts["dropped"],
            "repaired": counts["repaired"],
            "passes": counts["passes"],
            "catching-up was told": "catching-up" in told,
            "clients cut": counts["cut"],
            "recovered": counts["recovered"],
            "began anew": counts["anew"],
            "wrong": problems,
        }

    async def _counts(self) -> Counter[str]:
        """Of the pipeline, and of all clients together."""
        pipeline = (await self.site.pipeline())["counts"]
        counts = Counter({name: pipeline[name] for name in ("dropped", "repaired", "passes")})
        for listener in self.listeners:
            counts.update(listener.counts)
        return counts

    async def _converged(self) -> list[str]:
        """What is wrong still when nothing changes any more, or there is no more patience."""
        table = await listings.table(self.platform)
        differing: dict[str, list[str]] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    differing = {
                        listener.name: keys
                        for listener in self.listeners
                        if (keys := listener.differs(table))
                    }
                    if not differing:
                        await self.site.quiet()
                        return []
                    await asyncio.sleep(LOOK_SECONDS)
        if not differing:
            return ["something is looked for without an end"]
        return [
            f"{name} holds {len(keys)} properties other than the table does, {keys[0]} is one"
            for name, keys in differing.items()
        ]


class _Watch:
    """Looks at /status all the time."""

    def __init__(self, site: Site) -> None:
        self.passing = False
        """Whether it was seen twice in a row that something was looked for."""
        self.doubts = 0
        self._site = site

    async def run(self) -> None:
        before = False
        while True:
            pipeline = await self._site.pipeline()
            self.passing = self.passing or (before and pipeline["passing"])
            before = pipeline["passing"]
            self.doubts = max(self.doubts, pipeline["doubts"])
            await asyncio.sleep(LOOK_SECONDS)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel it. Raises what it died of before."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


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
                print(stage.site.said[-4000:], file=sys.stderr)
        return results


def show(results: dict[str, Figures]) -> str:
    lines = ["| | " + " | ".join(results) + " |", "|---|" + "---:|" * len(results)]
    for figure in next(iter(results.values())):
        values = (_text(its[figure]) for its in results.values())
        lines.append(f"| {figure} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(value) or "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--transaction", type=int, default=50_000, help="rows of it, and in all")
    parser.add_argument("--rate", type=float, default=2000, help="changes per second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    results = asyncio.run(measure(options))
    if options.json:
        whole = {"load": os.getloadavg(), **results}
        options.json.write_text(json.dumps(whole, indent=2) + "\n")
    print(show(results))
    return 1 if any(its["wrong"] for its in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
