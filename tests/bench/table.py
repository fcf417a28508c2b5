"""What the size of the table costs: first fill, restart, repair, memory.

    python -m tests.bench table [--rows 1000 100000 1000000] [--json FILE]

The sandbox and `bridge serve` are processes of their own, the log is a SQLite file, and one client
hears everything over a websocket. For each size: the first fill; a restart after `kill -9` with
nothing changed, and one with 100 rows changed while it was dead, whose events have to name the true
old values; then Realtime is away for five seconds, once stopped and once mute, while 20 rows change
and 5 are deleted. Loop figures are the answers of /livez, asked every 10 ms all the time. Exit code
1 if something was not told, or not truly.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.bench import listings, machine
from tests.bench.listener import Listener
from tests.bench.pulse import Pulse
from tests.bench.site import Site
from tests.chaos.platform import Platform

OUTAGE_SECONDS: Final = 5.0
CHANGED_WHILE_DEAD: Final = 100
CHANGED: Final = 20
DELETED: Final = 5
PATIENCE_SECONDS: Final = 600.0
SWEEP: Final = "key scan"

Figures = dict[str, Any]


class WrongError(Exception):
    """Something was not told, or not truly."""


class Trial:
    """One size of the table."""

    def __init__(self, platform: Platform, site: Site, client: Listener, pulse: Pulse) -> None:
        self.platform = platform
        self.site = site
        self.client = client
        self.pulse = pulse

    async def first_fill(self) -> Figures:
        before, began = self._database(), time.monotonic()
        await self.site.start()
        await self.site.ready()
        seconds = time.monotonic() - began
        rss, peak = machine.memory(self.site.pid)
        return {
            "fill s": seconds,
            "fill bridge CPU s": machine.cpu(self.site.pid),
            "fill database CPU %": (self._database() - before) / seconds * 100,
            "fill loop ms": self.pulse.take(),
            "RSS MB": rss / 1e6,
            "peak RSS MB": peak / 1e6,
        }

    async def sweep(self) -> Figures:
        """What follows every new subscription: the table is looked over for what is gone."""
        read = await self.platform.counters()
        before, began = self._database(), time.monotonic()
        await self.site.quiet()
        seconds = time.monotonic() - began
        after = await self.platform.counters()
        walks = self.site.walks(SWEEP)
        return {
            "sweep s": walks[-1][1] if walks else None,
            "sweep database CPU %": (self._database() - before) / seconds * 100,
            "sweep loop ms": self.pulse.take(),
            "sweep rows read": after["rows_given"] - read["rows_given"],
        }

    async def restart(self) -> Figures:
        """Killed, and nothing has changed since."""
        await self._kill()
        self.pulse.take()
        began = time.monotonic()
        await self.site.start()
        await self.site.ready()
        seconds = time.monotonic() - began
        read = await self.platform.counters()
        figures = {
            "restart s": seconds,
            "restart bridge CPU s": machine.cpu(self.site.pid),
            "restart loop ms": self.pulse.take(),
        }
        await self._quiet()
        if self.client.heard:
            raise WrongError(f"nothing had changed, and {len(self.client.heard)} events were told")
        after = await self.platform.counters()
        return figures | {"restart rows read": after["rows_given"] - read["rows_given"]}

    async def restart_changed(self) -> Figures:
        """Killed, and rows have changed since."""
        await self._kill()
        owed = await listings.reprice(self.platform, await self._some(CHANGED_WHILE_DEAD))
        began = time.monotonic()
        await self.site.start()
        at = await self._told(owed, set())
        if not self.client.counts["recovered"]:
            raise WrongError("the client was told that it did not recover")
        return {"restart, 100 changed s": at["updated"] - began}

    async def outage(self, how: str) -> Figures:
        await self._quiet()
        some = await self._some(CHANGED + DELETED)
        read = await self.platform.counters()
        began = time.monotonic()
        if how == "stopped":
            await self.platform.fault("restart", seconds=OUTAGE_SECONDS)
        else:
            await self.platform.fault("mute", new=True)
        owed = await listings.reprice(self.platform, some[:CHANGED])
        gone = await listings.delete(self.platform, some[CHANGED:])
        changed = time.monotonic()
        await asyncio.sleep(began + OUTAGE_SECONDS - time.monotonic())
        if how == "mute":
            await self.platform.fault("unmute")
        over = time.monotonic()
        await self._told(owed, set())
        after = await self.platform.counters()
        at = await self._told(owed, gone)
        return {
            f"{how}: updates told after, s": max(0.0, at["updated"] - over),
            f"{how}: deletes told after, s": max(0.0, at["deleted"] - over),
            f"{how}: from the changes to their events, s": at["updated"] - changed,
            f"{how}: reads": after["reads"] - read["reads"],
            f"{how}: rows read": after["rows_given"] - read["rows_given"],
        }

    async def _told(self, owed: dict[str, dict[str, Any]], gone: set[str]) -> dict[str, float]:
        """When the last update and the last delete came; raises where one says something else."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                updated, deleted = {}, {}
                for at, event, key, data in self.client.heard:
                    if event == "property-deleted":
                        deleted[key] = at
                    elif (price := data["changes"]["price"]) != owed.get(key):
                        raise WrongError(f"{key} was told as {price}, owed is {owed.get(key)}")
                    else:
                        updated[key] = at
                if updated.keys() >= owed.keys() and deleted.keys() >= gone:
                    return {
                        "updated": max(updated.values()),
                        "deleted": max(deleted.values(), default=0.0),
                    }
                await asyncio.sleep(0.01)

    async def _kill(self) -> None:
        await self._quiet()
        await self.site.kill()
        # Its client has to know, or it is counted as connected still.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.client.connected.is_set():
                await asyncio.sleep(0.01)

    async def _quiet(self) -> None:
        """Until all that follows a new subscription is over, and everything was heard."""
        await self.client.connected.wait()
        await self.site.quiet()
        self.client.heard.clear()

    async def _some(self, count: int) -> list[str]:
        return await listings.keys(self.platform, count)

    def _database(self) -> float:
        return machine.cpu_below(self.platform.pid, "postgres")


