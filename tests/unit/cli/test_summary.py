from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from bridge.cli.summary import summary
from bridge.ops import logging_setup as logs
from bridge.ops.log_format import LogFormat
from bridge.settings import Settings, load

SECRETS = {
    "supabase_secret_key": "sb_secret_of_the_summary",
    "supabase_jwt_secret": "jwt-of-the-summary-0123456789-0123456789",
    "admin_secret": "operators-of-the-summary",
    "database_url": "postgresql://u:database-of-the-summary@127.0.0.1/d",
    "log": "redis://:redis-of-the-summary@127.0.0.1:6379/0",
}


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    yield
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def logged(settings: Settings, form: LogFormat, monkeypatch: pytest.MonkeyPatch) -> str:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up("info", secrets=settings.secrets, form=form)
    shown = {"settings": summary(settings, "http://127.0.0.1:8000")}
    logging.getLogger("bridge.cli.main").info("serving", extra=shown)
    return stream.getvalue()


def secret_settings() -> set[str]:
    fields = Settings.model_fields.items()
    return {name for name, field in fields if "SecretStr" in str(field.annotation)}


@pytest.mark.parametrize("form", ["text", "json"])
def test_summary_shows_no_secret(form: LogFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    assert secret_settings() <= set(SECRETS)
    text = logged(load(supabase_url="http://127.0.0.1:9", **SECRETS), form, monkeypatch)
    assert "of-the-summary" not in text
    assert "of_the_summary" not in text
    assert "127.0.0.1:6379/0" in text


@pytest.mark.parametrize(
    ("log", "role"),
    [
        ("memory:", "leads and serves"),
        ("rediss://h:6379/0", "leads and serves, in turn with other machines"),
        ("valkey://h:6379/0", "leads and serves, in turn with other machines"),
    ],
)
def test_summary_names_the_role_that_the_log_permits(log: str, role: str) -> None:
    settings = load(supabase_url="http://127.0.0.1:9", supabase_secret_key="sb_secret_x", log=log)
    assert summary(settings, "http://127.0.0.1:8000")["role"] == role


def test_summary_is_one_object_in_json(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(supabase_url="http://127.0.0.1:9", supabase_secret_key="sb_secret_x")
    [line] = logged(settings, "json", monkeypatch).splitlines()
    shown = json.loads(line)["settings"]
    expected = "source table key region columns log auth cors limits role"
    assert set(expected.split()) <= set(shown)
    assert shown["table"] == "public.properties"


def test_summary_is_one_block_in_text(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(supabase_url="http://127.0.0.1:9", supabase_secret_key="sb_secret_x")
    first, *block = logged(settings, "text", monkeypatch).splitlines()
    assert first.endswith("bridge.cli.main: serving")
    assert all(line.startswith("  ") for line in block)
    assert ["table", "public.properties"] in [line.split() for line in block]
