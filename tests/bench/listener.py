"""A websocket client that checks each event against the ones before it."""

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
"""The compared columns."""
PAUSE_SECONDS: Final = 0.2
"""Delay of a reconnect."""
SHOWN: Final = 20
"""Maximum number of violations that are kept as text."""

Row = dict[str, Any]


class Listener:
    """Reconnects whenever its connection closes, and recovers or reads the rows again.

    With `whole` it starts from the rows of GET /properties, and checks every event against them.
    Without, it starts empty, and accepts the first event of each property. The `old` values of an
    update have to equal the last ones received, its `price` has to rise (writers only raise it),
    and positions have to increase. Violations are in `wrong`.
    """

    def __init__(self, site: Site, name: str, *, whole: bool) -> None:
        self.name = name
        self.rows: dict[str, Row] = {}
        self.counts: Counter[str] = Counter()
        """created, updated, deleted, cut (closed connections), recovered, reread, wrong."""
        self.wrong: list[str] = []
        self.states: list[tuple[float, str]] = []
        """Monotonic seconds and state of each `bridge-status`."""
        self.received: deque[tuple[float, str, str, Any]] = deque(maxlen=100_000)
        """Monotonic seconds, event, property and `data` of each event."""
        self.connected = asyncio.Event()
        """Set while it is connected and has recovered or read the rows."""
        self._site = site
        self._whole = whole
        self._pid: str | None = None
        self._offset: str | None = None
        self._snapshot_position = ""  # position of the rows: earlier events are contained in them
        self._buffered: list[list[Any]] | None = None  # events received while reading the rows

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
        """Return the properties that differ from `table`; unless `whole`, only received ones."""
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
                        reading = asyncio.create_task(self._read_rows())
                elif frame.startswith("44"):
                    self._report(f"rejected: {frame}")
        finally:
            if reading is not None:
                reading.cancel()

    async def _read_rows(self) -> None:
        """Read the rows, then apply the events received meanwhile."""
        self.counts["reread"] += 1
        if self._whole:
            self._buffered = []
            self._snapshot_position, rows = await self._site.rows()
            self.rows = {row["property_id"]: _compared(row) for row in rows}
            waiting, self._buffered = self._buffered, None
            for parts in waiting:
                self._event(parts)
        self.connected.set()

    def _event(self, parts: list[Any]) -> None:
        name, envelope, position = parts
        if self._buffered is not None and name != "bridge-status":
            self._buffered.append(parts)
            return
        if name == "bridge-status":
            self.states.append((time.monotonic(), envelope["data"]["state"]))
            self._offset = position
            return
        if self._snapshot_position and _number(position) <= _number(self._snapshot_position):
            self._offset = position
            return
        if self._offset and _repeats(position, self._offset):
            self._report(f"{name} at {position} after {self._offset}")
        self._offset = position
        data = envelope["data"]
        self.received.append((time.monotonic(), name, data["property_id"], data))
        self._apply(name, data)

    def _apply(self, name: str, data: dict[str, Any]) -> None:
        key = data["property_id"]
        row = self.rows.get(key)
        if name == "property-created":
            self.counts["created"] += 1
            if row is not None:
                self._report(f"{key} created, but exists")
            self.rows[key] = _compared(data)
        elif name == "property-deleted":
            self.counts["deleted"] += 1
            if row is None and self._whole:
                self._report(f"{key} deleted, but does not exist")
            self.rows.pop(key, None)
        else:
            self.counts["updated"] += 1
            if row is None:
                if self._whole:
                    self._report(f"{key} updated, but does not exist")
                row = self.rows[key] = {}
            self._change(key, row, data["changes"])

    def _change(self, key: str, row: Row, changes: dict[str, dict[str, Any]]) -> None:
        for column, change in changes.items():
            if column not in COLUMNS:
                continue
            old, new = change["old"], change["new"]
            if column in row and row[column] != old:
                self._report(f"{key}: {column} was last {row[column]}, but old is {old}")
            if old == new or (column == "price" and new <= old):
                self._report(f"{key}: {column} from {old} to {new}")
            row[column] = new

    def _report(self, text: str) -> None:
        self.counts["wrong"] += 1
        if len(self.wrong) < SHOWN:
            self.wrong.append(f"{self.name}: {text}")


def _compared(row: Mapping[str, Any]) -> Row:
    return {column: row[column] for column in COLUMNS}


def _number(position: str) -> int:
    return int(position.rpartition("-")[2])


def _repeats(position: str, before: str) -> bool:
    same = position.rpartition("-")[0] == before.rpartition("-")[0]
    return same and _number(position) <= _number(before)
