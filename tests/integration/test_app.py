"""The whole application with a fake source and table, alone and mounted in other applications."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import socketio
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from bridge import __version__, create_app
from bridge.server import serve
from bridge.source.base import SourceState
from tests.fakes import KEY, FakeSource, FakeTable, row, settings
from tests.serving import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bridge import Bridge


def bridged(*rows: dict[str, Any], **overrides: Any) -> tuple[Bridge, FakeSource, FakeTable]:
    source, table = FakeSource(), FakeTable(*rows)
    bridge = create_app(settings(**overrides), source=source, table=table)
    bridge.on_failure = lambda _error: None  # the default would end the test process
    return bridge, source, table


PAGE = "https://page.example"


class Served:
    """Requests to one URL."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def get(self, path: str) -> tuple[int, Any]:
        async with self.http.get(self.url + path) as response:
            return response.status, await response.json(content_type=None)

    async def status_of(self, path: str) -> int:
        async with self.http.get(self.url + path) as response:
            return response.status

    async def ready(self, prefix: str = "") -> None:
        async with asyncio.timeout(20):
            while await self.status_of(prefix + "/readyz") != 200:
                await asyncio.sleep(0.01)

    @asynccontextmanager
    async def receiving(self, path: str = "/socket.io") -> AsyncIterator[asyncio.Queue[Any]]:
        """Connect a websocket client, and yield a queue of the events of properties it receives."""
        received: asyncio.Queue[Any] = asyncio.Queue()
        client = socketio.AsyncClient(
            reconnection=False, handle_sigint=False, http_session=self.http
        )
        client.on("bridge-status", lambda _envelope: None)
        client.on("*", lambda _name, envelope: received.put_nowait(envelope))
        await client.connect(self.url, socketio_path=path, transports=["websocket"])
        try:
            yield received
        finally:
            await client.disconnect()


@asynccontextmanager
async def site(app: Any, bridge: Bridge, **options: Any) -> AsyncIterator[Served]:
    async with (
        served(app, drain=bridge.drain, **options) as url,
        aiohttp.ClientSession() as http,
    ):
        yield Served(http, url)


async def test_change_of_the_source_reaches_a_client() -> None:
    bridge, source, table = bridged(row("p1"))
    async with site(bridge, bridge) as here:
        await here.ready()
        async with here.receiving() as received:
            source.put(table.write(row("p1", price=900_000)))
            async with asyncio.timeout(20):
                envelope = await received.get()
        assert envelope["event"] == "property-updated"
        assert envelope["data"]["changes"] == {"price": {"old": 1_000_000, "new": 900_000}}
        code, status = await here.get("/status")
        assert code == 200
        assert status["version"] == __version__
        assert status["ready"] is True
        assert status["reason"] is None
        assert status["source"]["state"] == "live"
        assert status["pipeline"]["rows"] == 1
        assert status["pipeline"]["counts"]["property-updated"] == 1
        assert status["log_head"].endswith("-1")
        assert status["uptime_seconds"] >= 0
    assert (table.opened, table.closed) == (1, 1)


async def test_bridge_without_a_live_source_is_alive_and_not_ready() -> None:
    bridge, source, _ = bridged(stale_after=1)
    async with site(bridge, bridge) as here:
        assert await here.get("/livez") == (200, {"status": "alive"})
        await here.ready()
        source.become(SourceState.DOWN)
        assert await here.get("/readyz") == (200, {"ready": True})
        async with asyncio.timeout(10):
            while await here.status_of("/readyz") == 200:
                await asyncio.sleep(0.05)
        code, body = await here.get("/readyz")
        assert code == 503
        assert body["ready"] is False
        assert body["reason"] == "the source is not live"
        assert "the source was last live" in (await here.get("/status"))[1]["reason"]
        assert await here.get("/livez") == (200, {"status": "alive"})
        source.become(SourceState.LIVE)
        assert await here.get("/readyz") == (200, {"ready": True})


async def test_status_counts_clients_and_rooms() -> None:
    bridge, _, _ = bridged()
    async with site(bridge, bridge) as here, here.receiving():
        _, status = await here.get("/status")
        assert (status["clients"], status["rooms"], status["clients_cut_off"]) == (1, 1, 0)


async def test_socket_endpoint_is_at_the_configured_path_and_unknown_paths_are_404() -> None:
    bridge, _, _ = bridged(path="/live")
    async with site(bridge, bridge) as here:
        for path in ("/nothing", "/socket.io/?EIO=4&transport=polling"):
            assert await here.status_of(path) == 404, path
        for path in ("/live/?EIO=4&transport=polling", "/live?EIO=4&transport=polling"):
            assert await here.status_of(path) == 200, path
        async with here.receiving("/live"):
            pass


def in_starlette(prefix: str, bridge: Bridge) -> Any:
    own = Route("/own", lambda _: PlainTextResponse("own"))
    return Starlette(routes=[own, Mount(prefix, app=bridge)], lifespan=bridge.lifespan)


def in_fastapi(prefix: str, bridge: Bridge) -> Any:
    app = FastAPI(lifespan=bridge.lifespan)
    app.get("/own")(lambda: "own")
    app.mount(prefix, bridge)
    return app


@pytest.mark.parametrize("inside", [in_starlette, in_fastapi])
@pytest.mark.parametrize("prefix", ["", "/live"])
async def test_mounted_bridge_serves_clients(
    inside: Callable[[str, Bridge], Any], prefix: str
) -> None:
    bridge, source, table = bridged()
    async with site(inside(prefix, bridge), bridge) as here:
        await here.ready(prefix)
        assert await here.status_of("/own") == 200
        assert await here.status_of(prefix + "/nothing") == 404
        async with here.receiving(prefix + "/socket.io") as received:
            source.put(table.write(row("p1")))
            async with asyncio.timeout(20):
                assert (await received.get())["event"] == "property-created"
    assert table.closed == 1


