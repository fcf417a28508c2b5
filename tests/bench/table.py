"""Cost of the table's size: first fill, restart, repair, memory.

    python -m tests.bench table [--rows 1000 100000 1000000] [--json FILE]

The sandbox and `bridge serve` are separate processes, the log is a SQLite file, and one client
receives all events over a websocket. For each size: the first fill; a restart after `kill -9`
without changes, and one after 100 rows changed while the bridge was down, for which the events must
have the true old values; then outages of Realtime of five seconds, once stopped and once mute,
while 20 rows change and 5 are deleted. Loop figures are response times of /livez, requested every
10 ms throughout. Exit code 1 if an event is missing or wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.bench import listings, machine
from tests.bench.figures import number
from tests.bench.listener import Listener
from tests.bench.pulse import Pulse
from tests.bench.site import Site
from tests.bench.tasks import cancelled
from tests.chaos.platform import Platform

OUTAGE_SECONDS: Final = 5.0
CHANGED_WHILE_DEAD: Final = 100
CHANGED: Final = 20
DELETED: Final = 5
TIMEOUT_SECONDS: Final = 600.0
KEY_SCAN: Final = "key scan"

Figures = dict[str, Any]


class WrongError(Exception):
    """An event is missing or wrong."""


class TableTrial:
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

    async def key_scan(self) -> Figures:
        """Measure the key scan for deleted rows, which follows every new subscription."""
        read = await self.platform.counters()
        before, began = self._database(), time.monotonic()
        await self.site.quiet()
        seconds = time.monotonic() - began
        after = await self.platform.counters()
        scans = self.site.scans(KEY_SCAN)
        return {
            "key scan s": scans[-1][1] if scans else None,
            "key scan database CPU %": (self._database() - before) / seconds * 100,
            "key scan loop ms": self.pulse.take(),
            "key scan rows read": after["rows_given"] - read["rows_given"],
        }

    async def restart(self) -> Figures:
        """Kill the bridge and restart it without changes."""
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
        if self.client.received:
            events = len(self.client.received)
            raise WrongError(f"expected no event without a change, got {events}")
        after = await self.platform.counters()
        return figures | {"restart rows read": after["rows_given"] - read["rows_given"]}

    async def restart_changed(self) -> Figures:
        """Kill the bridge, change rows, and restart it."""
        await self._kill()
        expected = await listings.reprice(self.platform, await self._some_keys(CHANGED_WHILE_DEAD))
        began = time.monotonic()
        await self.site.start()
        at = await self._wait_for_events(expected, set())
        if not self.client.counts["recovered"]:
            raise WrongError("the client did not recover")
        return {"restart, 100 changed s": at["updated"] - began}

    async def outage(self, how: str) -> Figures:
        await self._quiet()
        some = await self._some_keys(CHANGED + DELETED)
        read = await self.platform.counters()
        began = time.monotonic()
        if how == "stopped":
            await self.platform.fault("restart", seconds=OUTAGE_SECONDS)
        else:
            await self.platform.fault("mute", new=True)
        expected = await listings.reprice(self.platform, some[:CHANGED])
        deleted = await listings.delete(self.platform, some[CHANGED:])
        changed = time.monotonic()
        await asyncio.sleep(began + OUTAGE_SECONDS - time.monotonic())
        if how == "mute":
            await self.platform.fault("unmute")
        over = time.monotonic()
        await self._wait_for_events(expected, set())
        after = await self.platform.counters()
        at = await self._wait_for_events(expected, deleted)
        return {
            f"{how}: updates received after, s": max(0.0, at["updated"] - over),
            f"{how}: deletes received after, s": max(0.0, at["deleted"] - over),
            f"{how}: from the changes to their events, s": at["updated"] - changed,
            f"{how}: reads": after["reads"] - read["reads"],
            f"{how}: rows read": after["rows_given"] - read["rows_given"],
        }

    async def _wait_for_events(
        self, prices: dict[str, dict[str, Any]], keys: set[str]
    ) -> dict[str, float]:
        """Wait for an update per entry of `prices` and a delete per key. Return the arrival of the
        last update and of the last delete. Raises `WrongError` if a change of price differs.
        """
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                updated, deleted = {}, {}
                for at, event, key, data in self.client.received:
                    if event == "property-deleted":
                        deleted[key] = at
                    elif (price := data["changes"]["price"]) != prices.get(key):
                        raise WrongError(f"{key}: expected {prices.get(key)}, got {price}")
                    else:
                        updated[key] = at
                if updated.keys() >= prices.keys() and deleted.keys() >= keys:
                    return {
                        "updated": max(updated.values()),
                        "deleted": max(deleted.values(), default=0.0),
                    }
                await asyncio.sleep(0.01)

    async def _kill(self) -> None:
        await self._quiet()
        await self.site.kill()
        # Wait until the client has noticed, so that it does not count as connected.
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while self.client.connected.is_set():
                await asyncio.sleep(0.01)

    async def _quiet(self) -> None:
        """Wait until the scans after a new subscription have ended, and clear received events."""
        await self.client.connected.wait()
        await self.site.quiet()
        self.client.received.clear()

    async def _some_keys(self, count: int) -> list[str]:
        return await listings.keys(self.platform, count)

    def _database(self) -> float:
        return machine.cpu_below(self.platform.pid, "postgres")


async def measure(count: int) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        async with (
            Platform.open(1.0) as platform,
            Site.open(platform, Path(folder)) as site,
            Pulse.open(site.port) as pulse,
        ):
            await listings.fill(platform, count)
            client = Listener(site, "client", whole=False)
            listening = asyncio.create_task(client.run())
            trial = TableTrial(platform, site, client, pulse)
            figures: Figures = {"rows": count}
            try:
                for part in (
                    trial.first_fill(),
                    trial.key_scan(),
                    trial.restart(),
                    trial.restart_changed(),
                    trial.outage("stopped"),
                    trial.outage("mute"),
                ):
                    measured = await part
                    figures |= measured
                    print(f"{count:,} rows: {_line(measured)}", file=sys.stderr, flush=True)
            except (WrongError, TimeoutError):
                print(site.logged[-4000:], file=sys.stderr)
                raise
            finally:
                await cancelled(listening)
            if client.wrong:
                raise WrongError("; ".join(client.wrong))
            await site.stop()
            figures["file MB"] = (Path(folder) / "log.sqlite3").stat().st_size / 1e6
            return figures


def show(results: list[Figures]) -> str:
    smallest = results[0]
    lines = ["| | " + " | ".join(f"{figures['rows']:,} rows" for figures in results) + " |"]
    lines.append("|---|" + "---:|" * len(results))

    def add(label: str, *values: str) -> None:
        lines.append(f"| {label} | " + " | ".join(values) + " |")

    for name in smallest:
        if name != "rows":
            add(name, *(_figure(figures[name]) for figures in results))
    weights = [
        (figures["RSS MB"] - smallest["RSS MB"]) * 1e6 / (figures["rows"] - smallest["rows"])
        for figures in results[1:]
    ]
    add(f"bytes of RSS per row above {smallest['rows']:,}", "-", *map(_figure, weights))
    return "\n".join(lines)


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return " / ".join(f"{name} {share:.0f}" for name, share in value.items()) or "-"
    return number(value, 1)


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
