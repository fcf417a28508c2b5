"""One joined channel: its subscription, its token's lifetime, and what it is sent."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import psycopg

from bridge.sandbox.realtime import bindings, phoenix, subscriptions, tokens
from bridge.sandbox.realtime import pg_catalog as catalog

if TYPE_CHECKING:
    import random
    from collections.abc import Coroutine, Mapping, Sequence

    from bridge.sandbox.realtime.faults import Faults

SUBSCRIBED = "Subscribed to PostgreSQL"

DATABASE_RETRY = (5.0, 10.0)
"""Seconds until a subscription that met a database error is tried again."""

RESUBSCRIBE = (1.0, 3.0)
"""Seconds until a new token is followed by a new subscription."""


class Tenant(Protocol):
    """What a channel needs of the server."""

    subscriptions: subscriptions.SubscriptionRegistry
    faults: Faults
    dice: random.Random

    @property
    def pace(self) -> float: ...

    async def warm(self) -> None:
        """Return once a slot exists; takes seconds for whoever comes first."""
        ...


class FrameSink(Protocol):
    """What a channel needs of its socket."""

    version: phoenix.Version

    def send(self, text: str) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]: ...


class Channel:
    """`muted` may be set by anyone: nothing but changes is held back then, and they are lost."""

    def __init__(
        self,
        tenant: Tenant,
        wire: FrameSink,
        *,
        topic: str,
        join_ref: str | None,
        token: tokens.AccessToken,
        wanted: Sequence[Mapping[str, Any]],
    ) -> None:
        self.topic = topic
        self.join_ref = join_ref
        self.muted = False
        self.closed = False
        self._tenant = tenant
        self._wire = wire
        self._token = token
        self._wanted = wanted
        self._expiry: asyncio.Task[None] | None = None
        self._subscribing: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Subscribe, and watch the token, in the background."""
        self._watch_token()
        if self._wanted:
            self._subscribing = self._wire.spawn(self._subscribe())

    def deliver(self, data: str, ids: list[int]) -> None:
        if self.muted:
            self._tenant.faults.muted += 1
        else:
            self._wire.send(phoenix.changes(self._wire.version, self.topic, data, ids))

    def stop(self) -> None:
        """End it without a word."""
        self.closed = True
        self._tenant.subscriptions.remove(self)
        for task in (self._expiry, self._subscribing):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    def close(self) -> None:
        """End it by a `phx_close`."""
        self.stop()
        self._say("phx_close")

    def crash(self) -> None:
        """End it by a `phx_error`."""
        self.stop()
        self._say("phx_error")

    def expire(self, message: str) -> None:
        """End it as a bad token does: a `system` error, then `phx_close`."""
        self.system("error", message, extension="system")
        self.close()

    def fail(self, message: str) -> None:
        """The subscription is gone, a `system` error says so, and the channel stays joined."""
        self._tenant.subscriptions.remove(self)
        self.system("error", message)

    def system(self, status: str, message: str, extension: str = "postgres_changes") -> None:
        self._wire.send(
            phoenix.system(
                self._wire.version,
                self.topic,
                extension=extension,
                message=message,
                status=status,
                join_ref=self.join_ref,
            )
        )

    def send_close(self, ref: str | None) -> None:
        """A `phx_close` of a channel that `ref` names, and nothing else."""
        self._wire.send(
            phoenix.frame(
                self._wire.version, self.topic, "phx_close", "{}", ref=ref, join_ref=ref
            )
        )  # fmt: skip

    def renew(self, token: tokens.AccessToken) -> None:
        """Go on with another token: the subscription is made anew after a while, without a gap."""
        self._token = token
        self._watch_token()
        self.resubscribe(self._tenant.dice.uniform(*RESUBSCRIBE))

    @property
    def token(self) -> tokens.AccessToken:
        return self._token

    def resubscribe(self, after: float = 0.0) -> None:
        """`after` is in seconds at true pace."""
        if not self._wanted or self.closed:
            return
        if self._subscribing is not None:
            self._subscribing.cancel()
        self._subscribing = self._wire.spawn(self._subscribe(after * self._tenant.pace))

    def _say(self, event: str) -> None:
        self._wire.send(
            phoenix.frame(
                self._wire.version,
                self.topic,
                event,
                "{}",
                ref=self.join_ref,
                join_ref=self.join_ref,
            )
        )

    def _watch_token(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._wire.spawn(self._expire_later(self._token.expires_at))

    async def _expire_later(self, expires_at: float) -> None:
        # In pieces, for the clock may jump, and a token may outlive what a timer can hold.
        while (left := expires_at - time.time()) > 0:  # noqa: ASYNC110 - nobody sets the clock's event
            await asyncio.sleep(min(left, 300.0))
        self.expire(tokens.expired(expires_at, time.time()))

    async def _subscribe(self, after: float = 0.0) -> None:
        if after:
            await asyncio.sleep(after)
        try:
            parsed = [bindings.parse(raw) for raw in self._wanted]
        except bindings.BindingError as error:
            self.fail(str(error))
            return
        await self._tenant.faults.before_system()
        await self._tenant.warm()
        reader = catalog.ReaderRole(self._token.role, orjson.dumps(self._token.claims).decode())
        while True:
            try:
                await self._tenant.subscriptions.check(parsed, reader.role)
            except subscriptions.SubscriptionRejected as error:
                self.fail(str(error))
                return
            except psycopg.Error:
                dice, pace = self._tenant.dice, self._tenant.pace
                await asyncio.sleep(dice.uniform(*DATABASE_RETRY) * pace)
            else:
                break
        self.muted = self._tenant.faults.mutes_new
        self._tenant.subscriptions.add(
            self, [subscriptions.RealtimeSubscription(self, binding, reader) for binding in parsed]
        )
        self.system("ok", SUBSCRIBED)
