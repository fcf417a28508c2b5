"""What `bridge check` finds in the environment and on this machine."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from bridge.cli.check import environment
from bridge.cli.check.environment import environment_findings
from bridge.cli.check.event_log import log_findings
from bridge.cli.check.finding import Finding, Level, exit_code, fail, ok, warn
from bridge.settings import Settings, load
from bridge.settings.environment import unknown_names, variables

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sb_secret_of_the_tests"


def settings(url: str = "http://127.0.0.1:9", **overrides: Any) -> Settings:
    return Settings(supabase_url=url, supabase_secret_key=KEY, **overrides)


def findings(of: Settings, **given: str) -> list[Finding]:
    return [each for each in environment_findings(of, given) if each.level is not Level.OK]


def test_unknown_name_has_a_similar_one_suggested() -> None:
    [found] = findings(settings(connections=10), BRIDGE_REGOIN="city", OTHER="1")
    assert found == warn(
        "environment",
        "no setting is named BRIDGE_REGOIN; it is ignored",
        "did you mean BRIDGE_REGION?",
    )


def test_unknown_name_without_a_similar_one_is_named() -> None:
    [found] = unknown_names({"BRIDGE_XYZZY_QQ": "1"})
    assert "remove BRIDGE_XYZZY_QQ" in found.fix


def test_known_names_are_not_reported() -> None:
    assert list(unknown_names({"BRIDGE_TABLE": "x", "BRIDGE_URL": "of the web app"})) == []


def test_newline_at_the_end_of_a_key_is_named() -> None:
    [found] = findings(settings(connections=10), SUPABASE_SECRET_KEY=f"{KEY}\n")
    assert "SUPABASE_SECRET_KEY has a newline at an end" in found.text
    assert KEY not in found.text


@pytest.mark.parametrize(
    ("url", "origins", "warned"),
    [
        ("https://ref.supabase.co", ("http://localhost:3000",), True),
        ("https://ref.supabase.co", ("https://a.example",), False),
        ("http://127.0.0.1:54321", ("http://localhost:3000",), False),
    ],
)
def test_default_origins_are_named_for_a_project_that_is_not_local(
    url: str, origins: tuple[str, ...], warned: bool
) -> None:
    found = findings(settings(url, cors_origins=origins, connections=10))
    assert [each.subject for each in found] == (["origins"] if warned else [])


@pytest.mark.parametrize(("limit", "warned"), [(1023, True), (1064, False)])
def test_too_few_files_for_the_connections_are_named(
    monkeypatch: pytest.MonkeyPatch, limit: int, warned: bool
) -> None:
    monkeypatch.setattr(environment, "open_files_limit", lambda: limit)
    found = findings(settings(connections=1000))
    assert [each.subject for each in found] == (["open files"] if warned else [])
    assert not warned or "raise the limit to 1,064" in found[0].fix


async def test_folder_of_the_log_that_does_not_exist_fails(tmp_path: Path) -> None:
    [found] = await log_findings(settings(log=f"sqlite:///{tmp_path}/absent/bridge.sqlite3"))
    assert found.level is Level.FAIL
    assert found.fix == f"mkdir -p {tmp_path}/absent"


async def test_mode_of_the_log_and_free_space_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bridge.sqlite3"
    file.touch()
    file.chmod(0o644)
    monkeypatch.setattr("bridge.cli.check.event_log.FREE_BYTES", 1 << 62)
    space, mode, line = await log_findings(settings(log=f"sqlite:///{file}"))
    assert (space.level, mode.level, line.level) == (Level.WARN, Level.WARN, Level.OK)
    assert "MB are free" in space.text
    assert f"chmod 600 {file}" in mode.fix
    assert stat.S_IMODE(file.stat().st_mode) == 0o644, "nothing is changed"


@pytest.mark.parametrize(
    ("found", "strict", "code"),
    [
        ((ok("a", ""),), True, 0),
        ((ok("a", ""), warn("b", "")), False, 0),
        ((ok("a", ""), warn("b", "")), True, 3),
        ((warn("b", ""), fail("c", "")), True, 1),
    ],
)
def test_exit_code_is_that_of_the_worst_finding(
    found: tuple[Finding, ...], strict: bool, code: int
) -> None:
    assert exit_code(found, strict=strict) == code


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file `.env` of the working folder, in an environment without settings."""
    for name in list(os.environ):
        if name.startswith(("BRIDGE_", "SUPABASE_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / ".env"
    file.write_text(
        f"SUPABASE_URL=https://file.example\nSUPABASE_SECRET_KEY={KEY}\n"
        "BRIDGE_PORT=1234\nBRIDGE_REGOIN=x\nOTHER=1\n"
    )
    return file


@pytest.mark.usefixtures("env_file")
def test_settings_are_read_from_the_file() -> None:
    loaded = load()
    assert (loaded.supabase_url, loaded.port) == ("https://file.example", 1234)


@pytest.mark.usefixtures("env_file")
def test_environment_takes_precedence_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_PORT", "99")
    monkeypatch.setenv("SUPABASE_SERVICE_ROLE_KEY", "key-of-the-environment")
    loaded = load()
    assert loaded.port == 99
    assert loaded.supabase_secret_key.get_secret_value() == "key-of-the-environment"
    assert load(port=7).port == 7


@pytest.mark.usefixtures("env_file")
def test_unknown_names_of_the_file_are_found() -> None:
    assert [each.name for each in unknown_names(variables())] == ["BRIDGE_REGOIN"]


def test_file_that_is_no_text_is_a_wrong_setting(env_file: Path) -> None:
    env_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Exception, match=r"\.env in the working folder can't be read"):
        load()
