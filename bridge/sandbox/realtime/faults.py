"""Faults of Supabase Realtime, injected on demand.

Each fault is a method; `apply` calls one by name, for the control API. A fault may be injected at
any time, with or without connected clients. All of them were observed on the real server or on the
network in front of it, so a client under test sees no artificial behaviour.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import psycopg

from bridge.sandbox.realtime import tokens

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bridge.sandbox.realtime.poller import Poller
    from bridge.sandbox.realtime.subscriptions import SubscriptionRegistry

FrameTransform: TypeAlias = Callable[[str], str]
"""Maps the JSON text of a change to the text that is sent."""

FRAME_LIMIT = 1_048_576
"""Bytes beyond which the `websockets` client refuses a frame, closing with 1009."""

SUBSCRIPTION_LOST = "Subscription lost: the sandbox injected a fault"

NAMES = (
    "mute",
    "unmute",
    "drop",
    "duplicate",
    "oversize",
    "garble",
    "late_system",
    "no_system",
    "database_timeouts",
    "system_error",
    "system_error_close",
    "stale_phx_close",
    "phx_close",
    "phx_error",
    "expire_tokens",
    "close",
    "refuse",
    "accept",
    "half_open",
    "stall",
    "resume",
    "lose_pending",
    "rebuild",
    "kill_poller",
    "fail_polls",
    "stop_cdc",
    "restart",
    "rate_limit",
    "lift",
)
"""The names that `apply` accepts."""


class UnknownFaultError(ValueError):
    """There is no fault of that name, or it does not take these options."""


class FaultChannel(Protocol):
    """A joined channel, as faults use it."""

    muted: bool

    def fail(self, message: str) -> None: ...

    def expire(self, message: str) -> None: ...

    def send_close(self, ref: str | None) -> None: ...

    def close(self) -> None: ...

    def crash(self) -> None: ...

    def resubscribe(self) -> None: ...


class FaultSocket(Protocol):
    """A client's websocket, as faults use it."""

    def freeze(self) -> None: ...


class FaultTarget(Protocol):
    """The server into which faults are injected."""

    subscriptions: SubscriptionRegistry
    poller: Poller

    @property
    def sockets(self) -> Collection[FaultSocket]: ...

    def channels(self) -> Iterator[FaultChannel]: ...

    async def close_sockets(self, code: int) -> None: ...

    async def stop_cdc(self) -> None: ...


