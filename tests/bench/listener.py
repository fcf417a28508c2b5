"""A client on a websocket that believes nothing: each event has to follow from those before it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from websockets.asyncio.client import ClientConnection

    from tests.bench.site import Site

COLUMNS: Final = ("name", "city", "state", "price", "units", "status")
"""Those that are compared."""
PAUSE_SECONDS: Final = 0.2
"""Before it connects again."""
SHOWN: Final = 20
"""Violations whose text is kept."""

Row = dict[str, Any]


class Listener:
    """Connects again whenever its connection ends, and recovers, or reads the rows anew.

    `whole`: it begins with the rows of GET /properties, and every event is checked against them.
    Without it only what was heard before is known, and the first event of a property is believed.
    Every update has to name as old what was told last, and to raise `price`, which writers must do;
    positions have to grow. What does not is in `wrong`.
    """

    def __init__(self, site: Site, name: str, *, whole: bool) -> None:
        self.name = name
        self.rows: dict[str, Row] = {}
        self.counts: Counter[str] = Counter()
        """created, updated, deleted, cut (connections that ended), recovered, anew, wrong."""
        self.wrong: list[str] = []
        self.states: list[tuple[float, str]] = []
        """What `bridge-status` said, and when (monotonic seconds)."""
        self.heard: deque[tuple[float, str, str, Any]] = deque(maxlen=100_000)
        """When (monotonic seconds), the event, the property, and its `data`."""
        self.connected = asyncio.Event()
        """Set while it is connected and knows what it has to know."""
        self._site = site
        self._whole = whole
        self._pid: str | None = None
        self._offset: str | None = None
        self._passed = ""  # events up to here are in the rows that were read
        self._reading: list[list[Any]] | None = None  # what came while they were read

    async def run(self) -> None:
        address = self._site.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        while True:
            try:
                async with connect(address, max_size=None, compression=None) as socket:
                    await self._listen(socket)
            except (OSError, ConnectionClosed):
                pass
            finally:
                self.connected.clear()
            self.counts["cut"] += 1
            await asyncio.sleep(PAUSE_SECONDS)

    def differs(self, table: Mapping[str, Row]) -> list[str]:
        """Properties of which it holds something else than `table`: only those that it has heard
        of, where it is not `whole`.
        """
        keys = table.keys() | self.rows.keys() if self._whole else self.rows.keys()
        return [key for key in keys if self.rows.get(key) != table.get(key)]

    async def _listen(self, socket: ClientConnection) -> None:
        reading: asyncio.Task[None] | None = None
        try:
            async for frame in socket:
                assert isinstance(frame, str)
                if frame.startswith("42"):
                    self._event(orjson.loads(frame[2:]))
                elif frame.startswith("0"):
                    known = {"pid": self._pid, "offset": self._offset} if self._offset else {}
                    await socket.send("40" + orjson.dumps(known).decode())
                elif frame == "2":
                    await socket.send("3")
                elif frame.startswith("40"):
                    pid = orjson.loads(frame[2:])["pid"]
                    if pid == self._pid:
                        self.counts["recovered"] += 1
                        self.connected.set()
                    else:
                        self._pid, self._offset = pid, None
                        reading = asyncio.create_task(self._begin())
                elif frame.startswith("44"):
                    self._violate(f"refused: {frame}")
        finally:
            if reading is not None:
                reading.cancel()

    async def _begin(self) -> None:
        """Take the rows as they are, then what came meanwhile."""
        self.counts["anew"] += 1
        if self._whole:
            self._reading = []
            self._passed, rows = await self._site.rows()
            self.rows = {row["property_id"]: _known(row) for row in rows}
            waiting, self._reading = self._reading, None
            for parts in waiting:
                self._event(parts)
        self.connected.set()

    def _event(self, parts: list[Any]) -> None:
        name, envelope, position = parts
        if self._reading is not None and name != "bridge-status":
            self._reading.append(parts)
            return
        if name == "bridge-status":
            self.states.append((time.monotonic(), envelope["data"]["state"]))
            self._offset = position
            return
        if self._passed and _number(position) <= _number(self._passed):
            self._offset = position
            return
        if self._offset and _again(position, self._offset):
            self._violate(f"{name} at {position} after {self._offset}")
        self._offset = position
        data = envelope["data"]
        self.heard.append((time.monotonic(), name, data["property_id"], data))
        self._apply(name, data)

    def _apply(self, name: str, data: dict[str, Any]) -> None:
        key = data["property_id"]
        row = self.rows.get(key)
        if name == "property-created":
            self.counts["created"] += 1
            if row is not None:
                self._violate(f"{key} created, and was there")
            self.rows[key] = _known(data)
        elif name == "property-deleted":
            self.counts["deleted"] += 1
            if row is None and self._whole:
                self._violate(f"{key} deleted, and was not there")
            self.rows.pop(key, None)
        else:
            self.counts["updated"] += 1
            if row is None:
                if self._whole:
                    self._violate(f"{key} updated, and was not there")
                row = self.rows[key] = {}
            self._change(key, row, data["changes"])

    def _change(self, key: str, row: Row, changes: dict[str, dict[str, Any]]) -> None:
        for column, change in changes.items():
            if column not in COLUMNS:
                continue
            old, new = change["old"], change["new"]
            if column in row and row[column] != old:
                self._violate(f"{key}: {column} was told as {row[column]}, and is old as {old}")
            if old == new or (column == "price" and new <= old):
                self._violate(f"{key}: {column} from {old} to {new}")
            row[column] = new

    def _violate(self, text: str) -> None:
        self.counts["wrong"] += 1
        if len(self.wrong) < SHOWN:
            self.wrong.append(f"{self.name}: {text}")


def _known(row: Mapping[str, Any]) -> Row:
    return {column: row[column] for column in COLUMNS}


def _number(position: str) -> int:
    return int(position.rpartition("-")[2])


def _again(position: str, before: str) -> bool:
    same = position.rpartition("-")[0] == before.rpartition("-")[0]
    return same and _number(position) <= _number(before)