async def measure(count: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Platform.open(1.0) as platform,
            Site.open(platform, Path(folder)) as site,
            Pulse.felt(site.port) as pulse,
        ):
            await listings.fill(platform, count)
            client = Listener(site, "client", whole=False)
            listening = asyncio.create_task(client.run())
            trial = Trial(platform, site, client, pulse)
            figures: Figures = {"rows": count}
            try:
                for part in (
                    trial.first_fill(),
                    trial.sweep(),
                    trial.restart(),
                    trial.restart_changed(),
                    trial.outage("stopped"),
                    trial.outage("mute"),
                ):
                    its = await part
                    figures |= its
                    print(f"{count:,} rows: {_line(its)}", file=sys.stderr, flush=True)
            except (WrongError, TimeoutError):
                print(site.said[-4000:], file=sys.stderr)
                raise
            finally:
                listening.cancel()
                with suppress(asyncio.CancelledError):
                    await listening
            if client.wrong:
                raise WrongError("; ".join(client.wrong))
            await site.stop()
            figures["file MB"] = (Path(folder) / "log.sqlite3").stat().st_size / 1e6
            return figures


def show(results: list[Figures]) -> str:
    smallest = results[0]
    lines = ["| | " + " | ".join(f"{its['rows']:,} rows" for its in results) + " |"]
    lines.append("|---|" + "---:|" * len(results))

    def add(label: str, *values: str) -> None:
        lines.append(f"| {label} | " + " | ".join(values) + " |")

    for name in smallest:
        if name != "rows":
            add(name, *(_figure(its[name]) for its in results))
    weights = [
        (its["RSS MB"] - smallest["RSS MB"]) * 1e6 / (its["rows"] - smallest["rows"])
        for its in results[1:]
    ]
    add(f"bytes of RSS for each row past {smallest['rows']:,}", "-", *map(_figure, weights))
    return "\n".join(lines)


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return " / ".join(f"{name} {its:.0f}" for name, its in value.items()) or "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def _line(figures: Figures) -> str:
    return ", ".join(f"{name} {_figure(value)}" for name, value in figures.items())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    results = []
    for count in sorted(options.rows):
        try:
            results.append(asyncio.run(measure(count)))
        except WrongError as wrong:
            print(f"{count:,} rows: {wrong}", file=sys.stderr)
            return 1
        if options.json:
            load = os.getloadavg()
            options.json.write_text(json.dumps({"load": load, "sizes": results}, indent=2) + "\n")
    print(show(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
