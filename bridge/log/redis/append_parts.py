"""Splits a very large append into parts, each of which is stored at once. No I/O."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bridge.events import Event
    from bridge.log.base import RowUpdate

    Part = tuple[Sequence[Event], Sequence[RowUpdate]]

MAX_EVENTS: Final = 1_000
MAX_ROWS: Final = 1_000
MAX_BYTES: Final = 4_000_000
"""Of one part: the server handles it in some milliseconds, and does nothing else meanwhile. The 256
changes that a commit has at most are one part, up to 16 kB each."""


def parts_of(events: Sequence[Event], rows: Sequence[RowUpdate]) -> list[Part]:
    """Return the parts of an append, in order. All events of a key are in one part with its row:
    the parts that are stored agree with their rows if the rest is not stored.
    """
    if _fits(events, rows):
        return [(events, rows)]
    updates = dict(rows)
    parts: list[Part] = []
    for group in _groups(events):
        keys = dict.fromkeys(event.key for event in group)
        parts.append((group, [(key, updates.pop(key)) for key in keys if key in updates]))
    rest: list[RowUpdate] = []
    size = 0
    for key, row in updates.items():
        length = len(row or b"")
        if rest and (len(rest) >= MAX_ROWS or size + length > MAX_BYTES):
            parts.append(((), rest))
            rest, size = [], 0
        rest.append((key, row))
        size += length
    if rest:
        parts.append(((), rest))
    return parts


def _fits(events: Sequence[Event], rows: Sequence[RowUpdate]) -> bool:
    return (
        len(events) <= MAX_EVENTS
        and len(rows) <= MAX_ROWS
        and sum(len(event.envelope) for event in events) <= MAX_BYTES
        and sum(len(row or b"") for _, row in rows) <= MAX_BYTES
    )


def _groups(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Yield groups of events in order, each ended where no key has events on both sides."""
    left = Counter(event.key for event in events)
    split: set[object] = set()  # keys with events in the group and after it
    group: list[Event] = []
    size = 0
    for event in events:
        group.append(event)
        size += len(event.envelope)
        left[event.key] -= 1
        if left[event.key]:
            split.add(event.key)
        else:
            split.discard(event.key)
        # A row may be as large as its event.
        if not split and (len(group) >= MAX_EVENTS or size > MAX_BYTES / 2):
            yield group
            group, size = [], 0
    if group:
        yield group
