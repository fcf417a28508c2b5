from __future__ import annotations

import io
import logging
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from bridge.ops import logging_setup as logs
from bridge.ops.redaction import HIDDEN, Redactor

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "a-key/of+our own"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl-_x"


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """The output of a logger "scrubbed" through a handler with the filter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(Redactor([KEY]))
    logger = logging.getLogger("scrubbed")
    logger.addHandler(handler)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)


log = logging.getLogger("scrubbed")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"key {KEY}.", f"key {HIDDEN}."),
        ("key a-key%2Fof%2Bour%20own.", f"key {HIDDEN}."),
        (f"Bearer {JWT}", f"Bearer {HIDDEN}"),
        (f"{{'apikey': '{JWT}'}}", f"{{'apikey': '{HIDDEN}'}}"),
        ("sb_secret_AbC-12_x!", f"{HIDDEN}!"),
        ("wss://h/websocket?apikey=abc&vsn=1", f"wss://h/websocket?apikey={HIDDEN}&vsn=1"),
        ("https://h/?access_token=abc#x", f"https://h/?access_token={HIDDEN}"),
        ("> Authorization: Bearer opaque.one", f"> Authorization: Bearer {HIDDEN}"),
        ("> apikey: opaque-one", f"> apikey: {HIDDEN}"),
        ('{"token": "opaque one", "a": 1}', f'{{"token": "{HIDDEN}", "a": 1}}'),
        ("{'access_token': 'opaque'}", f"{{'access_token': '{HIDDEN}'}}"),
        ("postgres://user:pass@host/db", f"postgres://{HIDDEN}@host/db"),
    ],
)
def test_secrets_are_redacted_and_other_text_is_unchanged(text: str, left: str) -> None:
    assert Redactor([KEY]).text(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "price 12500000",
        "https://ref.supabase.co/rest/v1/properties",
        "eyJ",
        "apikeys are fine",
        "a token: none",
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert Redactor([KEY, "abc", ""]).text(text) == text


def test_secrets_with_a_common_prefix_are_redacted_entirely() -> None:
    assert Redactor(["secret-one", "secret-one-and-more"]).text("secret-one-and-more") == HIDDEN


def test_arguments_are_redacted(written: io.StringIO) -> None:
    log.warning("refused %s with %r", KEY, {"apikey": KEY, "jwt": JWT})
    assert (
        written.getvalue() == f"refused {HIDDEN} with {{'apikey': '{HIDDEN}', 'jwt': '{HIDDEN}'}}\n"
    )


def test_tracebacks_and_their_causes_are_redacted(written: io.StringIO) -> None:
    try:
        try:
            raise ValueError(f"bad key {KEY}")  # noqa: TRY301 - a cause is needed
        except ValueError as error:
            raise RuntimeError(f"https://h/?apikey={JWT}") from error
    except RuntimeError:
        log.exception("failed")
    text = written.getvalue()
    assert "ValueError: bad key " + HIDDEN in text
    assert "RuntimeError: https://h/?apikey=" + HIDDEN in text
    assert KEY not in text
    assert JWT not in text


def test_stacks_are_redacted(written: io.StringIO) -> None:
    log.warning("here", stack_info=True)  # sb_secret_in_the_source_line
    assert "Stack (most recent call last)" in written.getvalue()
    assert "sb_secret_in" not in written.getvalue()


def test_record_with_wrong_arguments_is_logged_and_redacted(written: io.StringIO) -> None:
    log.warning("only one: %s", "x", KEY)  # noqa: PLE1205 - the fault under test
    assert "only one: %s" in written.getvalue()
    assert KEY not in written.getvalue()


@pytest.fixture
def restored() -> Iterator[None]:
    """Restore the logging configuration after a test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    loggers = [logging.getLogger(name) for name in (*logs.QUIET_LIBRARIES, *logs.CLIENT_LOGGERS)]
    before = [(logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    hooks = sys.excepthook, threading.excepthook
    yield
    sys.excepthook, threading.excepthook = hooks
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for logger, (former, own, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(former)
        logger.handlers[:] = own
        logger.propagate = propagate


@pytest.mark.usefixtures("restored")
def test_process_logs_to_stderr_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up("info", secrets=[KEY])
    logging.getLogger("bridge.anything").info("key %s", KEY)
    logging.getLogger("bridge.anything").debug("too much")
    logging.getLogger("realtime.x").info("a message")
    logging.getLogger("httpx").warning("a url %s", f"https://h/?apikey={KEY}")
    lines = stream.getvalue().splitlines()
    assert [line.split(" ", 1)[1] for line in lines] == [
        f"INFO    bridge.anything: key {HIDDEN}",
        f"WARNING httpx: a url https://h/?apikey={HIDDEN}",
    ]


@pytest.mark.usefixtures("restored")
def test_libraries_follow_a_level_above_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up("error")
    logging.getLogger("httpx").warning("a warning")
    logging.getLogger("httpx").error("an error")
    assert stream.getvalue().endswith("httpx: an error\n")
    assert "a warning" not in stream.getvalue()


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", logs.CLIENT_LOGGERS)
def test_warnings_caused_by_clients_are_not_logged(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up("debug")
    logging.getLogger(name).warning("Invalid HTTP request received.")
    logging.getLogger(name).error("a fault of ours")
    assert stream.getvalue().endswith(f"{name}: a fault of ours\n")
    assert "Invalid" not in stream.getvalue()


LIBRARIES = (
    "realtime._async.client",
    "websockets.client",
    "httpx",
    "httpcore.http11",
    "hpack.hpack",
    "uvicorn.error",
    "asyncio",
    "engineio.server",
    "socketio.server",
)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("name", LIBRARIES)
def test_records_of_libraries_are_redacted_at_any_level(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up("debug", secrets=[KEY])
    logger = logging.getLogger(name)
    former = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        logger.debug("> GET /?apikey=%s&token=%s", KEY, JWT)
        logger.debug("> Authorization: Bearer %s", "opaque")
        logger.error("failed", exc_info=ValueError(f"with {KEY}"))
    finally:
        logger.setLevel(former)
    text = stream.getvalue()
    assert text.count(HIDDEN) == 4
    assert not any(secret in text for secret in (KEY, JWT, "opaque"))


@pytest.mark.usefixtures("restored")
def test_uncaught_exception_is_redacted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up("info", secrets=[KEY])
    error = ValueError(f"with {KEY}")
    sys.excepthook(ValueError, error, None)
    thread = threading.Thread(target=int, args=(KEY,))
    thread.start()
    thread.join()
    text = stream.getvalue()
    assert text.count("CRITICAL bridge: uncaught exception") == 2
    assert text.count(HIDDEN) == 2
    assert KEY not in text


@pytest.mark.usefixtures("restored")
def test_handler_without_redaction_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, other = io.StringIO(), io.StringIO()
    logger = logging.getLogger("uvicorn")
    logger.addHandler(logging.StreamHandler(other))
    logger.propagate = False
    monkeypatch.setattr(sys, "stderr", stream)
    logs.set_up("info", secrets=[KEY])
    logging.getLogger("uvicorn.error").error("with %s", KEY)
    assert other.getvalue() == ""
    assert stream.getvalue().endswith(f"uvicorn.error: with {HIDDEN}\n")
