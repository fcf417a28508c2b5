"""Frames that the official client rejects become gaps, and their rows are not logged."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from realtime import AsyncRealtimeClient

from bridge.changes import Gap, GapReason, Item
from bridge.source.change_queue import ChangeQueue
from bridge.source.realtime.rejected_frames import (
    LIBRARY_LOGGER,
    MESSAGE_PREFIX,
    capture_rejected_frames,
)

SECRET = "seller wants out by June"


def frame(event: str = "postgres_changes", **data: Any) -> str:
    change = {
        "columns": [],
        "commit_timestamp": None,
        "errors": None,
        "record": {"internal_notes": SECRET},
        "schema": "public",
        "table": "properties",
        "type": "INSERT",
        **data,
    }
    return json.dumps(
        {
            "event": event,
            "payload": {"data": change, "ids": [1]},
            "ref": None,
            "topic": "realtime:bridge",
        }
    )


class _Socket:
    """A connection that delivers one frame and is then no longer the client's."""

    def __init__(self, client: AsyncRealtimeClient, text: str) -> None:
        self._client = client
        self._texts = [text]

    def __aiter__(self) -> _Socket:
        return self

    async def __anext__(self) -> str:
        if not self._texts:
            self._client._ws_connection = None
            raise StopAsyncIteration
        return self._texts.pop()


async def received(text: str) -> list[Item]:
    """Return the queued items after the official client has read `text`."""
    queue = ChangeQueue(10)
    client = AsyncRealtimeClient("ws://127.0.0.1:9/realtime/v1", "key", auto_reconnect=False)
    client._ws_connection = _Socket(client, text)  # type: ignore[assignment]
    with capture_rejected_frames(queue):
        await client._listen()
    return queue.get_many_nowait(10)


@pytest.mark.parametrize(
    ("error", "why", "advice"),
    [
        ("Error 401: Unauthorized", "Error 401", "grant select"),
        ("Error 400: Bad Request, no primary key", "Error 400", "primary key"),
        ("Error 418: I'm a teapot", "unknown format", ""),
    ],
)
async def test_rejected_change_is_a_gap_with_advice(
    caplog: pytest.LogCaptureFixture, error: str, why: str, advice: str
) -> None:
    with caplog.at_level(logging.INFO):
        assert await received(frame(errors=[error])) == [Gap(GapReason.UNREADABLE, why)]
    assert why in caplog.text
    assert advice in caplog.text


async def test_log_records_do_not_contain_the_row(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await received(frame(errors=["Error 401: Unauthorized"]))
    assert caplog.records
    assert not any(SECRET in f"{record.__dict__}" for record in caplog.records)


@pytest.mark.parametrize(("name", "value"), [("disabled", True), ("level", logging.CRITICAL)])
async def test_disabled_logger_does_not_suppress_gaps(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    library = logging.getLogger(LIBRARY_LOGGER)
    monkeypatch.setattr(library, name, value)
    library.manager._clear_cache()  # type: ignore[attr-defined]
    assert await received(frame()) == [Gap(GapReason.UNREADABLE, "unknown format")]
    assert getattr(library, name) == value


async def test_truncated_frame_is_a_gap(caplog: pytest.LogCaptureFixture) -> None:
    text = frame()
    assert await received(text[: len(text) - 30]) == [Gap(GapReason.UNREADABLE, "unknown format")]
    assert SECRET not in caplog.text


async def test_other_frames_of_unknown_format_are_a_warning_without_contents(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await received(frame(event="gossip")) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert SECRET not in caplog.text


async def test_other_records_of_the_library_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with capture_rejected_frames(ChangeQueue(1)):
        logging.getLogger(LIBRARY_LOGGER).error("something else")
    assert caplog.messages == ["something else"]


async def test_records_are_logged_after_the_block(caplog: pytest.LogCaptureFixture) -> None:
    queue = ChangeQueue(1)
    with capture_rejected_frames(queue):
        pass
    logging.getLogger(LIBRARY_LOGGER).error("%s: x", MESSAGE_PREFIX)
    assert not len(queue)
    assert len(caplog.records) == 1


async def test_gaps_are_put_into_the_queues_of_all_open_blocks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger(LIBRARY_LOGGER)
    first, second = ChangeQueue(9), ChangeQueue(9)
    logger.disabled = True
    try:
        outer = capture_rejected_frames(first)
        outer.__enter__()
        with capture_rejected_frames(second):
            logger.error('%s: "postgres_changes"', MESSAGE_PREFIX)
            outer.__exit__(None, None, None)  # the outer block ends first
            logger.error('%s: "postgres_changes"', MESSAGE_PREFIX)
        assert (len(first), len(second)) == (1, 2)
        assert logger.disabled is True
    finally:
        logger.disabled = False
    assert MESSAGE_PREFIX not in caplog.text
