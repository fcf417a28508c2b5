"""Measure the latency from commit to page, and a tab under 1,000 events per second.

    python -m tests.browser.measure [--changes 200] [--seconds 10] [--rate 1000] [--webgl]
        [--source postgres]

First the full stack on one machine: the sandbox with the real delays of Realtime, `bridge serve`
and the built app as processes, Chromium. A listener on Realtime itself measures the share of its
poll. Then the tab alone: the bridge with a source and a table in memory, which emit any number of
changes, in some 20 bursts a second.

Frames count as dropped if more than 50 ms lie between two of them; long tasks are those that the
browser reports, of 50 ms and more. Without `--webgl` the page shows a message instead of the map,
whose rendering in software would otherwise dominate the figures. The exit code is 1 if more than
5 % of the tab's time were dropped frames.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from playwright.async_api import Page, async_playwright

from bridge.app import create_app
from bridge.dev.web import WebServer, find_app, find_node
from bridge.sandbox import Sandbox
from tests.bench.latency import FIRST, Arrivals, percentiles, realtime
from tests.browser.conftest import (
    CHROMIUM,
    FLAGS,
    NO_WEBGL,
    WEBGL,
    restartable_bridge,
    which,
)
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.serving import served
from tests.support.ports import free_port

LISTINGS = 300
SETTLE_SECONDS = 8.0
"""Until the second scan of the table is done, and the map is rendered."""

BURST_SECONDS = 0.05
DROPPED_MS = 50
MOST_DROPPED = 5.0
"""Maximum share of dropped frames in per cent of the time."""

VISIBLE = 8
"""Cards visible in the window of these measurements."""

NOTE = """() => {
  window.arrived = {};
  new MutationObserver((changes) => {
    const now = performance.timeOrigin + performance.now();
    for (const field of document.querySelectorAll('[data-field="price"]')) {
      window.arrived[field.dataset.value] ??= now;
    }
  }).observe(document.body, { attributes: true, childList: true, subtree: true });
}"""

WATCH = """() => {
  window.frames_ = [];
  window.tasks_ = [];
  new PerformanceObserver((list) => {
    for (const task of list.getEntries()) window.tasks_.push(task.duration);
  }).observe({ type: "longtask" });
  let last = performance.now();
  const frame = () => {
    const now = performance.now();
    window.frames_.push(now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


@contextlib.asynccontextmanager
async def web_app(bridge_url: str, *, batch: bool = False) -> AsyncIterator[str]:
    app, node = find_app(), find_node()
    await app.prepare(node, print)
    environment = {
        "BRIDGE_URL": bridge_url,
        "BRIDGE_BATCH": str(batch).lower(),
        "BRIDGE_EXPOSE_STATE": "true",
    }
    async with WebServer.open(app, node, port=free_port(), environment=environment) as server:
        yield server.url


@contextlib.asynccontextmanager
async def tab(url: str, *, webgl: bool) -> AsyncIterator[Page]:
    """Open a live page with all listings."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=which(CHROMIUM), args=[*FLAGS, *(WEBGL if webgl else NO_WEBGL)]
        )
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        await page.goto(url)
        await page.locator('[data-testid="connection"][data-state="live"]').wait_for()
        await page.locator('[data-testid="listings"][data-ready="true"]').wait_for()
        await asyncio.sleep(SETTLE_SECONDS)
        yield page
        await browser.close()


@contextlib.asynccontextmanager
async def full_stack(*, webgl: bool, source: str) -> AsyncIterator[tuple[Sandbox, Page]]:
    port = free_port()
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.open())
        web = await stack.enter_async_context(web_app(f"http://127.0.0.1:{port}"))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        restartable = restartable_bridge(sandbox, web, port, directory)
        await stack.enter_async_context(
            restartable.running(BRIDGE_SOURCE=source, BRIDGE_DATABASE_URL=sandbox.database_url)
        )
        yield sandbox, await stack.enter_async_context(tab(web, webgl=webgl))


async def latency(changes: int, *, webgl: bool, source: str) -> dict[str, dict[str, float]]:
    """Return latencies in milliseconds of single changes at random times."""
    rng = random.Random(1)
    straight, live = Arrivals(), asyncio.Event()
    committed: dict[int, tuple[float, float]] = {}
    async with full_stack(webgl=webgl, source=source) as (sandbox, page):
        listening = asyncio.create_task(
            realtime(sandbox.supabase_url, sandbox.supabase_key, straight, live)
        )
        async with asyncio.timeout(30):
            await live.wait()
        keys = await _visible_keys(page)
        await page.evaluate(NOTE)
        for number in range(changes):
            price = FIRST + number
            await sandbox.execute(
                "update properties set price = %s where id = %s",
                (price, keys[number % len(keys)]),
            )
            committed[price] = (time.time(), time.monotonic())
            await asyncio.sleep(rng.uniform(0.05, 0.25))
        last = str(FIRST + changes - 1)
        await page.wait_for_function("(price) => price in window.arrived", arg=last)
        arrived = {
            int(price): at
            for price, at in (await page.evaluate("window.arrived")).items()
            if price.isdigit()
        }
        async with asyncio.timeout(20):  # the page may be ahead of Realtime
            while not straight.at.keys() >= committed.keys():
                await asyncio.sleep(0.02)
        listening.cancel()
    # Of two changes of a card within one poll only the last is shown.
    seen = [price for price in committed if price in arrived]
    return {
        "Realtime (commit to its message)": dict(
            percentiles([straight.at[price] - committed[price][1] for price in seen])
        ),
        "commit to the changed card": dict(
            percentiles([arrived[price] / 1000 - committed[price][0] for price in seen])
        ),
        f"(of {changes} changes, {len(seen)} were shown)": {},
    }


async def load(seconds: float, rate: int, *, webgl: bool, batch: bool) -> dict[str, float]:
    """Return the figures of a tab with `rate` changes per second for `seconds`."""
    contents = [
        row(
            f"p{number}",
            name=f"Listing {number}",
            state=("TX", "CA", "FL")[number % 3],
            latitude=28 + number % 20,
            longitude=-80 - number % 37,
            created_at=f"2026-01-05T09:{number // 60 % 60:02}:{number % 60:02}Z",
        )
        for number in range(LISTINGS)
    ]
    source, table = FakeSource(), FakeTable(*contents)
    bridge = create_app(settings(cors_origins=("*",)), source=source, table=table)
    async with (
        served(bridge, drain=bridge.drain) as url,
        web_app(url, batch=batch) as web,
        tab(web, webgl=webgl) as page,
    ):
        before = await _position(page)
        await page.evaluate(WATCH)
        started, written = time.monotonic(), 0
        while (passed := time.monotonic() - started) < seconds:
            while written < passed * rate:
                listing = table.contents[f"p{written % LISTINGS}"]
                stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
                changed = {**listing, "price": 1_000_000 + written, "updated_at": stamp}
                source.put(table.write(changed))
                written += 1
            await asyncio.sleep(BURST_SECONDS)
        took = time.monotonic() - started
        prices = {key: listing["price"] for key, listing in table.contents.items()}
        await page.wait_for_function(
            "(at) => window.__bridge.rows().every((row) => row.price === at[row.property_id])",
            arg=prices,
            polling=10,
        )
        late = time.monotonic() - started - took
        frames: list[float] = await page.evaluate("window.frames_")
        tasks: list[float] = await page.evaluate("window.tasks_")
        events = await _position(page) - before
    dropped = [delta for delta in frames if delta > DROPPED_MS]
    return {
        "changes per s": written / took,
        "events": events,
        "ms after the last change until the page equals the table": late * 1000,
        "frames": len(frames),
        "frames later than 50 ms": len(dropped),
        "their share of the time, %": 100 * sum(dropped) / sum(frames),
        "longest frame, ms": max(frames),
        "long tasks": len(tasks),
        "longest task, ms": max(tasks, default=0.0),
    }


async def _position(page: Page) -> int:
    """Return the position of the page's last event."""
    return int((await page.evaluate("window.__bridge.position()")).rpartition("-")[2])


async def _visible_keys(page: Page) -> list[str]:
    cards = page.get_by_test_id("listing")
    return [
        str(await cards.nth(number).get_attribute("data-property-id")) for number in range(VISIBLE)
    ]


async def main(options: argparse.Namespace) -> int:
    share = 0.0
    if options.changes:
        with contextlib.redirect_stdout(sys.stderr):  # the bridge's log
            parts = await latency(options.changes, webgl=options.webgl, source=options.source)
        print("\n| ms | p50 | p99 | max |\n|---|---:|---:|---:|")
        for name, figures in parts.items():
            print(f"| {name} | " + " | ".join(f"{ms:.0f}" for ms in figures.values()) + " |")
    if options.seconds:
        results = [
            await load(options.seconds, options.rate, webgl=options.webgl, batch=batch)
            for batch in (False, True)
        ]
        print(f"\n| {options.rate} changes/s for {options.seconds:g} s | one by one | in batches |")
        print("|---|---:|---:|")
        for name in results[0]:
            print(f"| {name} | " + " | ".join(f"{each[name]:,.1f}" for each in results) + " |")
        share = max(each["their share of the time, %"] for each in results)
    return 1 if share > MOST_DROPPED else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="realtime", choices=("realtime", "postgres"))
    parser.add_argument("--changes", type=int, default=200, help="of the latency; 0: skip it")
    parser.add_argument("--seconds", type=float, default=10, help="of the load; 0: skip it")
    parser.add_argument("--rate", type=int, default=1000, help="changes a second")
    parser.add_argument("--webgl", action="store_true", help="render the map")
    sys.exit(asyncio.run(main(parser.parse_args())))
