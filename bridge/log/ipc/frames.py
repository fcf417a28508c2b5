"""Frames between the leader process and its followers, and the commits in them. No I/O.

A frame is a length (4 bytes), a kind (1 byte) and a payload. A payload with binary parts is a line
of JSON, which has their lengths, and the parts after it: an envelope is copied, never parsed.
Both ends are of one version: the supervisor starts them from the same installation.
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import orjson

from bridge.events import Event, shared
from bridge.log.base import Commit, Entry, Note, Position, Progress

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Sequence

    from bridge.changes import Key
    from bridge.log.base import RowUpdate

HEAD: Final = struct.Struct(">IB")

MAX_FRAME_BYTES: Final = 1 << 30
"""A longer frame is a defect: a commit holds at most 10,000 rows."""


class Kind(IntEnum):
    """What a frame carries."""

    HELLO = 1  # from a follower, first: its process, its position, its sessions
    WELCOME = 2  # from the leader, first: see `Welcome`
    ENTRIES = 3  # recent entries, after a WELCOME that does not resume
    COMMIT = 4
    CALL = 5  # both ways: number and name of the call, then its argument
    RESULT = 6  # its number, then its result
    FAILURE = 7  # its number, then the error's message
    BEAT = 8  # from the leader, several in `SILENCE_SECONDS`


BEAT_SECONDS: Final = 3.0
SILENCE_SECONDS: Final = 12.0
"""A leader process that sends nothing for so long is stuck."""


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    return HEAD.pack(len(payload), kind) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[Kind, bytes]:
    """Return the next frame. Raises `asyncio.IncompleteReadError` at the end, and ValueError for
    one that is none.
    """
    size, kind = HEAD.unpack(await reader.readexactly(HEAD.size))
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"expected a frame of at most {MAX_FRAME_BYTES} bytes, got {size}")
    return Kind(kind), await reader.readexactly(size)


@dataclass(frozen=True, slots=True)
class Welcome:
    """The leader's log, as a follower begins to follow it."""

    resumed: bool
    """Whether the commits continue where the follower was. Otherwise the recent entries follow, and
    then the commits after `head`."""
    leader: str
    head: Position
    entries: int
    """Number of recent entries that follow."""
    earlier: dict[str, int]
    progress: Progress

    def encode(self) -> bytes:
        return orjson.dumps(
            [
                self.resumed,
                self.leader,
                [self.head.epoch, self.head.seq],
                self.entries,
                self.earlier,
                astuple(self.progress),
            ]
        )

    @classmethod
    def decode(cls, payload: bytes) -> Welcome:
        resumed, leader, head, entries, earlier, progress = orjson.loads(payload)
        return cls(resumed, leader, Position(*head), entries, earlier, Progress(*progress))


def encode_commit(commit: Commit) -> bytes:
    """Return the payload of a commit. Its number is the follower's own."""
    entries, rows, notes = commit.entries, commit.rows, commit.notes
    progress = commit.progress
    described = [
        _describe_entries(entries),
        [(key, None if row is None else len(row)) for key, row in rows],
        None if progress is None else astuple(progress),
        [(note.kind, note.origin, len(note.data)) for note in notes],
    ]
    return b"".join(
        (
            orjson.dumps(described),
            b"\n",
            *(entry.event.envelope for entry in entries),
            *(row for _, row in rows if row is not None),
            *(note.data for note in notes),
        )
    )


@dataclass(frozen=True, slots=True)
class CommitParts:
    """A received commit, before it has a number."""

    entries: Sequence[Entry]
    rows: Sequence[RowUpdate]
    progress: Progress | None
    notes: Sequence[Note]


def decode_commit(payload: bytes) -> CommitParts:
    described, parts = _split(payload)
    entries, rows, progress, notes = described
    return CommitParts(
        _entries(entries, parts),
        [(key, None if size is None else parts.take(size)) for key, size in rows],
        None if progress is None else Progress(*progress),
        [Note(kind, origin, parts.take(size)) for kind, origin, size in notes],
    )


def encode_entries(entries: Sequence[Entry]) -> bytes:
    described = orjson.dumps(_describe_entries(entries))
    return b"".join((described, b"\n", *(entry.event.envelope for entry in entries)))


def decode_entries(payload: bytes) -> list[Entry]:
    return _entries(*_split(payload))


def encode_rows(rows: Iterable[tuple[Key, bytes]]) -> bytes:
    rows = list(rows)
    described = orjson.dumps([(key, len(row)) for key, row in rows])
    return b"".join((described, b"\n", *(row for _, row in rows)))


def decode_rows(payload: bytes) -> list[tuple[Key, bytes]]:
    described, parts = _split(payload)
    return [(key, parts.take(size)) for key, size in described]


class _Parts:
    """Takes the binary parts of a payload one after the other."""

    __slots__ = ("_at", "_payload")

    def __init__(self, payload: bytes, at: int) -> None:
        self._payload = payload
        self._at = at

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        return self._payload[start : self._at]


def _split(payload: bytes) -> tuple[Any, _Parts]:
    end = payload.index(b"\n")
    return orjson.loads(payload[:end]), _Parts(payload, end + 1)


def _describe_entries(entries: Sequence[Entry]) -> list[Any]:
    """Return everything but the envelopes. All entries of one portion have one epoch."""
    if not entries:
        return []
    return [
        entries[0].position.epoch,
        *(
            (
                entry.position.seq,
                entry.at,
                entry.event.name,
                entry.event.key,
                len(entry.event.envelope),
                entry.event.rooms,
                entry.event.views,
                entry.event.regions_before,
                entry.event.regions_after,
                entry.event.changed,
            )
            for entry in entries
        ),
    ]


def _entries(described: Sequence[Any], parts: _Parts) -> list[Entry]:
    if not described:
        return []
    epoch, *rest = described
    out = []
    for seq, at, name, key, size, rooms, *lists in rest:
        facts: list[Any] = [shared(tuple(names)) for names in lists]
        event = Event(name, key, tuple(rooms), parts.take(size), *facts)
        out.append(Entry(Position(epoch, seq), event, at))
    return out
