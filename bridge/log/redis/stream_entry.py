"""Entries of the stream: what one append, note or beat stored, as text. No I/O.

| field | holds |
|---|---|
| `k` | kind: `a` append, `n` note, `b` beat, `t` new term, `f` lease is free, `h` new history |
| `m` | append: `epoch term_id base number head count tag at`; note: `origin kind` |
|     | new term: its number; new history: its epoch |
| `e` | append: route and envelope of each event, a line each; note: its data |
| `w` | append: key and row of each row update, a line each; an empty row: deleted |
| `p` | append: progress, a JSON array |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from bridge.log.base import Entry, Note, Position, Progress
from bridge.log.event_text import event_of, key_of, key_text, route_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bridge.events import Event
    from bridge.log.base import RowUpdate


@dataclass(frozen=True, slots=True)
class Append:
    """One append, as it is read from the stream; its methods decode the rest."""

    epoch: str
    term_id: str
    base: int
    """Number of the last append before the term of this one."""
    number: int
    head: int
    """Number of its last event; without events, that of the last one before."""
    count: int
    tag: str
    at: float
    fields: Mapping[bytes, bytes]

    def entries(self, epoch: str | None = None) -> list[Entry]:
        """Return its entries, as of a later `epoch` of the history if one is given."""
        if not self.count:
            return []
        epoch = epoch or self.epoch
        lines = self.fields[b"e"].split(b"\n")
        first = self.head - self.count + 1
        return [
            Entry(Position(epoch, number), event_of(route, envelope), self.at)
            for number, (route, envelope) in enumerate(
                zip(lines[::2], lines[1::2], strict=True), first
            )
        ]

    def rows(self) -> list[RowUpdate]:
        """Return its row updates."""
        text = self.fields.get(b"w")
        if text is None:
            return []
        lines = text.split(b"\n")
        return [
            (key_of(key), row or None) for key, row in zip(lines[::2], lines[1::2], strict=True)
        ]

    def progress(self) -> Progress | None:
        """Return its progress; None: it has none."""
        text = self.fields.get(b"p")
        if text is None:
            return None
        return progress_of(text)


def kind_of(fields: Mapping[bytes, bytes]) -> bytes:
    return fields[b"k"]


def append_of(fields: Mapping[bytes, bytes]) -> Append:
    """Return the append of an entry of kind `a`."""
    epoch, term_id, base, number, head, count, tag, at = fields[b"m"].decode().split(" ")
    return Append(
        epoch, term_id, int(base), int(number), int(head), int(count), tag, float(at), fields
    )


def note_of(fields: Mapping[bytes, bytes]) -> Note:
    """Return the note of an entry of kind `n`."""
    origin, _, kind = fields[b"m"].decode().partition(" ")
    return Note(kind, origin, fields[b"e"])


def note_head(origin: str, kind: str) -> bytes:
    """Return the field `m` of a note."""
    return f"{origin} {kind}".encode()


def events_text(events: Sequence[Event]) -> bytes:
    return b"\n".join(part for event in events for part in (route_of(event), event.envelope))


def rows_text(rows: Sequence[RowUpdate]) -> bytes:
    return b"\n".join(
        part for key, row in rows for part in (key_text(key).encode(), b"" if row is None else row)
    )


def progress_text(progress: Progress | None) -> bytes:
    if progress is None:
        return b""
    return orjson.dumps([progress.loaded, progress.watermark, progress.stream])


def progress_of(text: bytes) -> Progress:
    """Return the progress that `progress_text` wrote."""
    return Progress(*orjson.loads(text)) if text else Progress()


def puts_of(rows: Sequence[RowUpdate]) -> list[bytes]:
    """Return the key and the row of each row that is stored, one after the other."""
    kept = ((key, row) for key, row in dict(rows).items() if row is not None)
    return [part for key, row in kept for part in (key_text(key).encode(), row)]


def deletes_of(rows: Sequence[RowUpdate]) -> list[bytes]:
    """Return the key of each row that is deleted."""
    return [key_text(key).encode() for key, row in dict(rows).items() if row is None]
