"""What was told to anybody, put together by position: the log as clients saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from bridge.log.base import Position
from bridge.rooms import regions_of
from tests.chaos.truth import fits
from tests.chaos.violation import Kind, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.projection import Projection
    from tests.chaos.span import Span
    from tests.chaos.truth import Row

EVERYBODY = "all clients together"


class History:
    """One epoch of the log."""

    def __init__(self) -> None:
        self.texts: dict[int, bytes] = {}
        self.at: dict[int, float] = {}
        self.pages: dict[int, list[tuple[str, Mapping[str, Row]]]] = {}
        """Rows of snapshots by the position at which they hold, and who was given them."""
        self.rows: dict[str, Row | None] = {}
        """As told up to `replayed`; None: deleted."""
        self.rooms: dict[int, tuple[str, tuple[str, ...] | None]] = {}
        """Which property an event is about, and in which regions it was told."""
        self.replayed: int | None = None


class World:
    """Takes what clients without batches hear; `replay` when all is quiet."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.histories: dict[str, History] = {}
        self.events = 0
        self.holes = 0
        """Positions that nobody heard."""

    def hear(self, client: str, position: Position, text: bytes, at: float) -> Violation | None:
        history = self.histories.setdefault(position.epoch, History())
        known = history.texts.get(position.seq)
        if known is None:
            history.texts[position.seq] = text
            history.at[position.seq] = at
            self.events += 1
        elif known != text:
            return Violation(
                Kind.FORKED,
                client,
                f"{position} is {_short(text)} to it and was {_short(known)} to another",
                at,
            )
        return None

    def page(self, client: str, position: Position, rows: Mapping[str, Row]) -> None:
        """A client was given rows of a snapshot."""
        history = self.histories.setdefault(position.epoch, History())
        history.pages.setdefault(position.seq, []).append((client, rows))

    def replay(self) -> Iterator[Violation]:
        """Go through what is new, and say where it doesn't follow from what was told before."""
        for epoch, history in self.histories.items():
            yield from self._replay(epoch, history)

    def owed(self, client: str, span: Span) -> Iterator[Violation]:
        """What `client` did not hear and should have, and what it should not have heard."""
        history = self.histories.get(span.epoch)
        if history is None:
            return
        heard = set(span.heard)
        for seq in range(span.after + 1, span.upto + 1):
            if seq not in history.rooms:
                continue
            key, regions = history.rooms[seq]
            owed = span.subscription.hears(key, regions)
            at, text = history.at[seq], _short(history.texts[seq])
            if owed is True and seq not in heard:
                yield Violation(
                    Kind.LOST, client, f"never heard {span.epoch}-{seq} {text}", at, key
                )
            elif owed is False and seq in heard:
                yield Violation(Kind.STRANGER, client, f"heard {span.epoch}-{seq} {text}", at, key)

    def forget(self) -> None:
        """Drop what was replayed, and every history but the newest."""
        newest = list(self.histories)[-1:]
        self.histories = {epoch: self.histories[epoch] for epoch in newest}
        for history in self.histories.values():
            history.texts.clear()
            history.at.clear()
            history.pages.clear()
            history.rooms.clear()

    def _replay(self, epoch: str, history: History) -> Iterator[Violation]:
        seqs = sorted({*history.texts, *history.pages})
        if not seqs:
            return
        before = history.replayed
        for seq in seqs:
            text = history.texts.get(seq)
            # A page comes after the event at its position, which somebody should have heard too.
            unheard = 0 if before is None else seq - before - (text is not None)
            if unheard > 0:
                self.holes += unheard
                history.rows.clear()  # anything may have been told there
            before = seq
            if text is not None:
                yield from self._follow(epoch, history, seq, text)
            for client, rows in history.pages.get(seq, ()):
                yield from self._compare(epoch, history, seq, client, rows)
        history.replayed = before

    def _follow(self, epoch: str, history: History, seq: int, text: bytes) -> Iterator[Violation]:
        envelope = orjson.loads(text)
        data = envelope["data"]
        key = data["property_id"]
        known = history.rows.get(key)
        told = key in history.rows
        wrong = ""
        if envelope["event"] == "property-created":
            if told and known is not None:
                wrong = "is created and was there"
            history.rows[key] = {c: data[c] for c in self._projection.published if c in data}
            history.rooms[seq] = key, self._regions(history.rows[key])
        elif envelope["event"] == "property-deleted":
            if told and known is None:
                wrong = "is deleted and was not there"
            history.rooms[seq] = key, self._regions(known)
            history.rows[key] = None
        else:
            wrong = self._update(history, seq, key, data)
        if wrong:
            what = f"{wrong} at {epoch}-{seq} {_short(text)}"
            yield Violation(Kind.WRONG_OLD, EVERYBODY, what, history.at[seq], key)

    def _update(self, history: History, seq: int, key: str, data: Mapping[str, Any]) -> str:
        known = history.rows.get(key)
        wrong = ""
        if key in history.rows and known is None:
            wrong = "is updated and was deleted"
        row = dict(known or {})
        for column, change in data["changes"].items():
            if column in row and row[column] != change["old"]:
                wrong = f"{column} was {_short(row[column])}"
            row[column] = change["new"]
        moved = data.get("moved")
        if moved:
            history.rooms[seq] = key, (*moved["from"], *moved["to"])
            row = {c: data["property"][c] for c in self._projection.published}
        else:
            history.rooms[seq] = key, self._regions(row)
        history.rows[key] = row
        return wrong

    def _compare(
        self, epoch: str, history: History, seq: int, client: str, rows: Mapping[str, Row]
    ) -> Iterator[Violation]:
        for key, row in rows.items():
            known = history.rows.get(key)
            if key in history.rows and (known is None or not fits(known, row)):
                what = f"as of {epoch}-{seq} it is {_short(row)} and was told as {_short(known)}"
                yield Violation(Kind.SNAPSHOT, client, what, 0.0, key)
            history.rows[key] = dict(row)

    def _regions(self, row: Row | None) -> tuple[str, ...] | None:
        columns: Sequence[str] = self._projection.region
        if row is None or any(column not in row for column in columns):
            return None
        return regions_of(row, columns)


def _short(value: object) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text if len(text) < 300 else f"{text[:200]} … {text[-80:]}"
