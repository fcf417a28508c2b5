"""The command line as a process: its start, its output, its exit."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.acceptance.conftest import SECONDS
from tests.fakes import build, entry
from tests.serving import served
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from bridge.sandbox import Sandbox
    from tests.acceptance.conftest import BridgeProcess, SeedClients

    RunBridge = Callable[..., AbstractAsyncContextManager[BridgeProcess]]

NOWHERE = {"SUPABASE_URL": "http://127.0.0.1:9", "SUPABASE_SECRET_KEY": "sb_secret_not_shown"}


async def alive(http: httpx.AsyncClient, url: str) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                if (await http.get(url + "/livez")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("transport", "number"),
    [
        ("polling", signal.SIGTERM),
        ("websocket", signal.SIGINT),
        pytest.param("polling", signal.SIGINT, marks=pytest.mark.once),
        pytest.param("websocket", signal.SIGTERM, marks=pytest.mark.once),
    ],
)
async def test_serve_exits_on_a_signal_with_connected_clients(
    number: signal.Signals,
    transport: str,
    run_bridge: RunBridge,
    seed_client: SeedClients,
    http: httpx.AsyncClient,
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with run_bridge("serve", "--port", str(port), **NOWHERE) as process:
        await alive(http, url)
        assert (await http.get(url + "/readyz")).status_code == 503
        async with seed_client(url, transports=[transport]) as client:
            await client.connected()
            assert await process.end(number) == 0
            assert (await client.next("disconnected"))["disconnected"] == "transport close"
    assert "Traceback" not in process.stderr
    assert " CRITICAL " not in process.stderr
    assert "graceful shutdown exceeded" not in process.stderr  # the server did not wait for them
    assert f"at {url}/socket.io" in process.stderr
    assert "not_shown" not in process.stderr


async def test_check_reports_failures(run_bridge: RunBridge) -> None:
    async with run_bridge("check", **NOWHERE, BRIDGE_JOIN_TIMEOUT="3") as process:
        assert await process.end() == 1
    lines = process.text.splitlines()
    assert lines[0] == "ok    settings: table public.properties of http://127.0.0.1:9"
    [failed] = [line for line in lines if line.startswith("FAIL")]
    assert failed == "FAIL  project: nothing listens at 127.0.0.1:9, which SUPABASE_URL names"
    assert lines[-1].startswith("      fix: start the project (supabase start)")
    assert "not_shown" not in process.text + process.stderr


@pytest.mark.once
async def test_check_reports_success(run_bridge: RunBridge, sandbox: Sandbox) -> None:
    environment = {
        "SUPABASE_URL": sandbox.supabase_url,
        "SUPABASE_SECRET_KEY": sandbox.supabase_key,
    }
    async with run_bridge("check", **environment) as process:
        assert await process.end() == 0
    lines = process.text.splitlines()
    assert {line.split(":")[0] for line in lines if not line.startswith("      ")} == {
        "warn  database",  # without BRIDGE_DATABASE_URL
        *(
            f"ok    {name}"
            for name in ("settings", "open files", "log", "api key", "project", "tokens")
        ),
        *(f"ok    {name}" for name in ("table", "rights", "updated_at", "changes")),
    }
    assert any(line.startswith("ok    tokens: optional; verified with ES256 ") for line in lines)


@pytest.mark.once
async def test_check_prints_json_and_exits_with_3_for_warnings_if_strict(
    run_bridge: RunBridge, sandbox: Sandbox
) -> None:
    environment = {
        "SUPABASE_URL": sandbox.supabase_url,
        "SUPABASE_SECRET_KEY": sandbox.supabase_key,
        "BRIDGE_REGOIN": "city",
    }
    async with run_bridge("check", "--json", "--strict", **environment) as process:
        assert await process.end() == 3
    document = json.loads(process.text)
    assert document["exit_code"] == 3
    assert {
        "level": "warn",
        "subject": "environment",
        "text": "no setting is named BRIDGE_REGOIN; it is ignored",
        "fix": "did you mean BRIDGE_REGION?",
    } in document["findings"]
    assert sandbox.supabase_key not in process.text


@pytest.mark.once
@pytest.mark.parametrize(
    ("definition", "verdict", "text"),
    [
        ("id char(4) primary key, state text", "warn", "first character only"),
        ("id int, made date, state text, primary key (id, made)", "warn", "(id, made)"),
        ("id int, state text; insert into keyed values (1, 'TX'), (1, 'CA')", "FAIL", "several"),
    ],
)
async def test_check_names_a_key_that_costs_or_fails(
    run_bridge: RunBridge, sandbox: Sandbox, definition: str, verdict: str, text: str
) -> None:
    head, _, insert = definition.partition(";")
    await sandbox.execute(
        f"create table keyed ({head}); grant select on keyed to service_role;"
        f"alter publication supabase_realtime add table keyed; {insert}"
    )
    environment = {
        "SUPABASE_URL": sandbox.supabase_url,
        "SUPABASE_SECRET_KEY": sandbox.supabase_key,
        "BRIDGE_TABLE": "keyed",
        "BRIDGE_COLUMNS": "state",
        "BRIDGE_UPDATED_AT": "",
    }
    try:
        async with run_bridge("check", **environment) as process:
            assert await process.end() == (verdict == "FAIL")
    finally:
        await sandbox.execute("drop table keyed")
    lines = process.text.replace("\n      fix:", " fix:").splitlines()
    reported = [line for line in lines if "  key: " in line or "several" in line]
    assert [line[:4] for line in reported] == [verdict]
    assert any(text in line for line in lines if line.startswith(verdict))


@pytest.mark.once
async def test_check_reads_the_table_of_watches(run_bridge: RunBridge, sandbox: Sandbox) -> None:
    environment = {
        "SUPABASE_URL": sandbox.supabase_url,
        "SUPABASE_SECRET_KEY": sandbox.supabase_key,
    }
    for table, expected in (("property_watchers", 0), ("no_such_table", 1)):
        async with run_bridge("check", **environment, BRIDGE_WATCHERS=table) as process:
            assert await process.end() == expected
        lines = process.text.splitlines()
        listed = f"ok    settings: table public.{table} lists the watches for notifications"
        of_watches = lines.index(listed)
        assert "FAIL" not in {line[:4] for line in lines[:of_watches]}
        found = {line.split(":")[0][6:]: line[:4] for line in lines[of_watches + 1 :]}
        verdict = "FAIL" if expected else "ok  "
        assert found["table"] == verdict
        assert ("changes" in found) == (expected == 0)  # not reported twice


@pytest.mark.once
async def test_dev_runs_database_bridge_and_client(
    run_bridge: RunBridge, seed_client: SeedClients, http: httpx.AsyncClient
) -> None:
    async with run_bridge("dev", "--json", "--no-activity") as process:
        addresses = await process.next("bridge_url")
        assert set(addresses) == {
            "bridge_url",
            "database_url",
            "supabase_url",
            "supabase_key",
            "publishable_key",
            "user_token",
            "user_email",
            "user_password",
        }
        url = addresses["bridge_url"]
        assert (await http.get(url + "/readyz")).status_code == 200
        async with seed_client(url) as client:
            await client.connected()
            async with await psycopg.AsyncConnection.connect(
                addresses["database_url"], autocommit=True
            ) as database:
                done = await database.execute(
                    "update properties set price = price + 1000"
                    " where id = (select id from properties where price is not null limit 1)"
                    " returning id::text, price"
                )
                row: Any = await done.fetchone()
            event = await client.event()
        assert event["event"] == "property-updated"
        assert event["data"]["property_id"] == row[0]
        assert event["data"]["changes"] == {
            "price": {"old": int(row[1]) - 1000, "new": int(row[1])}
        }
        assert await process.end(signal.SIGTERM) == 0
        assert len(process.lines) == 1
    assert "Traceback" not in process.stderr
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(addresses["database_url"])


@pytest.mark.once
async def test_dev_stopped_while_it_starts_leaves_no_process(
    run_bridge: RunBridge,
) -> None:
    async with run_bridge("dev") as process:
        await process.text_until("Starting PostgreSQL")
        assert await process.end(signal.SIGINT) == 0
    assert "Traceback" not in process.stderr


@pytest.mark.once
async def test_dev_prints_its_addresses(run_bridge: RunBridge) -> None:
    port = free_port()
    async with run_bridge("dev", "--port", str(port)) as process:
        text = await process.text_until("Ctrl-C stops everything.")
        assert await process.end(signal.SIGINT) == 0
    assert f"http://127.0.0.1:{port}  (path /socket.io)" in text
    assert "bridge listen" in text
    assert re.search(r"update properties", text)


@pytest.mark.once
async def test_listen_prints_the_events_of_a_region(
    run_bridge: RunBridge,
) -> None:
    gateway = build()
    app = Starlette(routes=[Mount("/live/socket.io", app=gateway)])
    async with (
        served(app, drain=gateway.close) as url,
        run_bridge("listen", f"{url}/live", "--region", "TX") as process,
    ):
        async with asyncio.timeout(SECONDS):
            while gateway.hub.counts().clients == 0:
                await asyncio.sleep(0.01)
        gateway.hub.publish([entry(1, "CA"), entry(2, "TX", city="Austin")])
        line = await process.next("event")
        assert await process.end(signal.SIGINT) == 0
    assert line["data"] == {"property_id": "p1", "seq": 2, "city": "Austin"}
    assert process.stderr == "connected\ndisconnected: client disconnect\n"


@pytest.mark.once
async def test_listen_reports_an_unreachable_bridge(run_bridge: RunBridge) -> None:
    async with run_bridge("listen", f"http://127.0.0.1:{free_port()}") as process:
        assert await process.end() == 1
    assert process.stderr.startswith("can't connect to http://127.0.0.1:")
