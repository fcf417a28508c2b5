"""The Socket.IO edge: what clients may say and what they are answered. It only translates."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bridge.auth.authenticator import Access
from bridge.clock import SystemClock
from bridge.errors import Code, Refused
from bridge.events import Event
from bridge.gateway.connect import Arrival
from bridge.gateway.delivery.batcher import Window
from bridge.gateway.delivery.writer import Wire
from bridge.gateway.hub import Hub
from bridge.gateway.presence import Presence
from bridge.gateway.recovery.persistence import Keeper
from bridge.gateway.recovery.sessions import Sessions
from bridge.gateway.request_handlers import Requests
from bridge.gateway.snapshot import Snapshots
from bridge.gateway.socketio.server import Server
from bridge.gateway.token_expiry import Bearers
from bridge.gateway.upstream_status import Teller
from bridge.log.base import Entry
from bridge.log.memory import MemoryLog
from bridge.rows import Rows
from bridge.security.origins import Origins
from bridge.security.rate_limit import Pace, Rations
from bridge.security.rejection import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.types import Receive, Scope, Send

    from bridge.clock import Clock
    from bridge.gateway.upstream_status import Upstream
    from bridge.log.base import EventLog, SessionStore
    from bridge.rights import Rights
    from bridge.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.05
"""Between two looks at the upstream."""

READY_SECONDS: Final = 5.0
"""How long a request for a snapshot may wait for the first one that can be given."""


class Gateway:
    """Serves Socket.IO clients: an ASGI application. The pipeline's entries go into `publish`."""

    def __init__(
        self,
        settings: Settings,
        *,
        log: EventLog | None = None,
        store: SessionStore | None = None,
        rows: Rows | None = None,
        upstream: Callable[[], Upstream] | None = None,
        clock: Clock | None = None,
        access: Access | None = None,
        presence: Presence | None = None,
    ) -> None:
        """`log` and `rows` are the pipeline's: a client that comes back is told from the log, and
        snapshots are made of the rows. Clients can come back to another process if they are kept in
        a `store`. Without an `upstream` there are no snapshots, and nothing is said of its state.
        `access` is opened, run and closed with the gateway; without it, it is that of the settings,
        and sign-outs are not stored. `presence` is kept up to date with the users of clients.
        """
        presence = presence or Presence()
        self.log: EventLog = log or MemoryLog(settings.log_events, settings.log_seconds)
        self.sessions = Sessions(
            settings.recovery_seconds,
            settings.recovery_clients,
            settings.recovery_events,
            settings.recovery_bytes,
            presence=presence,
        )
        projection = settings.projection
        self.snapshots = Snapshots(
            Rows(projection.known) if rows is None else rows,
            projection,
            page_bytes=settings.snapshot_bytes,
        )
        self._settings = settings
        self._clock = clock or SystemClock()
        self.access = access or Access.of(settings, settings.supabase_url, clock=self._clock)
        self._keeper = None if store is None else Keeper(self.sessions, store, self._clock)
        self._upstream = upstream
        self._teller = Teller(self._clock.wall())
        self.rations = Rations(
            Pace(
                settings.snapshot_pages_per_second_per_address,
                settings.snapshot_pages_burst_per_address,
            ),
            self._clock,
        )
        self._open = True
        self._server = Server(
            edge=self,
            async_mode="asgi",
            cors_allowed_origins=partial(_allowed, Origins(settings.cors_origins)),
            # In order, and none while the client's one before it is at work.
            async_handlers=False,
            max_http_buffer_size=settings.message_bytes,
            logger=_quiet("bridge.gateway.socketio"),
            engineio_logger=_quiet("bridge.gateway.engineio"),
            waiting=settings.client_bytes,
        )
        self._wire = Wire(self._server, on_gone=self._gone)
        self.hub: Hub[str] = Hub(
            deliver=self._wire.deliver,
            max_rooms=settings.max_rooms,
            where=self.snapshots.where,
            presence=presence,
        )
        self._window = Window(
            deliver=self._wire.deliver,
            seconds=settings.batch_seconds,
            updated_at=projection.updated_at,
        )
        self._arrival = Arrival(
            server=self._server,
            wire=self._wire,
            hub=self.hub,
            window=self._window,
            sessions=self.sessions,
            log=self.log,
            clock=self._clock,
            updated_at=projection.updated_at,
            evicted=self._forget,
        )
        self._bearers = Bearers(
            self.access,
            hub=self.hub,
            clock=self._clock,
            warning=settings.token_warning_seconds,
            tell=self._tell_auth,
            part=self._part,
        )
        self._requests = Requests(
            hub=self.hub,
            wire=self._wire,
            window=self._window,
            sessions=self.sessions,
            snapshots=self.snapshots,
            bearers=self._bearers,
            log=self.log,
            clock=self._clock,
            keeper=self._keeper,
            rations=self.rations,
            ready=self.ready,
            address=self._server.address,
            rights_here=self.rights_here,
            per_second=settings.requests_per_second,
            burst=settings.requests_burst,
        )

    @property
    def cut_off(self) -> int:
        """Clients that were cut off because they didn't take their packets."""
        return self._wire.cut_off

    def recoveries(self) -> dict[str, int]:
        """How attempts to come back ended, and how many may still come."""
        counts = {outcome.value: count for outcome, count in self.sessions.outcomes.items()}
        return {**counts, "away": self.sessions.away}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._open:
            await Unavailable("The bridge is stopping.")(scope, receive, send)
            return
        await self._server.handle_request(scope, receive, send)

    def publish(self, entries: Sequence[Entry]) -> None:
        """Tell clients of entries, in the step of the loop in which the rows changed and the log's
        head moved.
        """
        self.snapshots.follow(entries)
        self.hub.publish(entries)
        self._window.add(entries)

    async def open(self) -> None:
        """Take up the clients and sign-outs of an earlier process. The log is open."""
        await self.access.open()
        if self._keeper is not None:
            await self._keeper.load(self.log.head.epoch)

    async def run(self) -> None:
        """Keep an eye on the upstream, the sessions and the keys of tokens, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.access.run(), name="keep keys fresh")
            if self._keeper is not None:
                tasks.create_task(self._keeper.run(), name="keep sessions")
            await self._watch()

    async def _watch(self) -> None:
        upstream = self._upstream
        while upstream is not None:
            look = upstream()
            if self._teller.look(look, self._clock.monotonic(), self._clock.wall()):
                self._tell_all()
            if look.reconciled and not self.snapshots.ready.is_set():
                await self.snapshots.build()
            self.sessions.expire(self._clock.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        """Take no more clients and end the connections of those that are there."""
        self._open = False
        self._window.flush()
        self._bearers.close()
        await self._wire.close()
        await self.access.close()
        if self._keeper is not None:
            await self._keeper.close()

    async def ready(self) -> None:
        """Wait a little until there are snapshots. Raises `Refused` if there won't be any soon."""
        if self._upstream is None:
            raise Refused(Code.NOT_SUPPORTED, "this bridge gives no snapshots")
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_SECONDS):
                await self.snapshots.ready.wait()

    async def sign_out(self, *, session_id: str | None = None, sub: str | None = None) -> int:
        """Refuse the tokens of one session, or those that a user was given until now, from here on
        and after a restart too, where the log is a file; end the connections of their bearers, and
        give how many these were. Either of the two has to be given.

        While the log can't be written this waits, though it holds already. Raises
        `errors.LogUnusable`.
        """
        if not (session_id or sub) or (session_id and sub):
            raise ValueError("expected either a session_id or a sub, and not an empty one")
        return await self._bearers.sign_out(session=session_id, user=sub)

    # -- what clients do ------------------------------------------------------------------------

    async def arrived(self, eio_sid: str, auth: Any) -> None:
        try:
            admission = await self._bearers.admit(auth, self._server.token(eio_sid))
        except Refused as refused:
            if refused.code is Code.NOT_READY:
                # Refused, a client would not try again by itself.
                self._server.part(eio_sid)
            else:
                self._arrival.refuse(eio_sid, refused)
            return
        # Nothing waits from here on.
        sid = self._arrival.arrived(eio_sid, auth, self.rights_here(admission.rights))
        if sid is None:
            return
        self._bearers.came(sid, admission.claims)
        if self._upstream is not None:
            self._wire.send_event(sid, "bridge-status", self._teller.envelope(), str(self.log.head))

    async def asked(self, sid: str, name: str, args: Sequence[Any], ack: int | None) -> None:
        await self._requests.answer(sid, name, args, ack)

    def left(self, sid: str, reason: str) -> None:
        if reason == self._server.reason.CLIENT_DISCONNECT:
            self.sessions.end(sid)
        self._away(sid)
        if reason == self._server.reason.PING_TIMEOUT:
            # Nobody is there to take what its connection still holds.
            self._wire.cut(sid)
        log.debug("client %s left: %s", sid, reason)

    def rights_here(self, rights: Rights) -> Rights:
        """The same, where this bridge tells members more than others; else in the one view that
        there is. All rights that come from outside go through here.
        """
        return rights if self._settings.member_columns else rights.in_one_view()

    # -- inside ---------------------------------------------------------------------------------

    def _away(self, sid: str) -> None:
        self.sessions.left(sid, self._clock.monotonic())
        self.hub.leave(sid)
        self._window.leave(sid)
        self._forget(sid)
        self._wire.detach(sid)

    def _forget(self, sid: str) -> None:
        """What is known of a client that is not here, and may never come back."""
        self._requests.left(sid)
        self._bearers.left(sid)

    def _gone(self, sid: str) -> None:
        if not self._server.stands(sid):  # else it has come back since, as who it was
            self._away(sid)

    def _tell_auth(self, sid: str, envelope: bytes) -> None:
        """Tell a client of its token, after all that it was told. With a position, as below."""
        self._window.flush_one(sid)
        self._wire.send_event(sid, "auth-status", envelope, str(self.log.head))

    def _part(self, sid: str) -> None:
        """End a client's connection, after all that it was told; it may come back."""
        self._wire.part(sid)
        self._away(sid)

    def _tell_all(self) -> None:
        """Tell every client of the upstream's state. It carries the log's position, since clients
        take the last argument for one, and everything up to there has been told before.
        """
        self._window.flush()
        event = Event("bridge-status", "", (), self._teller.envelope())
        self._wire.deliver(Entry(self.log.head, event, self._clock.wall()), self.hub.clients)


def _allowed(origins: Origins, origin: str | None, environ: Mapping[str, Any]) -> bool:
    return origins.allows(origin, environ.get("HTTP_HOST", ""))


def _quiet(name: str) -> logging.Logger:
    """A logger for a library. Given none, they set up a handler of their own, which scrubs nothing;
    at `info` they tell of every packet.
    """
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.WARNING)
    return logger
