"""The log of the bridge, assembled by position from what all clients received."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from bridge.log.base import Position
from bridge.rooms import regions_of
from tests.support.expected_table import matches
from tests.support.violations import Kind, Violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bridge.projection import Projection
    from tests.chaos.subscribed_ranges import SubscribedRange
    from tests.support.expected_table import Row

ALL_CLIENTS = "all clients together"


class EpochLog:
    """The positions of one epoch of the log."""

    def __init__(self) -> None:
        self.texts: dict[int, bytes] = {}
        self.at: dict[int, float] = {}
        self.pages: dict[int, list[tuple[str, Mapping[str, Row]]]] = {}
        """Rows of snapshots by the position at which they hold, with the client's name."""
        self.rows: dict[str, Row | None] = {}
        """Last published state up to `replayed`; None: deleted."""
        self.regions: dict[int, tuple[str, tuple[str, ...] | None]] = {}
        """The property of each event, and the regions in which it was published."""
        self.replayed: int | None = None


class PublishedLog:
    """Collects the events of clients without batches; call `replay` when all are delivered."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.epochs: dict[str, EpochLog] = {}
        self.events = 0
        self.unobserved = 0
        """Positions that no client received."""

    def add_event(
        self, client: str, position: Position, text: bytes, at: float
    ) -> Violation | None:
        """Add an event that `client` received; return a violation if others received another."""
        log = self.epochs.setdefault(position.epoch, EpochLog())
        known = log.texts.get(position.seq)
        if known is None:
            log.texts[position.seq] = text
            log.at[position.seq] = at
            self.events += 1
        elif known != text:
            return Violation(
                Kind.FORKED,
                client,
                f"{position} is {_short(text)} here and {_short(known)} for another client",
                at,
            )
        return None

    def add_page(self, client: str, position: Position, rows: Mapping[str, Row]) -> None:
        """Add a page of a snapshot that `client` received."""
        log = self.epochs.setdefault(position.epoch, EpochLog())
        log.pages.setdefault(position.seq, []).append((client, rows))

    def replay(self) -> Iterator[Violation]:
        """Apply what was added since the last call, and yield what does not follow."""
        for epoch, log in self.epochs.items():
            yield from self._replay(epoch, log)

    def check_range(self, client: str, subscribed: SubscribedRange) -> Iterator[Violation]:
        """Yield each entry of the range that `client` lacks, or received without subscription."""
        log = self.epochs.get(subscribed.epoch)
        if log is None:
            return
        received = set(subscribed.received)
        for seq in range(subscribed.after + 1, subscribed.upto + 1):
            if seq not in log.regions:
                continue
            key, regions = log.regions[seq]
            included = subscribed.subscription.includes(key, regions)
            at, text = log.at[seq], f"{subscribed.epoch}-{seq} {_short(log.texts[seq])}"
            if included is True and seq not in received:
                yield Violation(Kind.LOST, client, f"did not receive {text}", at, key)
            elif included is False and seq in received:
                yield Violation(Kind.UNSUBSCRIBED, client, f"received {text}", at, key)

    def forget(self) -> None:
        """Drop what was replayed, and all epochs but the newest."""
        newest = list(self.epochs)[-1:]
        self.epochs = {epoch: self.epochs[epoch] for epoch in newest}
        for log in self.epochs.values():
            log.texts.clear()
            log.at.clear()
            log.pages.clear()
            log.regions.clear()

    def _replay(self, epoch: str, log: EpochLog) -> Iterator[Violation]:
        seqs = sorted({*log.texts, *log.pages})
        if not seqs:
            return
        before = log.replayed
        for seq in seqs:
            text = log.texts.get(seq)
            # A page holds after the event at its position, which some client should have received.
            unobserved = 0 if before is None else seq - before - (text is not None)
            if unobserved > 0:
                self.unobserved += unobserved
                log.rows.clear()  # any row may have changed there
            before = seq
            if text is not None:
                yield from self._apply(epoch, log, seq, text)
            for client, rows in log.pages.get(seq, ()):
                yield from self._compare(epoch, log, seq, client, rows)
        log.replayed = before

    def _apply(self, epoch: str, log: EpochLog, seq: int, text: bytes) -> Iterator[Violation]:
        envelope = orjson.loads(text)
        data = envelope["data"]
        key = data["property_id"]
        known, is_known = log.rows.get(key), key in log.rows
        wrong = ""
        if envelope["event"] == "property-created":
            if is_known and known is not None:
                wrong = "created, and existed"
            log.rows[key] = {c: data[c] for c in self._projection.published if c in data}
            log.regions[seq] = key, self._regions(log.rows[key])
        elif envelope["event"] == "property-deleted":
            if is_known and known is None:
                wrong = "deleted, and did not exist"
            log.regions[seq] = key, self._regions(known)
            log.rows[key] = None
        else:
            wrong = self._apply_updated(log, seq, key, data)
        if wrong:
            text_ = f"{wrong} at {epoch}-{seq} {_short(text)}"
            yield Violation(Kind.WRONG_OLD, ALL_CLIENTS, text_, log.at[seq], key)

    def _apply_updated(self, log: EpochLog, seq: int, key: str, data: Mapping[str, Any]) -> str:
        known = log.rows.get(key)
        wrong = ""
        if key in log.rows and known is None:
            wrong = "updated, and was deleted"
        row = dict(known or {})
        for column, change in data["changes"].items():
            if column in row and row[column] != change["old"]:
                wrong = f"{column} was {_short(row[column])}"
            row[column] = change["new"]
        moved = data.get("moved")
        if moved:
            log.regions[seq] = key, (*moved["from"], *moved["to"])
            row = {c: data["property"][c] for c in self._projection.published}
        else:
            log.regions[seq] = key, self._regions(row)
        log.rows[key] = row
        return wrong

    def _compare(
        self, epoch: str, log: EpochLog, seq: int, client: str, rows: Mapping[str, Row]
    ) -> Iterator[Violation]:
        for key, row in rows.items():
            known = log.rows.get(key)
            if key in log.rows and (known is None or not matches(known, row)):
                text = f"{_short(row)} as of {epoch}-{seq}, published as {_short(known)}"
                yield Violation(Kind.SNAPSHOT, client, text, 0.0, key)
            log.rows[key] = dict(row)

    def _regions(self, row: Row | None) -> tuple[str, ...] | None:
        columns: Sequence[str] = self._projection.region
        if row is None or any(column not in row for column in columns):
            return None
        return regions_of(row, columns)


def _short(value: object) -> str:
    text = value.decode() if isinstance(value, bytes) else str(value)
    return text if len(text) < 300 else f"{text[:200]} … {text[-80:]}"
