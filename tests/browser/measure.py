"""From commit to the changed page, and a tab under a thousand events a second.

    python -m tests.browser.measure [--changes 200] [--seconds 10] [--rate 1000] [--webgl]

The whole line on one machine: the sandbox with Realtime's true rhythm, `bridge serve` as a process,
the built app as another, Chromium. A listener on Realtime itself says how much of the way is
Realtime's poll. For the second figure Realtime is hurried, or its poll would be the limit.

Frames count as dropped where more than 50 ms lie between two of them; long tasks are those that the
browser itself reports, of 50 ms and more. Without `--webgl` the map is the message that it needs
WebGL: drawn by the processor, as on a machine without a graphics card, it would be what is measured.
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
from pathlib import Path

import psycopg
from playwright.async_api import Page, async_playwright

from bridge.sandbox import Sandbox
from bridge.web import WebServer, find_app, find_node
from tests.acceptance.conftest import bridge_process
from tests.bench.latency import FIRST, Arrivals, percentiles, realtime
from tests.browser.conftest import CHROMIUM, FLAGS, NO_WEBGL, WEBGL, which
from tests.browser.ports import quiet_port
from tests.browser.site import Site
from tests.browser.visitor import Visitor

VISIBLE = 8
"""Cards that are in sight in the window that is used."""

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
async def line(
    *, pace: float, webgl: bool, batch: bool = False
) -> AsyncIterator[tuple[Sandbox, Visitor]]:
    """A page on the whole line, live and at rest."""
    app, node = find_app(), find_node()
    await app.prepare(node, print)
    port = quiet_port()
    async with contextlib.AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.open(pace=pace))
        environment = {"BRIDGE_URL": f"http://127.0.0.1:{port}", "BRIDGE_BATCH": str(batch).lower()}
        web = await stack.enter_async_context(
            WebServer.open(app, node, port=quiet_port(), environment=environment)
        )
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = Site(sandbox, web.url, port, directory, bridge_process)
        with contextlib.redirect_stdout(sys.stderr):  # the bridge's log
            await stack.enter_async_context(site.up())
        playwright = await stack.enter_async_context(async_playwright())
        flags = [*FLAGS, *(WEBGL if webgl else NO_WEBGL)]
        browser = await playwright.chromium.launch(executable_path=which(CHROMIUM), args=flags)
        stack.push_async_callback(browser.close)
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        visitor = Visitor(context, await context.new_page(), web.url)
        await visitor.go("/")
        await asyncio.sleep(8)  # until the second pass over the table is done, and the map is drawn
        yield sandbox, visitor


async def latency(changes: int, *, webgl: bool) -> dict[str, dict[str, float]]:
    """Milliseconds, of changes that are made one by one at random times."""
    rng = random.Random(1)
    straight, live = Arrivals(), asyncio.Event()
    committed: dict[int, tuple[float, float]] = {}
    async with line(pace=1.0, webgl=webgl) as (sandbox, visitor):
        page = visitor.page
        listening = asyncio.create_task(
            realtime(sandbox.supabase_url, sandbox.supabase_key, straight, live)
        )
        async with asyncio.timeout(30):
            await live.wait()
        keys = await _in_sight(page)
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
        listening.cancel()
    # Of two changes of one poll to one card only the last is ever seen.
    seen = [price for price in committed if price in arrived]
    return {
        "Realtime (commit to its message)": dict(
            percentiles([straight.at[price] - committed[price][1] for price in seen])
        ),
        "commit to the changed card": dict(
            percentiles([arrived[price] / 1000 - committed[price][0] for price in seen])
        ),
        f"(of {changes} changes, {len(seen)} were seen on their own)": {},
    }


async def storm(seconds: float, rate: int, *, webgl: bool, batch: bool) -> dict[str, float]:
    """What a tab makes of that many events a second."""
    async with line(pace=0.05, webgl=webgl, batch=batch) as (sandbox, visitor):
        page = visitor.page
        async with await psycopg.AsyncConnection.connect(
            sandbox.database_url, autocommit=True
        ) as database:
            keys = [
                row[0]
                for row in await (
                    await database.execute(
                        "select id::text from properties where price is not null"
                    )
                ).fetchall()
            ]
            await page.evaluate(WATCH)
            before = len(visitor.told())
            started = time.monotonic()
            each, written = max(1, rate // 20), 0
            while (passed := time.monotonic() - started) < seconds:
                if written >= passed * rate:
                    await asyncio.sleep(written / rate - passed)
                    continue
                some = [keys[(written + n) % len(keys)] for n in range(each)]
                await database.execute(
                    "update properties set price = price + 1 where id = any(%s::uuid[])", (some,)
                )
                written += each
            took = time.monotonic() - started
        rows = {str(row["id"]): row["price"] for row in await sandbox.execute(
            "select id::text, price from properties")}  # fmt: skip
        await page.wait_for_function(
            "(rows) => window.__bridge.rows().every((row) => row.price === rows[row.property_id])",
            arg=rows,
            timeout=60_000,
        )
        until = time.monotonic() - started
        frames: list[float] = await page.evaluate("window.frames_")
        tasks: list[float] = await page.evaluate("window.tasks_")
    return {
        "written per s": written / took,
        "events told per s": (len(visitor.told()) - before) / until,
        "seconds until the page equals the table": until,
        "frames": len(frames),
        "frames later than 50 ms": sum(delta > 50 for delta in frames),
        "longest frame, ms": max(frames),
        "long tasks": len(tasks),
        "longest task, ms": max(tasks, default=0.0),
    }


async def _in_sight(page: Page) -> list[str]:
    cards = page.get_by_test_id("listing")
    return [
        str(await cards.nth(number).get_attribute("data-property-id")) for number in range(VISIBLE)
    ]


async def main(options: argparse.Namespace) -> None:
    if options.changes:
        parts = await latency(options.changes, webgl=options.webgl)
        print("\n| ms | p50 | p99 | max |\n|---|---:|---:|---:|")
        for name, figures in parts.items():
            print(f"| {name} | " + " | ".join(f"{ms:.0f}" for ms in figures.values()) + " |")
    if options.seconds:
        results = [
            await storm(options.seconds, options.rate, webgl=options.webgl, batch=batch)
            for batch in (False, True)
        ]
        print(f"\n| {options.rate} changes/s for {options.seconds:g} s | one by one | in batches |")
        print("|---|---:|---:|")
        for name in results[0]:
            print(f"| {name} | " + " | ".join(f"{each[name]:,.0f}" for each in results) + " |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--changes", type=int, default=200, help="of the first figure; 0: without")
    parser.add_argument("--seconds", type=float, default=10, help="of the second; 0: without")
    parser.add_argument("--rate", type=int, default=1000, help="changes a second")
    parser.add_argument("--webgl", action="store_true", help="with a map that is drawn")
    asyncio.run(main(parser.parse_args()))
