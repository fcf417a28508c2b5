"""A story told by events: the client who hears it, the truth behind it, and whether they agree."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from bridge.rooms import regions_of
from bridge.source.normalize import normalize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bridge.changes import Key
    from bridge.log.base import Entry
    from bridge.projection import Projection

Row: TypeAlias = dict[str, Any]
"""The published columns of a property."""

MARK = "not-for-clients"
"""In every value that the writer puts into a column that is not published."""


class Truth:
    """Every state that each property was committed in, in order; None: there was none."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self.now: dict[Key, Row] = {}
        self.past: dict[Key, list[Row | None]] = {}
        self.commits = 0

    def begin(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """What is in the table before the story."""
        for raw in rows:
            key, row = self._read(raw)
            self.now[key] = row
            self.past[key] = [row]

    def commit(self, raw: Mapping[str, Any]) -> None:
        """A row was written; `raw` is `to_jsonb` of it."""
        key, row = self._read(raw)
        self.commits += 1
        past = self.past.setdefault(key, [None])
        if past[-1] != row:
            past.append(row)
        self.now[key] = row

    def remove(self, key: Key) -> None:
        self.commits += 1
        del self.now[key]
        self.past[key].append(None)

    def reread(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """The whole table, where it is not known what became of the last statements."""
        found = dict(map(self._read, rows))
        for key in [*found, *self.now]:
            row = found.get(key)
            past = self.past.setdefault(key, [None])
            if past[-1] != row:
                past.append(row)
        self.now = found

    def _read(self, raw: Mapping[str, Any]) -> tuple[Key, Row]:
        published = self._projection.published
        return raw[self._projection.key], {c: normalize(raw[c]) for c in published}


class Client:
    """Applies events as a browser would, and complains of what can't be true."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._heard = asyncio.Event()
        self._listening = False
        self.rows: dict[Key, Row] = {}
        self.told: dict[Key, list[Row | None]] = {}
        self.sequence: list[Row | None] = []  # the states told of all properties, in order
        self.complaints: list[str] = []

    @property
    def events(self) -> int:
        return len(self.sequence)

    def begin(self, snapshot: Mapping[Key, Mapping[str, Any]]) -> None:
        """A snapshot; what was told before it is in it."""
        for key, row in snapshot.items():
            self.rows[key] = {c: row[c] for c in self._projection.published}
            self.told[key] = [dict(self.rows[key])]
        self._listening = True

    def hear(self, entries: Sequence[Entry]) -> None:
        """Takes the place of `Hub.publish`."""
        if not self._listening:
            return
        for entry in entries:
            text = entry.event.envelope.decode()
            if MARK in text:
                self._complain(entry.event.key, "an unpublished value came")
            self._apply(json.loads(text))
        self._heard.set()

    async def until(self, reached: Callable[[], bool], seconds: float) -> float:
        """Wait until something heard makes `reached` true: how long that took. Raises
        `TimeoutError`.
        """
        began = time.monotonic()
        async with asyncio.timeout(seconds):
            while not reached():
                self._heard.clear()
                await self._heard.wait()
        return time.monotonic() - began

    def _apply(self, envelope: Mapping[str, Any]) -> None:
        data = dict(envelope["data"])
        key = data.pop("property_id")
        known = self.rows.get(key)
        match envelope["event"]:
            case "property-created":
                self._created(key, known, data)
            case "property-deleted":
                if self.rows.pop(key, None) is None:
                    self._complain(key, "deleted, and was not known")
                self._say_exactly(key, data, {"deleted_at"})
            case "property-updated":
                self._updated(key, known, data)
            case other:
                self._complain(key, f"an event {other}")
        state = dict(self.rows[key]) if key in self.rows else None
        self.told.setdefault(key, [None]).append(state)
        self.sequence.append(state)

    def _created(self, key: Key, known: Row | None, data: Row) -> None:
        if known is not None:
            self._complain(key, "created, and was known")
        self._say_exactly(key, data, set(self._projection.published))
        self.rows[key] = data

    def _updated(self, key: Key, known: Row | None, data: Row) -> None:
        self._say_exactly(key, data, {"changes", "updated_at"}, {"moved", "property"})
        if known is None:
            self._complain(key, "updated, and was not known")
            return
        before = regions_of(known, self._projection.region)
        self._say_exactly(key, data["changes"], set(), set(self._projection.published))
        for column, change in data["changes"].items():
            if known.get(column) != change["old"]:
                self._complain(key, f"{column} was not {str(change['old'])[:50]}")
            if change["old"] == change["new"]:
                self._complain(key, f"{column} did not change")
            known[column] = change["new"]
        if not data["changes"]:
            self._complain(key, "updated, and nothing changed")
        after = regions_of(known, self._projection.region)
        moved = {"from": list(before), "to": list(after)} if before != after else None
        if data.get("moved") != moved:
            self._complain(key, f"moved {moved}, told {data.get('moved')}")
        if moved and data["property"] != {"property_id": key, **known}:
            self._complain(key, "moved, and the whole property is another one")

    def _say_exactly(
        self, key: Key, data: Mapping[str, Any], needed: set[str], possible: set[str] | None = None
    ) -> None:
        missing = needed - data.keys()
        extra = data.keys() - needed - (possible or set())
        if missing or extra:
            self._complain(key, f"fields missing {sorted(missing)}, too many {sorted(extra)}")

    def _complain(self, key: Key, what: str) -> None:
        self.complaints.append(f"{key}: {what}")


@dataclass
class Verdict:
    """How what was told compares with what was. `lost` counts properties, the others events.

    `blended`: told with values that it had, but not all at one time.
    """

    lost: int = 0
    repeated: int = 0
    disordered: int = 0
    blended: int = 0
    invented: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self == Verdict()


def judge(truth: Truth, client: Client) -> Verdict:
    """The told states of a property have to be a subsequence of its committed ones, the last
    included.
    """
    verdict = Verdict(complaints=client.complaints)
    keys = truth.now.keys() | client.rows.keys()
    verdict.lost = sum(truth.now.get(key) != client.rows.get(key) for key in keys)
    for key, told in client.told.items():
        past = truth.past.get(key, [None])
        at = -1
        for state in told:
            later = next((n for n in range(at + 1, len(past)) if past[n] == state), None)
            if later is not None:
                at = later
            elif at >= 0 and past[at] == state:
                verdict.repeated += 1
            elif state in past:
                verdict.disordered += 1
            elif state is not None and _blended(state, past[max(at, 0) :]):
                verdict.blended += 1
            else:
                verdict.invented += 1
    return verdict


def _blended(state: Row, past: Sequence[Row | None]) -> bool:
    """Whether each value of `state` is of some state from the last told one on."""
    return all(any(p is not None and p[c] == state[c] for p in past) for c in state)
