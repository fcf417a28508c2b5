"""A bridge whose stream or database fails for long: it says so, repairs by reads, and recovers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from bridge import create_app
from bridge.sandbox.realtime import poller as poller_module
from bridge.source.base import SourceState
from bridge.source.realtime import source as realtime
from tests.integration.gated_sleep import GatedSleep
from tests.integration.test_app import Served, site
from tests.integration.test_source_errors import settings_of
from tests.support import faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from bridge import Bridge
    from bridge.sandbox import Sandbox

PATIENCE = 45
PUBLICATION_CHECK = 3600.0


@pytest.fixture(autouse=True)
def hurry(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime, "TICK_SECONDS", 0.05)
    sandbox.realtime.publication_check_seconds = PUBLICATION_CHECK


@dataclass
class Scene:
    """A bridge of the sandbox, and a client of it."""

    sandbox: Sandbox
    bridge: Bridge
    here: Served
    received: asyncio.Queue[Any]
    rows: int = 0

    @property
    def state(self) -> str:
        """The state that clients receive."""
        assert self.bridge._running is not None
        return self.bridge._running.gateway.upstream_status.state

    @property
    def source_state(self) -> SourceState:
        assert self.bridge._running is not None
        assert self.bridge._running.ingest is not None
        return self.bridge._running.ingest.source.status().state

    async def fault(self, name: str, **options: Any) -> None:
        await self.sandbox.faults.apply(name, **options)

    async def execute(self, statement: str, /) -> object:
        return await self.sandbox.execute(statement)

    async def write(self) -> str:
        """Insert a row, and return its name."""
        self.rows += 1
        name = f"written {self.rows}"
        await self.sandbox.execute(
            "insert into properties (name, state, price) values (%s, 'TX', 1)", (name,)
        )
        return name

    async def receive(self, name: str) -> None:
        """Wait for the event of a written row."""
        async with asyncio.timeout(PATIENCE):
            while (await self.received.get())["data"].get("name") != name:
                pass

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():
                await asyncio.sleep(0.01)

    async def until_ready(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.here.status_of("/readyz") != 200:
                await asyncio.sleep(0.02)

    async def until_not_ready_with(self, reason: str) -> None:
        """Wait until /readyz is 503, and /status has `reason` as a part of its own."""
        async with asyncio.timeout(PATIENCE):
            while await self.here.status_of("/readyz") != 503 or reason not in await self._reason():
                await asyncio.sleep(0.02)

    async def _reason(self) -> str:
        return str((await self.here.get("/status"))[1]["reason"])

    async def until_recovered(self) -> None:
        """Wait until the stream delivers, with writes that it can be judged by."""
        poller = self.sandbox.realtime.poller
        async with asyncio.timeout(PATIENCE):
            while self.source_state is not SourceState.LIVE or poller.backend_pid is None:
                await self.receive(await self.write())
        await self.until_ready()
        await self.until(lambda: self.state == "live")


@pytest.fixture
async def scene(sandbox: Sandbox) -> AsyncIterator[Scene]:
    async with _open(sandbox) as scene:
        yield scene
    sandbox.faults.lift()


@asynccontextmanager
async def _open(sandbox: Sandbox) -> AsyncIterator[Scene]:
    settings = settings_of(sandbox, log="memory:", stale_after=1)
    bridge = create_app(settings)
    async with site(bridge, bridge) as here, here.receiving() as received:
        scene = Scene(sandbox, bridge, here, received)
        await scene.until_ready()
        await scene.until(lambda: scene.state == "live")
        await scene.receive(await scene.write())
        yield scene


async def test_bridge_is_not_ready_and_stale_while_a_shutdown_of_the_database_lasts(
    scene: Scene,
) -> None:
    restart = asyncio.ensure_future(scene.sandbox.restart_postgres(shutdown_seconds=4))
    await scene.until_not_ready_with("reading public.properties failed")
    await scene.until(lambda: scene.state == "stale")
    assert scene.sandbox.realtime.sockets  # Realtime says nothing of it
    assert not restart.done()
    await restart
    await scene.receive(await scene.write())
    await scene.until_recovered()


async def test_bridge_subscribes_again_after_the_poller_gave_up(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    gave_up = scene.sandbox.realtime.poller.gave_up
    scene.sandbox.faults.fail_polls()
    await scene.until(lambda: scene.sandbox.realtime.poller.gave_up > gave_up)
    await scene.receive(await scene.write())
    await scene.until_recovered()
    assert "mute stream" in caplog.text


async def test_bridge_is_stale_until_realtime_looks_at_a_refilled_publication(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = GatedSleep(monkeypatch, poller_module, PUBLICATION_CHECK)
    await faults.EMPTY_PUBLICATION.start(scene)
    await asyncio.wait_for(look.started.wait(), PATIENCE)
    await faults.EMPTY_PUBLICATION.stop(scene)
    async with asyncio.timeout(PATIENCE):
        while scene.state != "stale":
            await scene.receive(await scene.write())  # repaired by reads
    await scene.until_not_ready_with("the publication supabase_realtime")
    look.release()
    await scene.until_recovered()
    assert "nothing was delivered after resubscribing" in caplog.text


async def test_bridge_names_database_timeouts_and_repairs_by_reads_meanwhile(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.sandbox.faults.database_timeouts()
    await scene.until_not_ready_with("Too many database timeouts")
    await scene.until(lambda: scene.state == "stale")
    await scene.receive(await scene.write())
    scene.sandbox.faults.database_timeouts(lifted=True)
    await scene.until_recovered()
    assert "Too many database timeouts" in caplog.text