@pytest.mark.parametrize("allowed", [["*"], [PAGE], ["https://other.example"]])
@pytest.mark.parametrize("path", ["/socket.io/?EIO=4&transport=polling", "/properties"])
async def test_mounted_bridge_and_cors_middleware_allow_an_origin_once(
    allowed: list[str], path: str
) -> None:
    bridge, _, _ = bridged(cors_origins=PAGE)
    app = in_fastapi("/live", bridge)
    app.add_middleware(CORSMiddleware, allow_origins=allowed)
    async with site(app, bridge) as here:
        await here.ready("/live")
        async with here.http.get(f"{here.url}/live{path}", headers={"Origin": PAGE}) as response:
            assert response.status == 200
            origins = response.headers.getall("Access-Control-Allow-Origin")
            assert origins == ["*" if allowed == ["*"] else PAGE]


async def test_bridge_mounted_without_its_lifespan_answers_503() -> None:
    bridge, _, _ = bridged()
    app = Starlette(routes=[Mount("/live", app=bridge)])
    async with site(app, bridge) as here:
        code, body = await here.get("/live/readyz")
        assert code == 503
        assert body["reason"] == "the bridge is not running"
        code, body = await here.get("/live/status")
        assert code == 200
        assert "lifespan" in body["reason"]
        assert await here.status_of("/live/socket.io/?EIO=4&transport=polling") == 503
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await here.http.ws_connect(here.url + "/live/socket.io/?EIO=4&transport=websocket")


async def test_lifespan_rejects_a_second_run_and_can_be_repeated() -> None:
    bridge, source, _ = bridged()
    for _ in range(2):
        async with site(bridge, bridge) as here:
            await here.ready()
            with pytest.raises(RuntimeError, match="running already"):
                async with bridge.lifespan():
                    pass
    assert source.status().state is SourceState.LIVE


async def test_failure_of_a_part_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    bridge, source, table = bridged()
    failures: asyncio.Queue[BaseException] = asyncio.Queue()
    bridge.on_failure = failures.put_nowait
    async with site(bridge, bridge) as here:
        await here.ready()
        error = RuntimeError(f"broken, with {KEY}")
        source.fail(error)
        async with asyncio.timeout(20):
            assert await failures.get() is error
        assert failures.empty()
        assert bridge.failure is error
        assert "a part of the bridge has failed" in caplog.text
        code, body = await here.get("/readyz")
        assert code == 503
        assert body["reason"] == "a part of the bridge has failed"
        _, body = await here.get("/status")
        assert body["reason"] == "a part of the bridge has failed: broken, with [hidden]"
    assert table.closed == 1


async def test_failure_of_a_part_terminates_the_process_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda *args: sent.append(args))
    bridge = create_app(settings(), source=FakeSource(), table=FakeTable())
    bridge.on_failure(RuntimeError())
    assert sent == [(os.getpid(), signal.SIGTERM)]


async def test_serve_returns_1_after_the_failure_of_a_part() -> None:
    bridge, source, table = bridged()
    with serve.listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(serve.serve(bridge, listening))
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            await Served(http, serve.url(listening)).ready()
            source.fail(RuntimeError("broken"))
            assert await serving == 1
    assert table.closed == 1


async def test_serve_returns_1_if_it_cannot_start() -> None:
    bridge, _, table = bridged()

    async def refuse() -> None:
        raise OSError("no table")

    table.open = refuse  # type: ignore[method-assign]
    with serve.listen("127.0.0.1", 0) as listening:
        assert await serve.serve(bridge, listening) == 1


async def test_part_that_returns_counts_as_failed() -> None:
    bridge, source, _ = bridged()
    failures: asyncio.Queue[BaseException] = asyncio.Queue()
    bridge.on_failure = failures.put_nowait
    async with site(bridge, bridge) as here:
        await here.ready()
        assert source._failure is not None
        source._failure.set_result(None)
        async with asyncio.timeout(20):
            failure = await failures.get()
    assert "the source ended" in str(failure)


async def test_bridge_does_not_start_without_its_table() -> None:
    bridge, _, table = bridged()

    async def refuse() -> None:
        raise OSError("no table")

    table.open = refuse  # type: ignore[method-assign]
    with pytest.raises(OSError, match="no table"):
        async with bridge.lifespan():
            pytest.fail("it started")
    assert table.closed == 1


async def test_status_shows_errors_of_the_source_without_secrets() -> None:
    bridge, source, _ = bridged()
    async with site(bridge, bridge) as here:
        await here.ready()
        status = source.status

        def failing() -> Any:
            from dataclasses import replace

            return replace(status(), error=f"HTTP 401 for apikey={KEY}", attempts=3)

        source.status = failing  # type: ignore[method-assign]
        _, body = await here.get("/status")
        assert body["source"]["error"] == "HTTP 401 for apikey=[hidden]"
        assert body["source"]["attempts"] == 3


async def test_application_of_another_server_logs_that_it_is_one_process(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for processes in (1, 2):
        bridge, _, _ = bridged(processes=processes)
        caplog.clear()
        async with bridge.lifespan():
            await asyncio.sleep(0.01)  # its tasks have begun
        assert ("BRIDGE_PROCESSES=2 has no effect" in caplog.text) is (processes == 2)
