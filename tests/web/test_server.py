"""The web app as a process: it responds, and no process of it remains."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import bridge.dev.command
from bridge.dev.command import DevOptions, dev
from bridge.dev.web import NodeInstallation, WebApp, WebAppError, WebServer, find_node
from tests.support.ports import free_port
from tests.web import fake

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


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
    """A copy of the built app that a test may change."""
    return WebApp(Path(shutil.copytree(built.folder, tmp_path / "app")))


async def page(http: httpx.AsyncClient, url: str) -> dict[str, Any]:
    answer: dict[str, Any] = (await http.get(url)).json()
    return answer


async def gone(pids: list[int]) -> None:
    """Wait until none of these processes exists."""
    async with asyncio.timeout(15):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.02)


async def test_web_server_responds_and_leaves_no_process(
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


async def test_child_process_that_ignores_sigterm_is_killed(
    app: WebApp, node: NodeInstallation, http: httpx.AsyncClient
) -> None:
    async with WebServer.open(
        app, node, port=free_port(), environment={"IGNORE_SIGTERM": "1"}
    ) as server:
        answer = await page(http, server.url)
    assert not any(Path(f"/proc/{pid}").exists() for pid in answer["pids"])


async def test_child_process_is_stopped_when_the_server_exits(
    app: WebApp, node: NodeInstallation, http: httpx.AsyncClient
) -> None:
    async with WebServer.open(app, node, port=free_port(), environment={}) as server:
        answer = await page(http, server.url)
        with suppress(httpx.TransportError):
            await http.get(f"{server.url}/end")
        async with asyncio.timeout(15):
            error = str(await server.ended())
    assert "exited with code 4" in error
    assert "last output" in error
    await gone(answer["pids"])


async def test_server_that_exits_at_start_raises_with_its_output(
    app: WebApp, node: NodeInstallation
) -> None:
    (app.folder / "start.mjs").write_text("console.error('cannot start'); process.exit(7)")
    with pytest.raises(WebAppError, match=r"exited with code 7(.|\n)*cannot start"):
        async with WebServer.open(app, node, port=free_port(), environment={}):
            pytest.fail("the server started")


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


async def test_web_server_is_stopped_when_its_owner_is_killed(
    app: WebApp, http: httpx.AsyncClient
) -> None:
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


async def addresses(capsys: pytest.CaptureFixture[str], task: asyncio.Task[int]) -> dict[str, Any]:
    """Return the output of `bridge dev --json`."""
    async with asyncio.timeout(60):
        while not (output := capsys.readouterr().out):
            if task.done():
                pytest.fail(f"bridge dev exited: {task.result()}")
            await asyncio.sleep(0.05)
    answer: dict[str, Any] = json.loads(output)
    return answer


@pytest.fixture
def dev_of(app: WebApp, monkeypatch: pytest.MonkeyPatch) -> WebApp:
    """Make `bridge dev` serve `app`, in an environment with another project's URL."""
    monkeypatch.setattr(bridge.dev.command, "find_app", lambda: app)
    monkeypatch.setenv("SUPABASE_URL", "https://of-another-project.supabase.co")
    return app


OPTIONS = DevOptions(port=0, activity=False, json=True, web=True)


@pytest.mark.usefixtures("dev_of")
async def test_dev_serves_the_app_with_the_bridge_in_its_environment(
    capsys: pytest.CaptureFixture[str], http: httpx.AsyncClient
) -> None:
    async with running(OPTIONS) as task:
        urls = await addresses(capsys, task)
        answer = await page(http, urls["web_url"])
        assert answer["BRIDGE_URL"] == urls["bridge_url"]
        assert answer["BRIDGE_PATH"] == "/socket.io"
        assert answer["SUPABASE_URL"] == urls["supabase_url"]
        assert (await http.get(urls["bridge_url"] + "/readyz")).status_code == 200
    await gone(answer["pids"])


@pytest.mark.usefixtures("dev_of")
async def test_dev_stops_when_the_app_exits(
    capsys: pytest.CaptureFixture[str], http: httpx.AsyncClient
) -> None:
    async with running(OPTIONS) as task:
        urls = await addresses(capsys, task)
        with suppress(httpx.TransportError):
            await http.get(urls["web_url"] + "/end")
        with pytest.raises(WebAppError, match="exited with code 4"):
            await asyncio.wait_for(task, 30)
    with pytest.raises(httpx.ConnectError):
        await http.get(urls["bridge_url"] + "/livez")


@pytest.mark.usefixtures("dev_of")
async def test_origins_of_the_app_are_allowed_with_any_setting(
    capsys: pytest.CaptureFixture[str], http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_CORS_ORIGINS", "https://example.com")
    async with running(OPTIONS) as task:
        urls = await addresses(capsys, task)
        for origin, allowed in (
            (urls["web_url"], True),
            ("https://example.com", True),
            ("https://example.org", False),
        ):
            answer = await http.get(
                urls["bridge_url"] + "/properties?region=TX", headers={"Origin": origin}
            )
            header = answer.headers.get("Access-Control-Allow-Origin")
            assert (header == origin) is allowed
