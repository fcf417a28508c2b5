"""A source and a table under a test's control, entries to publish, and clients by sid."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from bridge.changes import Change, Gap, GapReason, Op
from bridge.events import Event
from bridge.gateway.build import build_gateway
from bridge.gateway.client import ClientSession, Connection
from bridge.gateway.hub import Hub
from bridge.log.base import Entry, Position
from bridge.log.memory import MemoryEventLog
from bridge.options import authenticator, gateway_options
from bridge.rights import UNRESTRICTED
from bridge.rooms import rooms_of
from bridge.settings import Settings
from bridge.source.base import ReadRights, SourceState, SourceStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bridge.changes import Key, Record
    from bridge.contract.parse import RoomSelection
    from bridge.events import EventName
    from bridge.gateway.gateway import Gateway
    from bridge.gateway.recovery.sessions import RecoverySession, RecoverySessions
    from bridge.gateway.subscription import Subscription
    from bridge.rights import Rights
    from bridge.source.change_queue import ChangeQueue

KEY = "sb_secret_of_the_tests"
AT = "2026-01-05T09:00:00Z"


def settings(**overrides: Any) -> Settings:
    """Return settings of a bridge that sends no request to Supabase."""
    overrides.setdefault("log", "memory:")
    return Settings(supabase_url="http://127.0.0.1:9", supabase_secret_key=KEY, **overrides)


def row(key: Key, **columns: Any) -> dict[str, Any]:
    """Return a whole row of the table; `state` is TX unless given."""
    return {
        "id": key,
        "name": f"Listing {key}",
        "city": "Austin",
        "state": "TX",
        "price": 1_000_000,
        "units": 10,
        "latitude": 30.0,
        "longitude": -97.0,
        "created_at": AT,
        "address": None,
        "status": "available",
        "updated_at": AT,
        **columns,
    }


def entry(
    seq: int, *regions: str, key: Key = "p1", name: EventName = "property-updated", **data: Any
) -> Entry:
    """An entry with an event of property `key` in `regions`; `data` goes into its envelope."""
    event = property_event(name, key, regions, {"property_id": key, "seq": seq, **data})
    return Entry(Position("test", seq), event, 0.0)


def property_event(
    name: EventName, key: Key, regions: Sequence[str], data: dict[str, Any]
) -> Event:
    """An event of property `key` in `regions`, with the facts that `data` has."""
    moved = data.get("moved") or {"from": regions, "to": regions}
    return Event(
        name,
        key,
        rooms_of(key, regions),
        orjson.dumps({"event": name, "data": data}),
        regions_before=() if name == "property-created" else tuple(moved["from"]),
        regions_after=() if name == "property-deleted" else tuple(moved["to"]),
        changed=tuple(data.get("changes", ())),
    )


def build(configured: Settings | None = None, **parts: Any) -> Gateway:
    """A gateway of these settings, with a log in memory and the settings' authenticator unless
    `parts` has others.
    """
    configured = configured or settings()
    parts.setdefault("log", MemoryEventLog(configured.log_events, configured.log_seconds))
    parts.setdefault("authenticator", authenticator(configured))
    return build_gateway(gateway_options(configured), **parts)


def client_session(sid: str, *, batching: bool = False) -> ClientSession:
    """A client that is in no registry, on a connection without a transport."""
    return ClientSession(sid, Connection(f"connection of {sid}"), batching=batching)


class HubBySid:
    """A hub with clients that are made and named by their sids."""

    def __init__(
        self, *, deliver: Callable[[Entry, Collection[str]], None], **options: Any
    ) -> None:
        self.client_of: dict[str, ClientSession] = {}
        self.hub = Hub(
            deliver=lambda entry, clients: deliver(entry, [client.sid for client in clients]),
            **options,
        )
        self.publish = self.hub.publish
        self.counts = self.hub.counts

    def join(
        self,
        sid: str,
        selection: RoomSelection,
        *,
        rights: Rights = UNRESTRICTED,
        batching: bool = False,
    ) -> Subscription:
        return self.hub.join(self._client(sid, batching=batching), selection, rights=rights)

    def restore(self, sid: str, subscription: Subscription, *, batching: bool = False) -> None:
        self.hub.restore(self._client(sid, batching=batching), subscription)

    def subscribe(self, sid: str, selection: RoomSelection) -> Subscription:
        return self.hub.subscribe(self.client_of[sid], selection)

    def unsubscribe(self, sid: str, selection: RoomSelection) -> Subscription:
        return self.hub.unsubscribe(self.client_of[sid], selection)

    def set_rights(self, sid: str, rights: Rights) -> Subscription:
        return self.hub.set_rights(self.client_of[sid], rights)

    def remove(self, sid: str) -> None:
        if sid in self.client_of:
            self.hub.remove(self.client_of[sid])

    def subscription(self, sid: str) -> Subscription | None:
        client = self.client_of.get(sid)
        return None if client is None else client.subscription

    def recipients(self, rooms: Iterable[str]) -> list[str]:
        return [client.sid for client in self.hub.recipients(rooms)]

    @property
    def sids(self) -> list[str]:
        """The sids of clients that have joined."""
        return [sid for sid, client in self.client_of.items() if client.subscription is not None]

    def _client(self, sid: str, *, batching: bool) -> ClientSession:
        client = self.client_of.get(sid)
        if client is None or client.subscription is None:
            client = self.client_of[sid] = client_session(sid, batching=batching)
        return client


class SessionsBySid:
    """Recovery sessions that are named by their clients' sids."""

    sessions: RecoverySessions

    def __init__(self) -> None:
        self.session_of: dict[str, RecoverySession] = {}

    def open(self, sid: str, subscription: Subscription, head: Position) -> RecoverySession:
        session = self.session_of[sid] = self.sessions.open(sid, subscription, head)
        return session

    def changed(self, sid: str, subscription: Subscription, head: Position) -> bool:
        return self.sessions.change(self.session_of[sid], subscription, head)

    def disconnected(self, sid: str, now: float) -> None:
        self.sessions.disconnected(self.session_of[sid], now)

    def end(self, sid: str) -> None:
        self.sessions.end(self.session_of[sid])


