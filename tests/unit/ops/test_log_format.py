from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog

from bridge.ops import logging_setup as logs
from bridge.ops.log_format import LogFormat
from bridge.ops.redaction import HIDDEN

SECRET = 'a"secret\\of ünits'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    hooks = sys.excepthook
    libraries = [logging.getLogger(name) for name in logs.QUIET_LIBRARIES]
    levels = [each.level for each in libraries]
    yield
    root.handlers[:] = before
    root.setLevel(level)
    sys.excepthook = hooks
    logging.captureWarnings(capture=False)
    for library, former in zip(libraries, levels, strict=True):
        library.setLevel(former)
    structlog.reset_defaults()


def stderr(
    monkeypatch: pytest.MonkeyPatch,
    form: LogFormat,
    *,
    level: str = "info",
    stream: io.StringIO | None = None,
) -> io.StringIO:
    stream = stream or io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up(level, secrets=[SECRET], form=form)
    return stream


def records(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_record_has_time_with_zone_level_logger_and_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = stderr(monkeypatch, "json")
    logging.getLogger("bridge.x").warning("a %s", "message", extra={"position": "e-1"})
    [record] = records(stream)
    assert datetime.fromisoformat(record.pop("time")).tzinfo is not None
    assert record == {
        "level": "warning",
        "logger": "bridge.x",
        "message": "a message",
        "position": "e-1",
    }


def test_text_record_begins_with_date_and_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr(monkeypatch, "text")
    logging.getLogger("bridge.x").info("a message")
    time, rest = stream.getvalue().split(" ", 1)
    assert datetime.fromisoformat(time).tzinfo is not None
    assert rest == "INFO    bridge.x: a message\n"


def test_auto_is_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr(monkeypatch, "auto", stream=Terminal())
    logging.getLogger("bridge.x").info("a message")
    assert stream.getvalue().endswith("bridge.x: a message\n")


def test_auto_is_json_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr(monkeypatch, "auto")
    logging.getLogger("bridge.x").info("a message")
    assert records(stream)[0]["message"] == "a message"


def test_level_is_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    stream = stderr(monkeypatch, "auto", stream=Terminal())
    logging.getLogger("bridge.x").error("a message")
    assert "\033[31mERROR" in stream.getvalue()


@pytest.mark.parametrize("name", ["NO_COLOR", "TERM"])
def test_level_is_not_coloured_where_the_environment_forbids_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "dumb")
    stream = stderr(monkeypatch, "auto", stream=Terminal())
    logging.getLogger("bridge.x").error("a message")
    assert "\033" not in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_secret_is_redacted_in_every_part_of_a_record(
    form: LogFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = stderr(monkeypatch, form)
    fields = {"urls": [f"http://{SECRET}@h", {"deep": SECRET}], "block": {SECRET: SECRET}}
    error = ValueError(SECRET)
    logging.getLogger("bridge.x").error("with %s", SECRET, extra=fields, exc_info=error)
    text = stream.getvalue()
    assert text.count(HIDDEN) >= 5
    assert SECRET not in text
    assert json.dumps(SECRET, ensure_ascii=False)[1:-1] not in text


def test_value_of_a_field_named_as_a_secret_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr(monkeypatch, "json")
    block = {"admin_secret": "short", "secrets": 3}
    logging.getLogger("bridge.x").info("settings", extra={"settings": block})
    assert records(stream)[0]["settings"] == {"admin_secret": HIDDEN, "secrets": 3}


def test_record_of_structlog_is_formatted_and_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr(monkeypatch, "json")
    structlog.get_logger("extension").info("sent", target=SECRET)
    [record] = records(stream)
    assert (record["logger"], record["message"], record["target"]) == ("extension", "sent", HIDDEN)


def test_errors_of_realtime_are_not_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr(monkeypatch, "json")
    logging.getLogger("realtime._async.client").error("failed permanently after 1 attempts")
    logging.getLogger("realtime_of_others").error("an error")
    assert [record["logger"] for record in records(stream)] == ["realtime_of_others"]


def test_errors_of_realtime_are_logged_at_debug(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = stderr(monkeypatch, "json", level="debug")
    logging.getLogger("realtime._async.client").error("failed permanently after 1 attempts")
    assert len(records(stream)) == 1
