"""A model of the world: a table with its history, a stream with delays and losses, a client."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from bridge.changes import Change, Op
from bridge.events import Event
from bridge.projection import Projection
from tests.support.model_client import ModelClient

PROJECTION = Projection(key="id", published=("name", "state", "price", "notes"), region=("state",))
LARGE = "notes"
NULL_COLUMNS = frozenset({"city", "units", "latitude", "longitude", "created_at"})
"""Columns of the contract that the projection does not publish; events have null there."""

Row = dict[str, Any]


def stamp(number: int) -> str:
    return f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}Z"


@dataclass
class World:
    """The table, all states that each row had, and the changes that the stream has to deliver."""

    full_identity: bool
    table: dict[str, Row] = field(default_factory=dict)
    history: dict[str, list[Row | None]] = field(default_factory=dict)
    stream: deque[Change] = field(default_factory=deque)
    commits: int = 0
    silent: bool = False
    backdates: bool = False  # a row was written without a new `updated_at`

    def put(self, key: str, *, backdated: bool = False, **values: Any) -> None:
        """Insert or update a row, and queue the change in the stream. `backdated`: its `updated_at`
        does not move, or is old.
        """
        self.commits += 1
        before = self.table.get(key)
        row = {"name": None, "state": None, "price": None, LARGE: None, **(before or {}), **values}
        row["updated_at"] = stamp(self.commits)
        if backdated:
            self.backdates = True
            row["updated_at"] = stamp(0) if before is None else before["updated_at"]
        self.table[key] = row
        self.history.setdefault(key, [None]).append(row)
        record = dict(row)
        if before is not None and before[LARGE] == row[LARGE] and not self.full_identity:
            del record[LARGE]  # unchanged TOAST
        op = Op.INSERT if before is None else Op.UPDATE
        old = dict(before) if before is not None and self.full_identity else None
        self.stream.append(Change(op, key, record, stamp(self.commits), old))

    def remove(self, key: str, *, silently: bool = False) -> None:
        """Delete a row; TRUNCATE does so `silently`."""
        self.commits += 1
        del self.table[key]
        self.history[key].append(None)
        self.silent |= silently
        if not silently:
            self.stream.append(Change(Op.DELETE, key, {}, stamp(self.commits)))

    def read(self, key: str) -> Row | None:
        row = self.table.get(key)
        return None if row is None else {"id": key, **row}


class Client(ModelClient):
    """Receives events of the log, and fails at the first one that does not follow."""

    def __init__(self) -> None:
        super().__init__(PROJECTION, null_columns=NULL_COLUMNS)
        self.load({})

    def receive_event(self, event: Event) -> None:
        envelope = json.loads(event.envelope)
        assert envelope["event"] == event.name
        self.receive(envelope)
        assert not self.violations, str(self.violations[0])


def published(table: dict[str, Row]) -> dict[str, Row]:
    return {key: {c: row[c] for c in PROJECTION.published} for key, row in table.items()}
