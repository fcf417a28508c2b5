"""One joined channel: its subscription, the expiry of its token, and its outgoing frames."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import psycopg

from bridge.sandbox.realtime import bindings, pg_catalog, phoenix, subscriptions, tokens

if TYPE_CHECKING:
    import random
    from collections.abc import Coroutine, Mapping, Sequence

    from bridge.sandbox.realtime.faults import Faults

SUBSCRIBED = "Subscribed to PostgreSQL"

DATABASE_TIMEOUTS = '{:error, "Too many database timeouts"}'
"""The real server's message if the database does not accept a subscription in time. The channel
stays joined, and the subscription is retried."""

DATABASE_RETRY_DELAY = (5.0, 10.0)
"""Range of seconds until a subscription is retried after a database error."""

RESUBSCRIBE_DELAY = (1.0, 3.0)
"""Range of seconds between a new token and the new subscription."""


class Tenant(Protocol):
    """The server, as a channel uses it."""

    subscriptions: subscriptions.SubscriptionRegistry
    faults: Faults
    rng: random.Random

    @property
    def pace(self) -> float: ...

    async def wait_for_poller(self) -> None:
        """Return once the poller has started: with a slot, unless the publication is empty or the
        database away. On a cold server this takes about 2 s at pace 1.
        """
        ...


class FrameSink(Protocol):
    """The socket, as a channel uses it."""

    version: phoenix.PhoenixVersion

    def send(self, text: str) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...


class Channel:
    """A channel that was joined with the bindings `requested`.

    While `muted` is set, changes are discarded; all other frames are sent.
    """

    def __init__(
        self,
        tenant: Tenant,
        sink: FrameSink,
        *,
        topic: str,
        join_ref: str | None,
        token: tokens.AccessToken,
        requested: Sequence[Mapping[str, Any]],
    ) -> None:
        self.topic = topic
        self.join_ref = join_ref
        self.muted = False
        self.closed = False
        self._tenant = tenant
        self._sink = sink
        self._token = token
        self._requested = requested
        self._expiry: asyncio.Task[None] | None = None
        self._subscribing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Subscribe and schedule the token's expiry, in the background."""
        self._schedule_expiry()
        if self._requested:
            self._subscribing = self._sink.spawn(self._subscribe())

    def deliver(self, data: str, ids: list[int]) -> None:
        if self.muted:
            self._tenant.faults.muted += 1
        else:
            self._sink.send(phoenix.changes(self._sink.version, self.topic, data, ids))

    def stop(self) -> None:
        """Close the channel without a frame."""
        self.closed = True
        self._tenant.subscriptions.remove(self)
        for task in (self._expiry, self._subscribing):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    def close(self) -> None:
        """Close the channel with a `phx_close`."""
        self.stop()
        self._send_event("phx_close")

    def crash(self) -> None:
        """Close the channel with a `phx_error`."""
        self.stop()
        self._send_event("phx_error")

    def expire(self, message: str) -> None:
        """Close the channel as for an expired token: a `system` error, then `phx_close`."""
        self.system("error", message, extension="system")
        self.close()

    def fail(self, message: str) -> None:
        """Drop the subscription and send a `system` error; the channel stays joined."""
        self._tenant.subscriptions.remove(self)
        self.system("error", message)

    def system(self, status: str, message: str, extension: str = "postgres_changes") -> None:
        """Send a `system` message."""
        self._sink.send(
            phoenix.system(
                self._sink.version,
                self.topic,
                extension=extension,
                message=message,
                status=status,
                join_ref=self.join_ref,
            )
        )

    def send_close(self, ref: str | None) -> None:
        """Send the `phx_close` of the channel that was joined by `ref`; change no state."""
        self._sink.send(
            phoenix.frame(
                self._sink.version, self.topic, "phx_close", "{}", ref=ref, join_ref=ref
            )
        )  # fmt: skip

    def refresh_token(self, token: tokens.AccessToken) -> None:
        """Replace the token. The channel resubscribes after `RESUBSCRIBE_DELAY`, without a gap."""
        self._token = token
        self._schedule_expiry()
        self.resubscribe(self._tenant.rng.uniform(*RESUBSCRIBE_DELAY))

    @property
    def token(self) -> tokens.AccessToken:
        return self._token

    def resubscribe(self, after: float = 0.0) -> None:
        """Subscribe again after `after` seconds (scaled by the pace), unless already closed."""
        if not self._requested or self.closed:
            return
        if self._subscribing is not None:
            self._subscribing.cancel()
        self._subscribing = self._sink.spawn(self._subscribe(after * self._tenant.pace))

    def _send_event(self, event: str) -> None:
        self._sink.send(
            phoenix.frame(
                self._sink.version,
                self.topic,
                event,
                "{}",
                ref=self.join_ref,
                join_ref=self.join_ref,
            )
        )

    def _schedule_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._sink.spawn(self._expire_later(self._token.expires_at))

    async def _expire_later(self, expires_at: float) -> None:
        # At most 300 s per sleep: the wall clock may be set, and `exp` may exceed a timer's range.
        while (left := expires_at - time.time()) > 0:  # noqa: ASYNC110 - no event for the clock
            await asyncio.sleep(min(left, 300.0))
        self.expire(tokens.expired(expires_at, time.time()))

    async def _subscribe(self, after: float = 0.0) -> None:
        if after:
            await asyncio.sleep(after)
        try:
            parsed = [bindings.parse(raw) for raw in self._requested]
        except bindings.BindingError as error:
            self.fail(str(error))
            return
        await self._tenant.faults.wait_before_system()
        reader = pg_catalog.ReaderRole(self._token.role, orjson.dumps(self._token.claims).decode())
        while True:
            await self._tenant.wait_for_poller()
            try:
                self._tenant.faults.check_database()
                await self._tenant.subscriptions.check(parsed, reader.role)
            except subscriptions.SubscriptionRejected as error:
                self.fail(str(error))
                return
            except psycopg.Error:
                self.system("error", DATABASE_TIMEOUTS)
                rng, pace = self._tenant.rng, self._tenant.pace
                await asyncio.sleep(rng.uniform(*DATABASE_RETRY_DELAY) * pace)
            else:
                break
        self.muted = self._tenant.faults.mutes_new_channels
        self._tenant.subscriptions.add(
            self, [subscriptions.RealtimeSubscription(self, binding, reader) for binding in parsed]
        )
        self.system("ok", SUBSCRIBED)
