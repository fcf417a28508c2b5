"""Frames that the official client drops become gaps, and their rows stay out of the logs."""

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
    """A connection that gives one frame, then is not the client's any more."""

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
    """What the inbox holds after the official client has read `text`."""
    inbox = ChangeQueue(10)
    client = AsyncRealtimeClient("ws://127.0.0.1:9/realtime/v1", "key", auto_reconnect=False)
    client._ws_connection = _Socket(client, text)  # type: ignore[assignment]
    with capture_rejected_frames(inbox):
        await client._listen()
    return inbox.get_many_nowait(10)


@pytest.mark.parametrize(
    ("error", "why", "advice"),
    [
        ("Error 401: Unauthorized", "Error 401", "grant select"),
        ("Error 400: Bad Request, no primary key", "Error 400", "primary key"),
        ("Error 418: I'm a teapot", "unknown format", ""),
    ],
)
async def test_a_change_that_the_client_can_not_read_is_a_gap_and_says_what_to_do(
    caplog: pytest.LogCaptureFixture, error: str, why: str, advice: str
) -> None:
    with caplog.at_level(logging.INFO):
        assert await received(frame(errors=[error])) == [Gap(GapReason.UNREADABLE, why)]
    assert why in caplog.text
    assert advice in caplog.text


async def test_no_log_record_holds_what_was_in_the_row(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        await received(frame(errors=["Error 401: Unauthorized"]))
    assert caplog.records
    assert not any(SECRET in f"{record.__dict__}" for record in caplog.records)


@pytest.mark.parametrize(("name", "value"), [("disabled", True), ("level", logging.CRITICAL)])
async def test_a_silenced_library_does_not_silence_gaps(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    library = logging.getLogger(LIBRARY_LOGGER)
    monkeypatch.setattr(library, name, value)
    library.manager._clear_cache()  # type: ignore[attr-defined]
    assert await received(frame()) == [Gap(GapReason.UNREADABLE, "unknown format")]
    assert getattr(library, name) == value


async def test_a_frame_cut_in_the_middle_is_a_gap_too(caplog: pytest.LogCaptureFixture) -> None:
    text = frame()
    assert await received(text[: len(text) - 30]) == [Gap(GapReason.UNREADABLE, "unknown format")]
    assert SECRET not in caplog.text


async def test_other_frames_of_unknown_shape_are_a_warning_without_contents(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await received(frame(event="gossip")) == []
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert SECRET not in caplog.text


async def test_other_words_of_the_library_pass(caplog: pytest.LogCaptureFixture) -> None:
    with capture_rejected_frames(ChangeQueue(1)):
        logging.getLogger(LIBRARY_LOGGER).error("something else")
    assert caplog.messages == ["something else"]


async def test_after_the_block_nothing_is_kept_out(caplog: pytest.LogCaptureFixture) -> None:
    inbox = ChangeQueue(1)
    with capture_rejected_frames(inbox):
        pass
    logging.getLogger(LIBRARY_LOGGER).error("%s: x", MESSAGE_PREFIX)
    assert not len(inbox)
    assert len(caplog.records) == 1


async def test_two_that_watch_at_a_time_both_hear_of_it_until_each_has_gone(
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
            outer.__exit__(None, None, None)  # ends before the one that began after it
            logger.error('%s: "postgres_changes"', MESSAGE_PREFIX)
        assert (len(first), len(second)) == (1, 2)
        assert logger.disabled is True
    finally:
        logger.disabled = False
    assert MESSAGE_PREFIX not in caplog.text
