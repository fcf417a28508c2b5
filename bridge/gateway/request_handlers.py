"""What clients ask for with an ack: `subscribe`, `unsubscribe`, `authenticate`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import orjson

from bridge.contract.parse import parse_page_cursor, parse_selection, parse_snapshot_flag
from bridge.errors import Code, LogUnusableError, RequestRejected
from bridge.security.rate_limit import Allowance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bridge.clock import Clock
    from bridge.gateway.delivery.batcher import Batcher
    from bridge.gateway.delivery.writer import ClientWriter
    from bridge.gateway.hub import Hub
    from bridge.gateway.recovery.persistence import SessionPersistence
    from bridge.gateway.recovery.sessions import RecoverySessions
    from bridge.gateway.snapshot import Snapshots
    from bridge.gateway.subscription import Subscription
    from bridge.gateway.token_expiry import TokenExpiry
    from bridge.log.base import EntryReader
    from bridge.rights import Rights
    from bridge.security.rate_limit import SnapshotQuota

log = logging.getLogger(__name__)


class RequestHandlers:
    """Answers requests. A client's subscription changes between two events and not during one: what
    was published before its ack comes before the ack, the rest after it.
    """

    def __init__(
        self,
        *,
        hub: Hub[str],
        wire: ClientWriter,
        window: Batcher,
        sessions: RecoverySessions,
        snapshots: Snapshots,
        bearers: TokenExpiry,
        log: EntryReader,
        clock: Clock,
        keeper: SessionPersistence | None,
        rations: SnapshotQuota,
        ready: Callable[[], Awaitable[None]],
        address: Callable[[str], str | None],
        rights_here: Callable[[Rights], Rights],
        per_second: float,
        burst: float,
    ) -> None:
        """`ready` waits for snapshots or raises `RequestRejected`; `address` is that of a client;
        `rights_here` makes of a token's rights those that count here. A client may make so many
        requests `per_second`, and a `burst` at once.
        """
        self._hub = hub
        self._wire = wire
        self._window = window
        self._sessions = sessions
        self._snapshots = snapshots
        self._bearers = bearers
        self._log = log
        self._clock = clock
        self._keeper = keeper
        self._rations = rations
        self._ready = ready
        self._address = address
        self._rights_here = rights_here
        self._per_second = per_second
        self._burst = burst
        self._allowances: dict[str, Allowance] = {}
        self._kept_back: set[str] = set()  # clients whose subscription is being stored
        self.by_name: dict[str, Callable[[str, Any], Awaitable[bytes]]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "authenticate": self._authenticate,
        }

    async def handle(self, sid: str, name: str, args: Sequence[Any], ack: int | None) -> None:
        """Answer a request. A fault of ours ends the connection: the client comes back and says
        again what it wants, instead of going on with who knows which subscription.
        """
        request = self.by_name.get(name)
        if request is None or self._hub.subscription(sid) is None:
            return  # not for us, or from a client that is being cut off
        try:
            self._count(sid)
            answer = await request(sid, _only(args))
        except RequestRejected as refused:
            answer = orjson.dumps(refused.to_ack())
        except Exception:
            log.exception("a request of client %s failed", sid)
            self._wire.abort(sid)
            return
        if ack is not None:
            self._window.flush_one(sid)
            self._wire.send_packet(sid, f"3{ack}[{answer.decode()}]")
        await self._stored(sid)

    def remove(self, sid: str) -> None:
        """The client is gone."""
        self._allowances.pop(sid, None)

    async def _subscribe(self, sid: str, argument: Any) -> bytes:
        what = parse_selection(argument)
        after = parse_page_cursor(argument)
        if not parse_snapshot_flag(argument):
            return self.subscription_changed(sid, self._hub.subscribe(sid, what))
        await self._ready()
        now = self._hub.subscription(sid)
        if now is None:
            raise RequestRejected(Code.NOT_READY, "the connection has ended")
        address = self._address(sid)
        self._rations.check(address)
        # Nothing waits from here to the ack.
        page = self._snapshots.page(what, after, now.rights)
        self._rations.charge(address, len(page.rows) / self._snapshots.page_bytes)
        ack = self.subscription_changed(sid, self._hub.subscribe(sid, what))
        rest: dict[str, str] = {"offset": str(self._log.head)}
        if page.more is not None:
            rest["more"] = page.more
        return b'%b,%b,"snapshot":[%b]}' % (ack[:-1], orjson.dumps(rest)[1:-1], page.rows)

    async def _unsubscribe(self, sid: str, argument: Any) -> bytes:
        return self.subscription_changed(sid, self._hub.unsubscribe(sid, parse_selection(argument)))

    async def _authenticate(self, sid: str, argument: Any) -> bytes:
        return await self._bearers.refresh(sid, argument, self._granted)

    def _granted(self, sid: str, rights: Rights) -> bool:
        """Give a client these rights, within a request of its; False if it had them."""
        now = self._hub.subscription(sid)
        here = self._rights_here(rights)
        if now is None or now.rights == here:
            return False
        self.subscription_changed(sid, self._hub.set_rights(sid, here))
        return True

    def subscription_changed(self, sid: str, subscription: Subscription) -> bytes:
        """A client's subscription was changed within a request; the ack says to what."""
        if self._sessions.changed(sid, subscription, self._log.head) and self._keeper is not None:
            self._wire.hold(sid)
            self._kept_back.add(sid)
        if sid in self._window:
            self._window.set(sid, subscription)
        return orjson.dumps(subscription.to_ack())

    async def _stored(self, sid: str) -> None:
        """Where the client's subscription was changed: wait until that is stored, and only then let
        it hear of it. Its next request waits for this one.
        """
        if sid not in self._kept_back or self._keeper is None:
            return
        self._kept_back.discard(sid)
        try:
            await self._keeper.store()
        except LogUnusableError:
            log.exception("the subscription of client %s could not be stored", sid)
            self._wire.abort(sid)
        else:
            self._wire.release(sid)

    def _count(self, sid: str) -> None:
        now = self._clock.monotonic()
        allowance = self._allowances.get(sid)
        if allowance is None:
            allowance = self._allowances[sid] = Allowance.full(self._per_second, self._burst, now)
        if not allowance.take(now):
            raise RequestRejected(
                Code.RATE_LIMITED,
                f"expected at most {allowance.per_second:g} requests per second",
            )


def _only(args: Sequence[Any]) -> Any:
    if len(args) > 1:
        raise RequestRejected(Code.BAD_REQUEST, f"expected one argument, came {len(args)}")
    return args[0] if args else None
