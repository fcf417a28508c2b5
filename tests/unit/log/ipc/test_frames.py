"""What a follower decodes is what the leader process has encoded."""

from __future__ import annotations

import asyncio
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.events import Event
from bridge.log.base import Commit, Entry, Note, Position, Progress
from bridge.log.ipc import frames

keys = st.text(max_size=5) | st.integers(-(2**53) + 1, 2**53 - 1)
names = st.lists(st.text(max_size=5), max_size=3).map(tuple)
events = st.builds(
    Event,
    st.sampled_from(["property-created", "property-updated", "property-deleted"]),
    keys,
    names,
    st.binary(max_size=20),
    st.sampled_from([("public",), ("public", "member")]),
    names,
    names,
    names,
)
rows = st.lists(st.tuples(keys, st.none() | st.binary(max_size=20)), max_size=3)
notes = st.lists(st.builds(Note, st.text(), st.text(), st.binary(max_size=20)), max_size=3)
progress = st.none() | st.builds(
    Progress, st.booleans(), st.none() | st.text(), st.none() | st.text()
)


def entries_of(published: list[Event]) -> list[Entry]:
    return [Entry(Position("e", seq), event, 12.5) for seq, event in enumerate(published, 7)]


@given(st.lists(events, max_size=4), rows, progress, notes)
def test_commit_is_decoded_as_it_was_encoded(
    published: list[Event],
    updates: list[tuple[str | int, bytes | None]],
    at: Progress | None,
    sent: list[Note],
) -> None:
    commit = Commit(1, entries_of(published), updates, at, sent)
    parts = frames.decode_commit(frames.encode_commit(commit))
    assert parts == frames.CommitParts(commit.entries, updates, at, sent)


@given(st.lists(events, max_size=4))
def test_entries_are_decoded_as_they_were_encoded(published: list[Event]) -> None:
    entries = entries_of(published)
    assert frames.decode_entries(frames.encode_entries(entries)) == entries


@given(st.lists(st.tuples(keys, st.binary(max_size=20)), max_size=4))
def test_rows_are_decoded_as_they_were_encoded(stored: list[tuple[str | int, bytes]]) -> None:
    assert frames.decode_rows(frames.encode_rows(stored)) == stored


def test_welcome_is_decoded_as_it_was_encoded() -> None:
    position = Position("e", 9)
    for resumed in (True, False):
        sent = frames.Welcome(resumed, "p", position, 3, {"d": 4}, Progress(True, "2026", "0/1"))
        assert frames.Welcome.decode(sent.encode()) == sent


def test_every_field_of_an_event_and_of_progress_is_encoded() -> None:
    """A new field has to be added to the strategies above, and so to the frames."""
    assert len(fields(Event)) == 8
    assert len(fields(Progress)) == 3


async def test_frame_that_is_too_long_is_refused() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(frames.HEAD.pack(frames.MAX_FRAME_BYTES + 1, frames.Kind.COMMIT))
    with pytest.raises(ValueError, match="expected a frame of at most"):
        await frames.read_frame(reader)
