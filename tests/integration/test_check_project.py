"""`bridge check` names what is wrong with the URL, the project and the key, once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from bridge.cli.check import check
from bridge.errors import SettingsError
from bridge.sandbox.auth import keys
from bridge.settings import Settings, load
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.sandbox import Sandbox

SECRET = "sb_secret_of_the_tests"


@asynccontextmanager
async def answering(status: int, body: Any, **headers: str) -> AsyncIterator[str]:
    """Serve the same answer to every request."""

    async def answer(_: web.Request) -> web.StreamResponse:
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="text/html")
        return web.json_response(body, status=status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def found(url: str, key: str = SECRET, **overrides: Any) -> list[str]:
    """Return the warnings and failures."""
    values = {"log": "memory:", "connections": 100, "join_timeout": 3.0, **overrides}
    lines: list[str] = []
    code = await check(Settings(supabase_url=url, supabase_secret_key=key, **values), lines.append)
    assert code == any(line.startswith("FAIL") for line in lines)
    assert key not in str(lines)
    return [line for line in lines if not line.startswith("ok ")]


@pytest.mark.parametrize(
    ("status", "body", "cause", "fix"),
    [
        (540, {"message": "Project paused"}, "the project is paused", "Restore project"),
        (402, {"message": "exceed_egress_quota"}, "over its quota", "Billing"),
        (530, "error code: 1016", "paused, being restored, or removed", "SUPABASE_URL"),
        (401, {"message": "Invalid API key"}, "the key was rejected", "API Keys"),
        (404, {}, "no project answers", "SUPABASE_URL"),
        (503, {"message": "no schema cache"}, "answers 503 (no schema cache)", "status.supabase"),
        (200, "<html>Welcome</html>", "with a page, not with PostgREST", "SUPABASE_URL"),
    ],
)
async def test_check_names_what_the_answer_of_the_project_means(
    status: int, body: Any, cause: str, fix: str
) -> None:
    async with answering(status, body) as url:
        [line] = await found(url)
    text, _, shown = line.partition("\n      fix: ")
    assert text.startswith("FAIL  project: ")
    assert cause in text
    assert fix in shown


async def test_check_names_a_host_that_is_not_known() -> None:
    [line] = [line for line in await found("https://ref.invalid") if "origins" not in line]
    assert line.startswith("FAIL  project: the host ref.invalid of SUPABASE_URL is not known")


async def test_check_names_a_port_at_which_nothing_listens() -> None:
    port = free_port()
    [line] = await found(f"http://127.0.0.1:{port}")
    assert line.startswith(f"FAIL  project: nothing listens at 127.0.0.1:{port}")


async def test_check_names_a_clock_that_differs(sandbox: Sandbox) -> None:
    date = format_datetime(datetime.now(UTC) - timedelta(seconds=90), usegmt=True)
    async with answering(200, {"definitions": {}}, Date=date) as url:
        lines = await found(url)
    [line] = [line for line in lines if line.startswith("warn  clock")]
    assert "s ahead of the project's" in line
    assert "timedatectl" in line


async def test_check_fails_for_the_key_of_browsers(sandbox: Sandbox) -> None:
    [line] = await found(sandbox.supabase_url, sandbox.anon_key)
    assert line.startswith("FAIL  api key: expected the secret key, got the key of the role anon")


async def test_check_fails_for_the_key_of_another_project(sandbox: Sandbox) -> None:
    [line] = await found(sandbox.supabase_url, keys.sign({"role": "service_role"}) + "x")
    assert line.startswith("FAIL  project: ")
    assert "401: the key was rejected" in line


async def test_check_fails_for_the_key_that_names_another_project() -> None:
    key = keys.sign({"role": "service_role", "ref": "abc"})
    lines = await found("https://xyz.supabase.co", key, cors_origins=("https://a.example",))
    [line] = lines
    assert line.startswith("FAIL  api key: it is of the project abc")


async def test_check_fails_for_an_expired_key(sandbox: Sandbox) -> None:
    [line] = await found(sandbox.supabase_url, keys.sign({"role": "service_role", "exp": 1}))
    assert line.startswith("FAIL  api key: the key of the role service_role expired at 1970-01-01")


async def test_check_fails_for_another_text_than_a_key(sandbox: Sandbox) -> None:
    [line] = await found(sandbox.supabase_url, "not-a-key-at-all")
    assert line.startswith("FAIL  api key: expected sb_secret_... or a JWT")


async def test_check_names_a_realtime_that_takes_jwts_only() -> None:
    columns = ("id", "name", "state", "updated_at")
    row = {"id": 1, "name": "Home", "state": "TX", "updated_at": "2026-01-01T00:00:00Z"}
    described = {"properties": {name: {"format": "text"} for name in columns}}

    async def answer(request: web.Request) -> web.StreamResponse:
        if "realtime" in request.path:
            error = {"error": "The token provided is not a valid JWT"}
            return web.json_response(error, status=401)
        if "rpc" in request.path:
            return web.json_response({"code": "PGRST202"}, status=404)
        if request.path.endswith("/rest/v1/"):
            return web.json_response({"definitions": {"properties": described}})
        return web.json_response([row], headers={"Content-Range": "0-0/0"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        lines = await found(url, columns=("name",))
    finally:
        await runner.cleanup()
    [line] = [line for line in lines if line.startswith("FAIL")]
    assert line.startswith("FAIL  changes: Realtime takes JWTs only, and got")
    assert "legacy service_role key" in line


async def test_check_warns_if_the_keys_of_tokens_are_unreachable() -> None:
    async with answering(200, {"definitions": {}}) as url:
        lines = await found(url)
        required = await found(url, auth="required")
    assert [line for line in lines if line.startswith("warn  tokens: the project's keys can't")]
    assert [line for line in required if line.startswith("FAIL  tokens: the project's keys can't")]


@pytest.mark.parametrize("name", ["ALL_PROXY", "https_proxy"])
async def test_check_fails_for_a_socks_proxy_without_its_packages(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "socks5://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    [line] = await found("https://ref.invalid", cors_origins=("https://a.example",))
    assert line.startswith(f"FAIL  proxy: {name.upper()} names a SOCKS proxy")
    assert "set NO_PROXY=ref.invalid" in line


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("https://supabase.com/dashboard/project/abcd", "https://abcd.supabase.co"),
        ("https://abcd.supabase.co/rest/v1", "https://abcd.supabase.co"),
        ("https://abcd.supabase.co/rest/v1/", "https://abcd.supabase.co"),
        ("https://db.abcd.supabase.co", "https://abcd.supabase.co"),
        ("https://ab cd.supabase.co", "without blanks"),
        ("abcd.supabase.co", "https://<ref>.supabase.co"),
    ],
)
def test_settings_reject_what_is_not_the_url_of_a_project(url: str, meant: str) -> None:
    with pytest.raises(SettingsError, match="SUPABASE_URL") as raised:
        load(supabase_url=url, supabase_secret_key=SECRET)
    assert meant in str(raised.value)


def test_settings_take_a_key_and_a_url_without_the_blanks_around_them() -> None:
    settings = load(supabase_url=" https://a.example/ \n", supabase_secret_key=f"{SECRET}\n")
    assert settings.supabase_url == "https://a.example"
    assert settings.supabase_secret_key.get_secret_value() == SECRET


def test_settings_reject_a_key_with_a_line_break_inside() -> None:
    with pytest.raises(SettingsError, match="without blanks, line breaks") as raised:
        load(supabase_url="https://a.example", supabase_secret_key="sb_secret_a\nb")
    assert "sb_secret_a" not in str(raised.value)