class FakeSource:
    """A source that is live while it runs, until `become`. `fail(error)` makes `run` raise."""

    def __init__(self) -> None:
        self.inbox: ChangeQueue | None = None
        self.begun = asyncio.Event()
        """Set once it is live."""
        self._state = SourceState.CONNECTING
        self._since = time.monotonic()
        self._failure: asyncio.Future[None] | None = None
        self.connects = True
        """Whether `run` gets as far as being live."""

    def status(self) -> SourceStatus:
        return SourceStatus(self._state, self._since)

    def become(self, state: SourceState) -> None:
        self._state, self._since = state, time.monotonic()

    async def run(self, inbox: ChangeQueue) -> None:
        while not self.connects:
            await asyncio.sleep(0.01)
        self.inbox = inbox
        self._failure = asyncio.get_running_loop().create_future()
        self.become(SourceState.LIVE)
        self.begun.set()
        inbox.put_nowait(Gap(GapReason.SUBSCRIBED))
        await self._failure

    def fail(self, error: Exception) -> None:
        assert self._failure is not None
        self._failure.set_exception(error)

    def put(self, change: Change) -> None:
        assert self.inbox is not None
        self.inbox.put_nowait(change)


class FakeTable:
    """Rows in memory, in key order. `write` and `remove` return the change that a source yields."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.contents: dict[Any, dict[str, Any]] = {row["id"]: row for row in rows}
        self.opened = 0
        self.closed = 0

    def write(self, row: dict[str, Any]) -> Change:
        key = row["id"]
        op = Op.UPDATE if key in self.contents else Op.INSERT
        self.contents[key] = row
        record = {name: value for name, value in row.items() if name != "id"}
        return Change(op, key, record, AT)

    def remove(self, key: Key) -> Change:
        del self.contents[key]
        return Change(Op.DELETE, key, {}, AT)

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1

    async def page(self, after: Key | None, limit: int, up_to: Any = None) -> Sequence[Record]:
        keys = await self.keys(after, limit)
        return [self.contents[key] for key in keys if up_to is None or key <= up_to]

    async def keys(self, after: Key | None, limit: int) -> Sequence[Key]:
        keys = sorted(self.contents)
        return [key for key in keys if after is None or key > after][:limit]

    async def rows(self, keys: Sequence[Key]) -> Sequence[Record]:
        return [self.contents[key] for key in keys if key in self.contents]

    async def recent(self, since: str, after: Key | None, limit: int) -> Sequence[Record]:
        found = sorted(
            (row for row in self.contents.values()),
            key=lambda row: (row["updated_at"], row["id"]),
        )
        start = (since, after)
        return [
            row
            for row in found
            if (after is None and row["updated_at"] >= since)
            or (after is not None and (row["updated_at"], row["id"]) > start)
        ][:limit]

    async def newest(self) -> Record | None:
        rows = self.contents.values()
        return max(rows, key=lambda row: (row["updated_at"], row["id"]), default=None)

    async def count(self) -> int:
        return len(self.contents)

    async def rights(self) -> ReadRights:
        return ReadRights("service_role", filtered=False)

    async def digest(self, after: Key | None, up_to: Key | None) -> str | None:
        return None  # the database has no function for it


class Everybody(Collection[str]):
    """A set of all users."""

    def __len__(self) -> int:
        return sys.maxsize

    def __contains__(self, user: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        raise NotImplementedError("an infinite set")
