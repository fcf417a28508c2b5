"""The status as a stream for operators, over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from pydantic import SecretStr

from bridge import create_app
from bridge.ops import status_stream
from tests.fakes import KEY, FakeSource, FakeTable, row, settings
from tests.integration.test_operations import BEARER, SECRET
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import pytest

    from bridge import Bridge


class Operator:
    """Reads the messages of one stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._messages = self._read()

    async def next(self, name: str) -> Any:
        """Return the data of the next message of that name."""
        async with asyncio.timeout(20):
            async for got, data in self._messages:
                if got == name:
                    return data
        raise AssertionError(f"the stream ended without {name}")

    async def end(self) -> None:
        async with asyncio.timeout(20):
            async for _ in self._messages:
                pass

    async def _read(self) -> AsyncGenerator[tuple[str, Any]]:
        name = ""
        async for line in self.response.aiter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, orjson.loads(line[6:])

    async def close(self) -> None:
        async with aclosing(self._messages):
            pass


@asynccontextmanager
async def watching(url: str, **headers: str) -> AsyncIterator[Operator]:
    async with (
        httpx.AsyncClient(timeout=30) as http,
        http.stream("GET", f"{url}/status/stream", headers=headers) as response,
    ):
        operator = Operator(response)
        yield operator
        await operator.close()


@asynccontextmanager
async def running(
    table: FakeTable | None = None, **overrides: Any
) -> AsyncIterator[tuple[str, Bridge]]:
    bridge = create_app(
        settings(drain_seconds=0, **overrides), source=FakeSource(), table=table or FakeTable()
    )
    async with served(bridge, drain=bridge.drain) as url:
        yield url, bridge


async def test_stream_has_history_then_the_status_and_each_event_with_its_diff() -> None:
    table = FakeTable(row("p1"))
    hurried = {"watch_interval": 0.05, "watch_grace": 0.02, "sweep_interval": 0.05}
    async with running(table, **hurried) as (url, _), watching(url) as operator:
        assert operator.response.headers["Content-Type"].startswith("text/event-stream")
        assert [each["state"] for each in await operator.next("history")]
        while not (await operator.next("status"))["ready"]:
            pass
        table.write(row("p1", price=5, updated_at="2031-01-01T00:00:00Z"))
        taken = await operator.next("events")
        assert taken["regions"] == {"TX": 1, "TX/Austin": 1} or taken["regions"] == {"TX": 1}
        [event] = taken["events"]
        assert event["envelope"]["data"]["changes"]["price"] == {"old": 1_000_000, "new": 5}


async def test_stream_needs_the_operators_secret() -> None:
    async with running(admin_secret=SecretStr(SECRET)) as (url, _):
        async with watching(url) as operator:
            assert operator.response.status_code == 401
        async with watching(url, **BEARER) as operator:
            assert operator.response.status_code == 200
            assert (await operator.next("status"))["version"]


async def test_page_needs_no_secret_and_has_no_data() -> None:
    async with (
        running(admin_secret=SecretStr(SECRET)) as (url, _),
        httpx.AsyncClient() as http,
    ):
        page = await http.get(f"{url}/status.html")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert SECRET not in page.text
    assert KEY not in page.text


async def test_stream_beyond_the_limit_is_rejected_until_another_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(status_stream, "STREAMS", 1)
    monkeypatch.setattr(status_stream, "STATUS_SECONDS", 0.05)
    async with running() as (url, bridge):
        async with watching(url) as first:
            await first.next("history")
            async with watching(url) as second:
                assert second.response.status_code == 429
        async with asyncio.timeout(20):
            while bridge.status_stream.streams:
                await asyncio.sleep(0.01)
        async with watching(url) as third:
            assert third.response.status_code == 200


async def test_stream_ends_with_the_bridge_and_does_not_hold_up_its_stop() -> None:
    async with running() as (url, bridge), watching(url) as operator:
        await operator.next("status")
        await bridge.drain()
        await operator.end()


async def test_operator_who_does_not_read_does_not_hold_up_the_bridge() -> None:
    table = FakeTable(*(row(f"p{n}") for n in range(50)))
    hurried = {"watch_interval": 0.05, "watch_grace": 0.02, "sweep_interval": 0.05}
    async with running(table, **hurried) as (url, _), watching(url), watching(url) as reading:
        while not (await reading.next("status"))["ready"]:
            pass
        for n in range(50):
            table.write(row(f"p{n}", price=n, updated_at=f"2031-01-01T00:00:{n:02}Z"))
        seen = 0
        while seen < 50:
            seen += (await reading.next("events"))["total"]
