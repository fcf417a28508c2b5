"""The app as a process: it answers, and nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import bridge.dev.command
from bridge.dev.command import DevOptions, dev
from bridge.dev.web import NodeInstallation, WebApp, WebAppError, WebServer, find_node
from tests.web import fake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def node() -> NodeInstallation:
    return find_node()


@pytest.fixture(scope="module")
async def built(tmp_path_factory: pytest.TempPathFactory, node: NodeInstallation) -> WebApp:
    made = WebApp(fake.write(tmp_path_factory.mktemp("built") / "app"))
    await made.prepare(node, lambda _: None)
    return made


@pytest.fixture
def app(tmp_path: Path, built: WebApp) -> WebApp:
    """A copy that a test may change."""
    return WebApp(Path(shutil.copytree(built.folder, tmp_path / "app")))


async def page(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await http.get(url)).json()
    return answer


async def gone(pids: list[int]) -> None:
    """Until none of these processes exists."""
    async with asyncio.timeout(15):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.02)


async def test_it_answers_with_its_environment_and_leaves_nothing(
    app: WebApp, node: NodeInstallation, http: httpx.AsyncClient
) -> None:
    port = free_port()
    environment = {"BRIDGE_URL": "http://127.0.0.1:1"}
    async with WebServer.open(app, node, port=port, environment=environment) as server:
        assert server.url == f"http://localhost:{port}"
        answer = await page(http, server.url)
        assert answer["page"] == "one"
        assert answer["BRIDGE_URL"] == "http://127.0.0.1:1"
        assert all(Path(f"/proc/{pid}").exists() for pid in answer["pids"])
    assert not any(Path(f"/proc/{pid}").exists() for pid in answer["pids"])


async def test_a_child_that_does_not_listen_is_ended_too(
    app: WebApp, node: NodeInstallation, http: httpx.AsyncClient
) -> None:
    async with WebServer.open(app, node, port=free_port(), environment={"DEAF": "1"}) as server:
        answer = await page(http, server.url)
    assert not any(Path(f"/proc/{pid}").exists() for pid in answer["pids"])


async def test_what_it_started_ends_when_it_ends_by_itself(
    app: WebApp, node: NodeInstallation, http: httpx.AsyncClient
) -> None:
    async with WebServer.open(app, node, port=free_port(), environment={}) as server:
        answer = await page(http, server.url)
        with suppress(httpx.TransportError):
            await http.get(f"{server.url}/end")
        async with asyncio.timeout(15):
            said = str(await server.ended())
    assert "ended by itself, with exit code 4" in said
    assert "last words" in said
    await gone(answer["pids"])


async def test_one_that_does_not_come_up_is_told_with_its_last_words(
    app: WebApp, node: NodeInstallation
) -> None:
    (app.folder / "start.mjs").write_text("console.error('no, thank you'); process.exit(7)")
    with pytest.raises(WebAppError, match=r"exit code 7(.|\n)*no, thank you"):
        async with WebServer.open(app, node, port=free_port(), environment={}):
            pytest.fail("it came up")


OWNER = """
import asyncio, sys
from pathlib import Path
from bridge.dev.web import WebApp, WebServer, find_node
async def main():
    app = WebApp(Path(sys.argv[1]))
    async with WebServer.open(app, find_node(), port=int(sys.argv[2]), environment={}) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_it_ends_when_its_owner_is_killed(app: WebApp, http: httpx.AsyncClient) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, str(app.folder), str(free_port()),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert owner.stdout is not None
    url = (await owner.stdout.readline()).decode().strip()
    answer = await page(http, url)
    owner.send_signal(signal.SIGKILL)
    await owner.wait()
    await gone(answer["pids"])


@asynccontextmanager
async def running(options: DevOptions) -> AsyncIterator[asyncio.Task[int]]:
    task = asyncio.create_task(dev(options))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, WebAppError):
            await task


async def where(capsys: pytest.CaptureFixture[str], task: asyncio.Task[int]) -> dict[str, Any]:
    """What `bridge dev --json` said."""
    async with asyncio.timeout(60):
        while not (said := capsys.readouterr().out):
            if task.done():
                pytest.fail(f"it ended: {task.result()}")
            await asyncio.sleep(0.05)
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.fixture
def dev_of(app: WebApp, monkeypatch: pytest.MonkeyPatch) -> WebApp:
    """`bridge dev` serves this app, in an environment without settings of the machine's own."""
    monkeypatch.setattr(bridge.dev.command, "find_app", lambda: app)
    monkeypatch.setenv("SUPABASE_URL", "https://of-another-project.supabase.co")
    return app


OPTIONS = DevOptions(port=0, activity=False, json=True, web=True)


@pytest.mark.usefixtures("dev_of")
async def test_dev_serves_it_with_the_bridge_in_its_environment(
    capsys: pytest.CaptureFixture[str], http: httpx.AsyncClient
) -> None:
    async with running(OPTIONS) as task:
        told = await where(capsys, task)
        answer = await page(http, told["web_url"])
        assert answer["BRIDGE_URL"] == told["bridge_url"]
        assert answer["BRIDGE_PATH"] == "/socket.io"
        assert "SUPABASE_URL" not in answer
        assert (await http.get(told["bridge_url"] + "/readyz")).status_code == 200
    await gone(answer["pids"])


@pytest.mark.usefixtures("dev_of")
async def test_dev_ends_when_the_app_ends(
    capsys: pytest.CaptureFixture[str], http: httpx.AsyncClient
) -> None:
    async with running(OPTIONS) as task:
        told = await where(capsys, task)
        with suppress(httpx.TransportError):
            await http.get(told["web_url"] + "/end")
        with pytest.raises(WebAppError, match="ended by itself, with exit code 4"):
            await asyncio.wait_for(task, 30)
    with pytest.raises(httpx.ConnectError):
        await http.get(told["bridge_url"] + "/livez")


@pytest.mark.usefixtures("dev_of")
async def test_pages_of_the_app_may_connect_whatever_origins_are_set(
    capsys: pytest.CaptureFixture[str], http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_CORS_ORIGINS", "https://example.com")
    async with running(OPTIONS) as task:
        told = await where(capsys, task)
        for origin, allowed in (
            (told["web_url"], True),
            ("https://example.com", True),
            ("https://example.org", False),
        ):
            answer = await http.get(
                told["bridge_url"] + "/properties?region=TX", headers={"Origin": origin}
            )
            said = answer.headers.get("Access-Control-Allow-Origin")
            assert (said == origin) is allowed
