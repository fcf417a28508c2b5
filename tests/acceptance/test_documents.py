"""The SQL, the settings and the client that the README files show, run as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import pytest

from bridge.app import create_app
from bridge.cli.check import check
from bridge.sandbox import Sandbox
from bridge.settings import load
from tests.acceptance.node import BINARY
from tests.documents import ROOT
from tests.fakes import FakeSource, FakeTable, row, settings
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

README: Final = (ROOT / "README.md").read_text("utf-8")
CONTRACT: Final = (ROOT / "bridge" / "contract" / "README.md").read_text("utf-8")
SECONDS: Final = 45.0

MANY: Final = {f"t{number:02}": number for number in range(40)}
PAGES: Final[dict[str, Any]] = {"snapshot_bytes": 1024}
"""As small as they can be, so that the client has to fetch several."""


def block(text: str, language: str, containing: str = "") -> str:
    """The only code block of that language with this text."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    [found] = [each for each in blocks if containing in each]
    return found


@pytest.mark.once
async def test_table_prepared_by_the_shown_sql_passes_the_check() -> None:
    exported = "".join(re.findall(r"^ +export .*\n", README, re.MULTILINE))
    named = re.findall(r"BRIDGE_(\w+)=(\S+)", exported)
    shown: dict[str, Any] = {name.lower(): value for name, value in named}
    async with Sandbox.open(seed=False, pace=0.05) as sandbox:
        await sandbox.execute(
            "create table listings (id int primary key, name text, city text, price int)"
        )
        await sandbox.execute(block(README, "sql"))
        await sandbox.execute("insert into listings values (1, 'One', 'Austin', 5)")
        lines: list[str] = []
        code = await check(
            load(
                supabase_url=sandbox.supabase_url,
                supabase_secret_key=sandbox.supabase_key,
                log="memory:",
                **shown,
            ),
            lines.append,
        )
        assert code == 0, lines
        assert {"table", "key", "region", "columns"} <= shown.keys()
        before, after = [
            (await sandbox.execute("update listings set price = price + 1 returning updated_at"))[0]
            for _ in range(2)
        ]
        assert before["updated_at"] < after["updated_at"]


@asynccontextmanager
async def shown_client(js: Path, url: str, more: str = "") -> AsyncIterator[asyncio.StreamReader]:
    """The contract's client as a process that prints its rows as often as they change. `more` is
    appended to its code.
    """
    code = block(CONTRACT, "js", "const rows").replace("http://localhost:8000", url)
    code += """
let printed = "";
setInterval(() => {
  const text = JSON.stringify([...rows.values()]);
  if (complete && text !== printed) console.log((printed = text));
}, 10);
"""
    code += more
    process = await asyncio.create_subprocess_exec(
        BINARY, "--input-type=module", "-e", code, cwd=js, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def rows_become(printed: asyncio.StreamReader, expected: dict[str, int]) -> None:
    """Wait until the client's rows are these prices by key."""
    rows: dict[str, Any] = {}
    async with asyncio.timeout(SECONDS):
        while rows != expected:
            line = await printed.readline()
            assert line, f"the client ended with {rows}"
            rows = {each["property_id"]: each["price"] for each in json.loads(line)}


async def test_shown_client_holds_the_rows_of_its_region(js: Path) -> None:
    table = FakeTable(
        *(row(key, price=price) for key, price in MANY.items()), row("c", state="CA", price=7)
    )
    source = FakeSource()
    live = create_app(settings(**PAGES), source=source, table=table)
    async with served(live, drain=live.drain) as url, shown_client(js, url) as printed:
        await rows_become(printed, MANY)
        source.put(table.write(row("new", price=1)))
        source.put(table.write(row("t00", price=100)))
        source.put(table.write(row("t01", state="CA", price=1)))
        source.put(table.write(row("c", price=8)))
        source.put(table.remove("t02"))
        gone = ("t01", "t02")
        kept = {key: price for key, price in MANY.items() if key not in gone}
        await rows_become(printed, {**kept, "t00": 100, "new": 1, "c": 8})


@pytest.mark.once
async def test_shown_client_has_a_row_that_moves_to_a_region_of_an_earlier_page(js: Path) -> None:
    rows = [row(key, city="Waco", price=price) for key, price in MANY.items()]
    table = FakeTable(row("a", city="Austin", price=1), *rows)  # the first page has all of Austin
    source = FakeSource()
    live = create_app(settings(region=("state", "city"), **PAGES), source=source, table=table)
    hold = """
const emit = socket.emit.bind(socket);
let held = false;
socket.emit = (name, request, ack) => {
  if (!request.after || held) return emit(name, request, ack);
  held = true;
  socket.once("property-updated", () => emit(name, request, ack));
  console.log("first page");
};
"""
    async with served(live, drain=live.drain) as url, shown_client(js, url, hold) as printed:
        async with asyncio.timeout(SECONDS):
            assert await printed.readline() == b"first page\n"
        source.put(table.write(row("t39", city="Austin", price=2)))
        await rows_become(printed, {**MANY, "a": 1, "t39": 2})


@pytest.mark.once
async def test_shown_client_that_recovers_before_the_last_page_has_all_rows(js: Path) -> None:
    table = FakeTable(*(row(key, price=price) for key, price in MANY.items()))
    live = create_app(settings(**PAGES), source=FakeSource(), table=table)
    cut = """
let cut = false;
socket.onAnyOutgoing((name, request) => {
  if (!request.after || cut) return;
  cut = true;
  socket.io.engine.close();
});
socket.on("connect", () => console.log(`recovered: ${socket.recovered}`));
"""
    async with served(live, drain=live.drain) as url, shown_client(js, url, cut) as printed:
        async with asyncio.timeout(SECONDS):
            assert await printed.readline() == b"recovered: false\n"
            assert await printed.readline() == b"recovered: true\n"
        await rows_become(printed, MANY)
