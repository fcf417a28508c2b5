"""What a process reads of the stream: appends that follow each other, or a lost history."""

from __future__ import annotations

import pytest

from bridge.clock import ManualClock
from bridge.errors import PositionGoneError
from bridge.log.base import Note, Position, Progress
from bridge.log.redis.history import HistoryBrokenError, LocalHistory
from bridge.log.redis.scripts import Entered, Evidence
from bridge.log.redis.stream_entry import events_text, note_head, progress_text, rows_text
from tests.support.redis import event


def opened(*, appends: int = 5, term_id: str = "t1", head: int = 5) -> LocalHistory:
    history = LocalHistory(events=100, seconds=60, clock=ManualClock())
    evidence = Evidence("e", term_id, appends, head)
    history.begin(Entered("", evidence, head, f"{head}-0", 1, Progress(), {}), ())
    return history


def appended(
    number: int,
    *,
    head: int,
    count: int = 1,
    term_id: str = "t1",
    base: int = 0,
    epoch: str = "e",
    tag: str = "x",
) -> dict[bytes, bytes]:
    """Return the fields of an append of `count` events up to `head`."""
    events = [event(seq) for seq in range(head - count + 1, head + 1)]
    fields = f"{epoch} {term_id} {base} {number} {head} {count} {tag} 1.5"
    out = {b"k": b"a", b"m": fields.encode()}
    if events:
        out[b"e"] = events_text(events)
    return out


async def test_append_of_the_same_term_with_the_next_number_follows() -> None:
    history = opened()
    commits = history.feed.follow(history.entries.head)
    history.receive("7-0", appended(6, head=7, count=2))
    commit = await anext(commits)
    assert [(e.position, e.event, e.at) for e in commit.entries] == [
        (Position("e", 6), event(6), 1.5),
        (Position("e", 7), event(7), 1.5),
    ]
    assert history.seen == Evidence("e", "t1", 6, 7)


async def test_append_of_a_term_that_began_where_this_process_is_follows() -> None:
    history = opened()
    history.receive("6-0", appended(6, head=6, term_id="t2", base=5))
    history.receive("7-0", appended(7, head=7, term_id="t2", base=5))
    assert history.entries.head == Position("e", 7)


@pytest.mark.parametrize(
    ("number", "term_id", "base"),
    [
        (7, "t1", 0),  # one is missing
        (5, "t1", 0),  # one is repeated
        (6, "t2", 3),  # the term took the place of appends that were read
        (6, "t2", 4),
        (7, "t2", 6),
        (7, "t2", 5),
    ],
)
async def test_append_that_does_not_follow_is_not_added(
    number: int, term_id: str, base: int
) -> None:
    history = opened()
    with pytest.raises(HistoryBrokenError):
        history.receive("6-0", appended(number, head=6, term_id=term_id, base=base))
    assert history.seen == Evidence("e", "t1", 5, 5)
    assert history.entries.head == Position("e", 5)


@pytest.mark.parametrize(
    "fields",
    [
        appended(6, head=6, epoch="other"),
        {b"k": b"h", b"m": b"other"},
        {b"k": b"b", b"m": b"other"},
    ],
)
async def test_entry_of_another_history_is_not_added(fields: dict[bytes, bytes]) -> None:
    history = opened()
    with pytest.raises(HistoryBrokenError, match="another history has begun: epoch other"):
        history.receive("6-0", fields)
    assert history.last_id == "5-0"


async def test_followers_of_the_history_before_get_an_error() -> None:
    history = opened()
    commits = history.feed.follow(history.entries.head)
    begins = history.begins
    waiting = history.await_append("x")
    history.begin(Entered("", Evidence("f", "", 0, 9), 9, "9-0", 1, Progress(), {}), ())
    with pytest.raises(PositionGoneError, match="epoch f is read from position f-9"):
        await anext(commits)
    assert waiting.cancelled()
    assert history.begins == begins + 1
    assert history.entries.locate(Position("e", 3)) is None


async def test_notes_beats_and_terms_do_not_move_the_head() -> None:
    history = opened()
    commits = history.feed.follow(history.entries.head)
    history.receive("5-1", {b"k": b"b"})
    history.receive("5-2", {b"k": b"t", b"m": b"7"})
    history.receive("5-3", {b"k": b"n", b"m": note_head("p", "kind"), b"e": b"data"})
    history.receive("5-4", {b"k": b"f"})
    assert (await anext(commits)).notes == (Note("kind", "p", b"data"),)
    assert history.term == 7
    assert history.seen == Evidence("e", "t1", 5, 5)
    assert history.last_id == "5-4"


async def test_append_of_rows_and_progress_has_no_entries() -> None:
    history = opened()
    commits = history.feed.follow(history.entries.head)
    progress = Progress(loaded=True, watermark="2026-01-01 00:00", stream="0/1")
    fields = appended(6, head=5, count=0) | {
        b"w": rows_text([("a", b"[1]"), (2**70, None)]),
        b"p": progress_text(progress),
    }
    history.receive("5-1", fields)
    commit = await anext(commits)
    assert (commit.entries, commit.rows, commit.progress) == (
        [],
        [("a", b"[1]"), (2**70, None)],
        progress,
    )
    assert history.progress == progress


async def test_append_is_awaited_by_its_tag() -> None:
    history = opened()
    commit = history.await_append("mine")
    history.receive("6-0", appended(6, head=6, tag="other"))
    assert not commit.done()
    history.receive("7-0", appended(7, head=7, tag="mine"))
    assert (await commit).entries[0].position.seq == 7
