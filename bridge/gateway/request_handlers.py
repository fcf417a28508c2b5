"""Handlers of the requests that clients send with an ack: `subscribe`, `unsubscribe`,
`authenticate`.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from bridge.contract.parse import parse_page_cursor, parse_selection, parse_snapshot_flag
from bridge.errors import Code, LogUnusableError, RequestRejected
from bridge.security.rate_limit import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from bridge.clock import Clock
    from bridge.gateway.client import ClientSession
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

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """How many requests one client may send: `per_second`, and a `burst` at once."""

    per_second: float
    burst: float


class RequestHandlers:
    """Handles requests. A subscription changes between two events: what was published before the
    ack is delivered before it, the rest after it.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        writer: ClientWriter,
        batcher: Batcher,
        sessions: RecoverySessions,
        persistence: SessionPersistence | None,
        snapshots: Snapshots,
        quota: RateLimiter,
        token_expiry: TokenExpiry,
        log: EntryReader,
        clock: Clock,
        limits: RequestLimits,
        effective_rights: Callable[[Rights], Rights],
    ) -> None:
        """`effective_rights` returns the rights that apply in this bridge for those of a token."""
        self._hub = hub
        self._writer = writer
        self._batcher = batcher
        self._sessions = sessions
        self._persistence = persistence
        self._snapshots = snapshots
        self._quota = quota
        self._token_expiry = token_expiry
        self._log = log
        self._clock = clock
        self._effective_rights = effective_rights
        # Clients are removed from it, so their number needs no bound here.
        self._limiter = RateLimiter(limits.per_second, limits.burst, max_keys=sys.maxsize)
        self.by_name: dict[str, Callable[[ClientSession, Any], Awaitable[bytes]]] = {
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "authenticate": self._authenticate,
        }

    @property
    def limited_clients(self) -> int:
        """Number of clients with a rate limit bucket that is not full."""
        return len(self._limiter)

    async def handle(
        self, client: ClientSession, name: str, args: Sequence[Any], ack: int | None
    ) -> None:
        """Handle a request and send its ack, whatever happens. An internal error that may have
        changed the subscription ends the connection after the ack: the client reconnects and
        subscribes again, instead of going on with an unknown subscription.
        """
        request = self.by_name.get(name)
        before = client.subscription
        if request is None or before is None:
            return  # another event, or the client has been removed
        failed = False
        try:
            self._limit(client)
            answer = await request(client, _single(args))
        except RequestRejected as rejection:
            answer = orjson.dumps(rejection.to_ack())
        except Exception:
            log.exception("a request of client %s failed", client.sid)
            failed = True
            answer = orjson.dumps(RequestRejected.by_failure().to_ack())
        if ack is not None:
            self._batcher.flush_one(client)
            self._writer.send_packet(client, f"3{ack}[{answer.decode()}]")
        if failed and client.subscription is not before:
            self._writer.release(client)
            self._writer.close(client)
            return
        await self._store(client)

    def remove(self, client: ClientSession) -> None:
        self._limiter.remove(client)

    async def _subscribe(self, client: ClientSession, argument: Any) -> bytes:
        selection = parse_selection(argument)
        after = parse_page_cursor(argument)
        if not parse_snapshot_flag(argument):
            return self.subscription_changed(client, self._hub.subscribe(client, selection))
        await self._snapshots.wait_ready()
        subscription = client.subscription
        if subscription is None:
            raise RequestRejected(Code.NOT_READY, "the connection has ended")
        address = client.connection.address
        self._quota.check(address, self._clock.monotonic())
        # No await from here to the ack: rows, subscription and position belong together.
        page = self._snapshots.page(selection, after, subscription.rights)
        pages = len(page.rows) / self._snapshots.page_bytes
        self._quota.charge(address, self._clock.monotonic(), pages)
        ack = self.subscription_changed(client, self._hub.subscribe(client, selection))
        rest: dict[str, str] = {"offset": str(self._log.head)}
        if page.more is not None:
            rest["more"] = page.more
        return b'%b,%b,"snapshot":[%b]}' % (ack[:-1], orjson.dumps(rest)[1:-1], page.rows)

    async def _unsubscribe(self, client: ClientSession, argument: Any) -> bytes:
        selection = parse_selection(argument)
        return self.subscription_changed(client, self._hub.unsubscribe(client, selection))

    async def _authenticate(self, client: ClientSession, argument: Any) -> bytes:
        return await self._token_expiry.refresh(client, argument, self._grant)

    def _grant(self, client: ClientSession, rights: Rights) -> bool:
        """Set the rights of a client during its request; False if it has them already."""
        subscription = client.subscription
        effective = self._effective_rights(rights)
        if subscription is None or subscription.rights == effective:
            return False
        self.subscription_changed(client, self._hub.set_rights(client, effective))
        return True

    def subscription_changed(self, client: ClientSession, subscription: Subscription) -> bytes:
        """Pass on a subscription that was changed during a request, and return the ack."""
        changed = client.recovery is not None and self._sessions.change(
            client.recovery, subscription, self._log.head
        )
        if changed and self._persistence is not None:
            self._writer.hold(client)
            client.storing = True
        if client.batching:
            self._batcher.set(client)
        return orjson.dumps(subscription.to_ack())

    async def _store(self, client: ClientSession) -> None:
        """If the client's subscription was changed: wait until it is stored, and only then send
        the ack and what follows it. The client's next request waits for this one.
        """
        if not client.storing or self._persistence is None:
            return
        client.storing = False
        try:
            await self._persistence.store()
        except LogUnusableError:
            log.exception("the subscription of client %s could not be stored", client.sid)
            self._writer.abort(client)
        else:
            self._writer.release(client)

    def _limit(self, client: ClientSession) -> None:
        if self._limiter.acquire(client, self._clock.monotonic()):
            raise RequestRejected(
                Code.RATE_LIMITED,
                f"expected at most {self._limiter.per_second:g} requests per second",
            )


def _single(args: Sequence[Any]) -> Any:
    if len(args) > 1:
        raise RequestRejected(Code.BAD_REQUEST, f"expected one argument, received {len(args)}")
    return args[0] if args else None