class Faults:
    """The faults of one `RealtimeServer`, which calls `attach`. Counters never decrease; they
    count changes unless documented otherwise.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """Discarded by `drop`."""
        self.duplicated = 0
        """Sent twice by `duplicate`."""
        self.oversized = 0
        self.garbled = 0
        self.muted = 0
        """Not sent to a muted channel, once per channel."""
        self.swallowed = 0
        """Frames discarded because their connection is half-open."""
        self.refused = 0
        """Connections rejected by `refuse`."""
        self.mutes_new_channels = False
        """Whether channels are muted as soon as they subscribe."""
        self._server: FaultTarget | None = None
        self._drop = 0
        self._duplicate = 0
        self._oversize = 0
        self._garble = 0
        self._refuse_until = 0.0
        self._system_delay = 0.0
        self._system_allowed = asyncio.Event()
        self._system_allowed.set()
        self._database_times_out = False

    # Called by the server.

    def attach(self, server: FaultTarget) -> None:
        self._server = server

    def next_frames(self) -> list[FrameTransform]:
        """Return one transform for each time that the next change is to be sent; counts it."""
        if self._drop:
            self._drop -= 1
            self.dropped += 1
            return []
        shape = _unchanged
        if self._oversize:
            self._oversize -= 1
            self.oversized += 1
            shape = _oversized
        elif self._garble:
            self._garble -= 1
            self.garbled += 1
            shape = _garbled
        if self._duplicate:
            self._duplicate -= 1
            self.duplicated += 1
            return [shape, shape]
        return [shape]

    def take_refusal(self) -> bool:
        """Return whether a new connection is to be rejected now; counts it."""
        refuses = time.monotonic() < self._refuse_until
        self.refused += refuses
        return refuses

    async def wait_before_system(self) -> None:
        """Return when a subscription may send its `system` ok."""
        if self._system_delay:
            await asyncio.sleep(self._system_delay)
        await self._system_allowed.wait()

    def check_database(self) -> None:
        """Raise psycopg's error if a subscription is to time out."""
        if self._database_times_out:
            raise psycopg.errors.ConnectionTimeout("fault injected by the sandbox")

    # The control API.

    async def apply(self, name: str, **options: Any) -> None:
        """Inject the fault `name`, one of `NAMES`. Raises `UnknownFaultError`."""
        if name not in NAMES:
            raise UnknownFaultError(f"expected one of {', '.join(NAMES)}, got {name!r}")
        method = getattr(self, name)
        try:
            inspect.signature(method).bind(**options)
        except TypeError as error:
            raise UnknownFaultError(
                f"expected {name}{inspect.signature(method)}, got {options!r}"
            ) from error
        result = method(**options)
        if isinstance(result, Awaitable):
            await result

    def counters(self) -> dict[str, int]:
        """Return all counters by name, with those of the poller."""
        return {
            "dropped": self.dropped,
            "duplicated": self.duplicated,
            "oversized": self.oversized,
            "garbled": self.garbled,
            "muted": self.muted,
            "swallowed": self.swallowed,
            "refused": self.refused,
            "rate_limited": self._target.poller.rate_limited,
            "slots_lost": self._target.poller.slots_lost,
            "slots_dropped": self._target.poller.slots_dropped,
            "pollers_gave_up": self._target.poller.gave_up,
        }

    def lift(self) -> None:
        """End every lasting fault. Closed connections and lost changes are not restored."""
        self.unmute()
        self.drop(0)
        self.duplicate(0)
        self.oversize(0)
        self.garble(0)
        self.late_system(0)
        self.no_system(lifted=True)
        self.database_timeouts(lifted=True)
        self.fail_polls(0)
        self.accept()
        self.resume()
        self.rate_limit(None)

    # Missing and malformed changes.

    def mute(self, *, new: bool = False) -> None:
        """Send no changes to the joined channels until they join again; all other frames are still
        sent. With `new`, channels that subscribe later are muted too, until `unmute`.
        """
        self.mutes_new_channels = new
        for channel in self._target.channels():
            channel.muted = True

    def unmute(self) -> None:
        """End `mute`. Changes that were committed meanwhile are lost."""
        self.mutes_new_channels = False
        for channel in self._target.channels():
            channel.muted = False

    def drop(self, count: int = 1) -> None:
        """Discard the next `count` changes that match a subscription."""
        self._drop = count

    def duplicate(self, count: int = 1) -> None:
        """Send each of the next `count` changes twice."""
        self._duplicate = count

    def oversize(self, count: int = 1) -> None:
        """Send the next `count` changes in frames of more than 1 MiB, otherwise valid."""
        self._oversize = count

    def garble(self, count: int = 1) -> None:
        """Send the next `count` changes in frames that are not valid JSON."""
        self._garble = count

    def rate_limit(self, changes_per_second: float | None) -> None:
        """Consume and silently drop changes above this rate, averaged over a minute. None: no
        limit.
        """
        self._target.poller.change_limit = changes_per_second

    # Broken subscriptions.

    def late_system(self, seconds: float) -> None:
        """Delay the `system` ok, and all changes before it, of new subscriptions by `seconds`."""
        self._system_delay = seconds

    def no_system(self, *, lifted: bool = False) -> None:
        """Accept joins and send neither `system` nor changes, until called with `lifted`."""
        if lifted:
            self._system_allowed.set()
        else:
            self._system_allowed.clear()

    def database_timeouts(self, *, lifted: bool = False) -> None:
        """Let subscriptions time out in the database: the joined channels subscribe again, and they
        and new ones receive a `system` error. The channels stay joined and retry each 5 to 10 s,
        until called with `lifted`.
        """
        self._database_times_out = not lifted
        if not lifted:
            for channel in tuple(self._target.channels()):
                channel.resubscribe()

    def system_error(self, message: str = SUBSCRIPTION_LOST) -> None:
        """Drop the subscription of each channel and send a `system` error; the channel stays
        joined. A client that joins again receives the reply and, after it, the `phx_close` of the
        replaced channel.
        """
        for channel in tuple(self._target.channels()):
            channel.fail(message)

    def system_error_close(self, message: str = SUBSCRIPTION_LOST) -> None:
        """Send a `system` error of extension `system`, then `phx_close`, on every channel."""
        for channel in tuple(self._target.channels()):
            channel.expire(message)

    def expire_tokens(self) -> None:
        """Close every channel as if its token expired now; the sockets stay open."""
        now = time.time()
        self.system_error_close(tokens.expired(now, now))

    def stale_phx_close(self, ref: str = "0") -> None:
        """Send on each channel the `phx_close` of an earlier channel, which had the join `ref`."""
        for channel in self._target.channels():
            channel.send_close(ref)

    def phx_close(self) -> None:
        """Close every channel; the sockets stay open."""
        for channel in tuple(self._target.channels()):
            channel.close()

    def phx_error(self) -> None:
        """Crash every channel (`phx_error`); the sockets stay open."""
        for channel in tuple(self._target.channels()):
            channel.crash()

    # Connections.

    async def close(self, code: int = 1012) -> None:
        """Close every socket with `code`; 1006 aborts the connection instead."""
        await self._target.close_sockets(code)

    def refuse(self, seconds: float = float("inf")) -> None:
        """Abort new connections without a response, for `seconds` or until `accept`."""
        self._refuse_until = time.monotonic() + seconds

    def accept(self) -> None:
        """End `refuse`."""
        self._refuse_until = 0.0

    def half_open(self) -> None:
        """Stop reading, writing and closing the connections that are open now."""
        for socket in self._target.sockets:
            socket.freeze()

    async def restart(self, seconds: float = 5.0, code: int = 1012) -> None:
        """Close every socket with `code`, stop the poller, and reject connections for `seconds`."""
        self.refuse(seconds)
        await self._target.close_sockets(code)
        await self._target.stop_cdc()

    # The slot.

    def stall(self) -> Awaitable[None]:
        """Pause the poller. Changes accumulate in the slot until `resume`.

        A poll in flight may still send changes; await the result to wait for its end.
        """
        self._target.poller.unpaused.clear()
        return asyncio.ensure_future(self._target.poller.wait_idle())

    def resume(self) -> None:
        """End `stall`: the accumulated changes are sent."""
        self._target.poller.unpaused.set()

    async def lose_pending(self) -> None:
        """Lose the changes that are committed and not yet sent, without a message to clients."""
        await self._target.poller.skip_pending()

    async def rebuild(self) -> None:
        """As `lose_pending`, but every channel then resubscribes and receives another `system` ok.
        After a `stall`, the set of lost changes is deterministic.
        """
        await self._target.poller.skip_pending()
        self.resume()
        for channel in tuple(self._target.channels()):
            channel.resubscribe()

    async def kill_poller(self) -> None:
        """Terminate the backend that owns the slot. Pending changes are lost, and so are those
        committed until the new slot exists, 0.1 to 1 s later.
        """
        pid = self._target.poller.backend_pid
        if pid is not None:
            await self._target.subscriptions.terminate(pid)

    def fail_polls(self, count: int = 6) -> None:
        """Let the next `count` polls fail. Each failure loses the slot with all pending changes.
        After six in a row the poller gives up, with the effect of `stop_cdc`.
        """
        self._target.poller.failing_polls = count

    async def stop_cdc(self) -> None:
        """Stop the poller and forget all subscriptions, without a message to clients: the channels
        stay joined and receive no changes until they join again.
        """
        await self._target.stop_cdc()

    @property
    def _target(self) -> FaultTarget:
        if self._server is None:
            raise RuntimeError("expected these faults to be attached to a RealtimeServer first")
        return self._server


def _unchanged(data: str) -> str:
    return data


def _oversized(data: str) -> str:
    return data + " " * FRAME_LIMIT  # JSON allows whitespace between tokens


def _garbled(data: str) -> str:
    return data[: len(data) // 2]
