"""The whole bridge with `BRIDGE_SOURCE=postgres`: its status, its watches, and its commands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bridge.app import create_app
from bridge.cli import replication
from bridge.cli.check import check
from bridge.errors import BridgeError
from bridge.sandbox.auth.users import DEMO_USER
from bridge.source.replication import source as sources
from tests.integration.replication_rig import drop_replication, replication_settings
from tests.integration.test_source_switch import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from bridge.sandbox import Sandbox
    from bridge.settings import Settings


@pytest.fixture
async def settings(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Settings]:
    yield replication_settings(
        sandbox,
        tmp_path,
        slot="bridge_app",
        publication="bridge_app",
        watchers="public.property_watchers",
    )
    for name in ("bridge_app_watchers", "bridge_app"):
        await drop_replication(sandbox, name)


async def requested(app: Any, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 40000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return await http.get(path)


async def test_status_and_metrics_have_the_slot(settings: Settings) -> None:
    bridge = create_app(settings)
    async with bridge.lifespan():
        await until(lambda: bridge.operations.readiness().ready)
        async with asyncio.timeout(20):
            while "slot" not in (status := (await requested(bridge, "/status")).json())["source"]:
                await asyncio.sleep(0.01)
        metrics = (await requested(bridge, "/metrics")).text
    slot = status["source"]["slot"]
    assert slot["name"] == "bridge_app"
    assert slot["retained_bytes"] >= slot["lag_bytes"] >= 0
    assert slot["safe_bytes"] is None
    assert 'bridge_slot_retained_bytes{slot="bridge_app"}' in metrics


async def test_neither_realtime_nor_postgrest_is_needed(settings: Settings) -> None:
    bridge = create_app(settings.model_copy(update={"supabase_url": "http://127.0.0.1:9"}))
    async with bridge.lifespan():
        await until(lambda: bridge.operations.readiness().ready)
        assert (await requested(bridge, "/properties?region=TX")).status_code == 200


async def test_watches_are_followed_over_a_slot_of_their_own(
    sandbox: Sandbox, settings: Settings
) -> None:
    bridge = create_app(settings)
    async with bridge.lifespan():
        await until(lambda: bridge.operations.readiness().ready)
        assert bridge._running is not None
        assert bridge._running.ingest is not None
        watchers = bridge._running.ingest.watchers
        assert watchers is not None
        await until(lambda: watchers.status().source is not None)
        before = watchers.status().watches
        await sandbox.execute(
            "insert into auth.users (id) values (%s) on conflict do nothing", (DEMO_USER,)
        )
        await sandbox.execute(
            "insert into property_watchers (user_id, region) values (%s, 'TX')", (DEMO_USER,)
        )
        await until(lambda: watchers.status().watches == before + 1)
    await sandbox.execute("delete from property_watchers")


async def test_check_passes_and_writes_nothing(sandbox: Sandbox, settings: Settings) -> None:
    lines: list[str] = []
    assert await check(settings, lines.append) == 0, lines
    assert any("CREATE PUBLICATION" in line for line in lines)
    assert not await sandbox.execute("select 1 from pg_replication_slots where slot_name like 'b%'")
    assert not await sandbox.execute("select 1 from pg_publication where pubname like 'bridge%'")


async def test_check_with_another_source_fails_for_a_slot_that_was_left(
    sandbox: Sandbox, settings: Settings
) -> None:
    await sandbox.execute("select pg_create_logical_replication_slot('bridge_app', 'pgoutput')")
    lines: list[str] = []
    realtime = settings.model_copy(update={"source": "realtime", "watchers": ""})
    assert await check(realtime, lines.append) == 1
    [line] = [line for line in lines if "bridge replication drop" in line]
    assert line.startswith("FAIL")
    assert "pg_drop_replication_slot('bridge_app')" in line


async def test_drop_removes_what_the_bridge_made_and_nothing_else(
    sandbox: Sandbox, settings: Settings
) -> None:
    bridge = create_app(settings)
    async with bridge.lifespan():
        await until(lambda: bridge.operations.readiness().ready)
        async with asyncio.timeout(20):
            while not await sandbox.execute(
                "select 1 from pg_replication_slots where slot_name = 'bridge_app_watchers'"
            ):
                await asyncio.sleep(0.01)
        with pytest.raises(BridgeError, match="is active for PID"):
            await replication.drop(settings, lambda _: None)
    await sandbox.execute("create publication kept for table properties")
    lines: list[str] = []
    async with asyncio.timeout(20):
        while await sandbox.execute(
            "select 1 from pg_replication_slots where active and slot_name like 'bridge_app%'"
        ):
            await asyncio.sleep(0.01)
    assert await replication.drop(settings, lines.append) == 0
    assert lines == [
        "slot bridge_app: dropped",
        "slot bridge_app_watchers: dropped",
        "publication bridge_app: dropped",
    ]
    kept = settings.model_copy(update={"publication": "kept"})
    lines.clear()
    assert await replication.drop(kept, lines.append) == 0
    assert lines[0] == "slot bridge_app: there is none"
    assert lines[2] == "publication kept: kept, since the bridge did not make it"
    await sandbox.execute("drop publication kept")


async def test_comparison_leaves_to_the_stream_what_it_has_not_passed(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SLOT_SECONDS", 0.05)
    monkeypatch.setattr(sources, "STATUS_SECONDS", 0.2)
    bridge = create_app(
        settings.model_copy(
            update={"slot_compare_interval": 0.05, "watch_grace": 0.05, "watchers": ""}
        )
    )
    async with bridge.lifespan():
        await until(lambda: bridge.operations.readiness().ready)
        assert bridge._running is not None
        assert bridge._running.ingest is not None
        pipeline = bridge._running.ingest.pipeline
        for n in range(60):
            await sandbox.execute("update properties set price = %s", (n,))
        passes = pipeline.status().counts["changes"]
        [rows] = await sandbox.execute("select count(*) as n from properties")
        await until(lambda: pipeline.status().counts["changes"] >= 60 * rows["n"])
        assert passes >= 0
        assert pipeline.status().counts["repaired"] == 0
        # What the stream can't show is found once it has passed the comparison:
        # it acknowledges at each interval if nothing is published.
        async with asyncio.timeout(60):
            await sandbox.execute("alter publication bridge_app drop table properties")
            await sandbox.execute("update properties set price = -0 where true")
            while pipeline.status().counts["repaired"] < rows["n"]:
                await asyncio.sleep(0.01)
