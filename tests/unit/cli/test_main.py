from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from bridge import __version__
from bridge.cli.main import main
from bridge.server import serve
from bridge.settings import Settings


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the required settings and no others."""
    for name in list(os.environ):
        if name.startswith(("BRIDGE_", "SUPABASE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SUPABASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "sb_secret_of_the_tests")
    monkeypatch.setattr("bridge.cli.main.logs.set_up", lambda *_, **__: None)


def stderr_of(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "args", [[], ["serve"], ["dev"], ["check"], ["listen"], ["schema"]], ids=" ".join
)
def test_command_has_help(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*args, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: bridge", *args]))


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    for command in ("serve", "dev", "check", "listen", "schema"):
        assert f"    {command} " in out


def test_help_of_serve_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    out = capsys.readouterr().out
    for name in Settings.model_fields:
        assert (name.upper() if name.startswith("supabase") else f"BRIDGE_{name.upper()}") in out
    assert "default: http://localhost:3000" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"bridge {__version__}\n"


def test_no_command_prints_the_help_and_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    text = stderr_of(capsys)
    assert text.startswith("usage: bridge")
    assert "run the bridge for a Supabase project" in text


@pytest.mark.parametrize("args", [["sing"], ["serve", "--loud"], ["serve", "--port", "http"]])
def test_wrong_arguments_exit_with_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    assert "usage: bridge" in stderr_of(capsys)


@pytest.mark.parametrize("command", ["serve", "check"])
def test_wrong_settings_exit_with_2(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SUPABASE_URL")
    monkeypatch.setenv("BRIDGE_PATH", "/")
    assert main([command]) == 2
    text = stderr_of(capsys)
    assert "SUPABASE_URL is not set" in text
    assert "BRIDGE_PATH='/' is wrong" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_port_in_use_is_named(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main([command, "--port", str(port)]) == 1
    assert (
        stderr_of(capsys) == f"bridge: can't listen on 127.0.0.1:{port}: Address already in use\n"
    )


def test_serve_logs_unknown_settings_when_it_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("BRIDGE_REGOIN", "city")
    with socket.create_server(("127.0.0.1", 0)) as taken:  # it ends after its first lines
        assert main(["serve", "--port", str(taken.getsockname()[1])]) == 1
    [record] = [each for each in caplog.records if "BRIDGE_REGOIN" in each.getMessage()]
    assert record.levelname == "WARNING"
    assert "did you mean BRIDGE_REGION?" in record.getMessage()


def test_dev_without_the_sandbox_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "bridge.dev.command", raising=False)
    for name in list(sys.modules):
        if name.startswith("bridge.sandbox"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert main(["dev"]) == 1
    assert "pip install 'supabase-socketio-bridge[sandbox]'" in stderr_of(capsys)


def test_listen_without_aiohttp_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert main(["listen"]) == 1
    assert "pip install 'supabase-socketio-bridge[sandbox]'" in stderr_of(capsys)


def test_schema_is_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"$ref": "#/$defs/PropertyCreated"} in schema["anyOf"]


def test_schema_is_written_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "contract.ts"
    assert main(["schema", "--format", "typescript", "--out", str(file)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["schema", "--format", "typescript"]) == 0
    assert capsys.readouterr().out == file.read_text()


def test_schema_that_cannot_be_written_names_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "missing" / "contract.ts"
    assert main(["schema", "--out", str(file)]) == 1
    assert stderr_of(capsys) == f"bridge: can't write {file}: No such file or directory\n"
    assert not file.parent.exists()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:{}"),
        ("0.0.0.0", "http://127.0.0.1:{}"),
        ("", "http://127.0.0.1:{}"),
    ],
)
def test_listening_address_is_shown_as_a_url(host: str, url: str) -> None:
    with serve.listen(host, 0) as listening:
        assert serve.url(listening) == url.format(listening.getsockname()[1])


def test_empty_host_listens_on_ipv4_and_ipv6_if_available() -> None:
    with serve.listen("", 0) as listening:
        port = listening.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        if socket.has_dualstack_ipv6():
            assert listening.family is socket.AF_INET6


@pytest.mark.parametrize("log", ["redis://127.0.0.1:6379", "rediss://127.0.0.1:6379"])
def test_serve_refuses_several_processes_with_a_log_that_machines_share(
    log: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRIDGE_LOG", log)
    monkeypatch.setenv("BRIDGE_PROCESSES", "2")
    assert main(["serve", "--port", "0"]) == 2
    assert "BRIDGE_PROCESSES=2 needs a log of this machine alone" in stderr_of(capsys)


def test_serve_refuses_several_processes_where_the_system_does_not_spread_connections(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRIDGE_PROCESSES", "0")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert main(["serve", "--port", "0"]) == 2
    assert "BRIDGE_PROCESSES=0 needs Linux. Expected: 1." in stderr_of(capsys)
