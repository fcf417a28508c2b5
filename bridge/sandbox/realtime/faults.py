"""Everything that Realtime is known to do wrong, on demand.

Each fault is a method; `apply` calls one by name, for the control API. They may be called at any
time, while clients are connected and while they are not. What a fault does is what the real server
or the network in front of it has been seen to do, so whoever is tested sees nothing artificial.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from bridge.sandbox.realtime import tokens

if TYPE_CHECKING:
    from bridge.sandbox.realtime.server import RealtimeServer

Shape: TypeAlias = Callable[[str], str]
"""What becomes of a change's JSON text on its way out."""

FRAME_LIMIT = 1_048_576
"""Bytes beyond which the `websockets` client refuses a frame, closing with 1009."""

LOST = "Subscription lost: the sandbox was told to fail"

NAMES = (
    "mute",
    "unmute",
    "drop",
    "duplicate",
    "oversize",
    "garble",
    "late_system",
    "no_system",
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
    "restart",
    "rate_limit",
    "lift",
)
"""What `apply` takes."""


class UnknownFaultError(ValueError):
    """No fault of that name, or not with such options."""


class Faults:
    """Give it to one `RealtimeServer`. Counters only grow; they count changes unless they say
    otherwise.
    """

    def __init__(self) -> None:
        self.dropped = 0
        """Swallowed by `drop`."""
        self.duplicated = 0
        """Sent twice by `duplicate`."""
        self.oversized = 0
        self.garbled = 0
        self.muted = 0
        """Not sent to a muted channel, once per channel."""
        self.swallowed = 0
        """Frames that a half-open connection did not get."""
        self.refused = 0
        """Connections turned away by `refuse`."""
        self.mutes_new = False
        """Whether channels that subscribe now are mute from the start."""
        self._server: RealtimeServer | None = None
        self._drop = 0
        self._duplicate = 0
        self._oversize = 0
        self._garble = 0
        self._refuse_until = 0.0
        self._system_delay = 0.0
        self._systems = asyncio.Event()
        self._systems.set()

    # Asked by the server.

    def attach(self, server: RealtimeServer) -> None:
        self._server = server

    def treat(self) -> list[Shape]:
        """How often, and in what shape, the next change is to be sent."""
        if self._drop:
            self._drop -= 1
            self.dropped += 1
            return []
        shape = _whole
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

    def refuses(self) -> bool:
        """Whether a connection is to be turned away now; counts it."""
        refuses = time.monotonic() < self._refuse_until
        self.refused += refuses
        return refuses

    async def before_system(self) -> None:
        """Returns when a subscription may go on to its `system` ok."""
        if self._system_delay:
            await asyncio.sleep(self._system_delay)
        await self._systems.wait()

    # The control API.

    async def apply(self, name: str, **options: Any) -> None:
        """Call the fault `name`, one of `NAMES`. Raises `UnknownFaultError`."""
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
        return {
            "dropped": self.dropped,
            "duplicated": self.duplicated,
            "oversized": self.oversized,
            "garbled": self.garbled,
            "muted": self.muted,
            "swallowed": self.swallowed,
            "refused": self.refused,
            "rate_limited": self._attached.poller.rate_limited,
            "slots_lost": self._attached.poller.slots_lost,
        }

    def lift(self) -> None:
        """End every fault that lasts. What was closed or lost stays so."""
        self.unmute()
        self.drop(0)
        self.duplicate(0)
        self.oversize(0)
        self.garble(0)
        self.late_system(0)
        self.no_system(lifted=True)
        self.accept()
        self.resume()
        self.rate_limit(None)

    # Changes that do not come, or come wrong.

    def mute(self, *, new: bool = False) -> None:
        """Joined channels get no change any more, while everything else goes on, until they are
        joined anew. With `new`, channels that subscribe later are mute too, until `unmute`.
        """
        self.mutes_new = new
        for channel in self._attached.channels():
            channel.muted = True

    def unmute(self) -> None:
        """Changes flow again; what came meanwhile is lost."""
        self.mutes_new = False
        for channel in self._attached.channels():
            channel.muted = False

    def drop(self, count: int = 1) -> None:
        """The next `count` changes that anyone would have been sent reach nobody."""
        self._drop = count

    def duplicate(self, count: int = 1) -> None:
        """The next `count` changes are sent twice."""
        self._duplicate = count

    def oversize(self, count: int = 1) -> None:
        """The next `count` changes come in frames of more than 1 MiB, otherwise valid."""
        self._oversize = count

    def garble(self, count: int = 1) -> None:
        """The next `count` changes come in frames that are no JSON."""
        self._garble = count

    def rate_limit(self, changes_per_second: float | None) -> None:
        """From this rate on, averaged over a minute, changes are consumed and dropped without a
        word. None: no limit.
        """
        self._attached.poller.change_limit = changes_per_second

    # Subscriptions that are not what they seem.

    def late_system(self, seconds: float) -> None:
        """Subscriptions made from now on wait so long for `system` ok, and get nothing before."""
        self._system_delay = seconds

    def no_system(self, *, lifted: bool = False) -> None:
        """Joins are accepted, and neither `system` nor any change follows, until `lifted`."""
        if lifted:
            self._systems.set()
        else:
            self._systems.clear()

    def system_error(self, message: str = LOST) -> None:
        """Joined channels lose their subscription, are told so and stay joined. Who joins again
        gets the reply and, after it, the `phx_close` of the channel replaced.
        """
        for channel in tuple(self._attached.channels()):
            channel.fail(message)

    def system_error_close(self, message: str = LOST) -> None:
        """A `system` error of extension `system`, then `phx_close`, on every channel."""
        for channel in tuple(self._attached.channels()):
            channel.expire(message)

    def expire_tokens(self) -> None:
        """Every joined channel ends as if its token expired now; the sockets stay open."""
        now = time.time()
        self.system_error_close(tokens.expired(now, now))

    def stale_phx_close(self, ref: str = "0") -> None:
        """A `phx_close` of a channel that is no more, by its `ref`, on each channel that is."""
        for channel in self._attached.channels():
            channel.send_close(ref)

    def phx_close(self) -> None:
        """The server closes every channel; the sockets stay open."""
        for channel in tuple(self._attached.channels()):
            channel.close()

    def phx_error(self) -> None:
        """Every channel crashes; the sockets stay open."""
        for channel in tuple(self._attached.channels()):
            channel.crash()

    # Connections.

    async def close(self, code: int = 1012) -> None:
        """Close every socket with `code`; 1006 cuts the connection instead."""
        await self._attached.close_sockets(code)

    def refuse(self, seconds: float = float("inf")) -> None:
        """New connections are cut without an answer, for `seconds` or until `accept`."""
        self._refuse_until = time.monotonic() + seconds

    def accept(self) -> None:
        """End `refuse`."""
        self._refuse_until = 0.0

    def half_open(self) -> None:
        """The connections of this moment are neither read, written nor closed from now on."""
        for socket in self._attached.sockets:
            socket.freeze()

    async def restart(self, seconds: float = 5.0, code: int = 1012) -> None:
        """The server goes, sockets closing with `code`, and is back, cold, after `seconds`."""
        self.refuse(seconds)
        await self._attached.close_sockets(code)
        await self._attached.cool()

    # The slot.

    def stall(self) -> None:
        """The poller stands still. Changes pile up in the slot until `resume`."""
        self._attached.poller.allowed.clear()

    def resume(self) -> None:
        """End `stall`: what piled up comes now."""
        self._attached.poller.allowed.set()

    async def lose_pending(self) -> None:
        """Changes that are committed and not yet sent are lost, and nobody is told."""
        await self._attached.poller.lose()

    async def rebuild(self) -> None:
        """As `lose_pending`, but every channel is then subscribed anew and gets a second `system`
        ok. Together with `stall` before it, it is sure what is lost.
        """
        await self._attached.poller.lose()
        self.resume()
        for channel in tuple(self._attached.channels()):
            channel.resubscribe()

    async def kill_poller(self) -> None:
        """Terminate the backend that owns the slot: what is pending is lost, and so is what comes
        until there is a new slot, 0.1 to 1 s later.
        """
        pid = self._attached.poller.backend_pid
        if pid is not None:
            await self._attached.subscriptions.terminate(pid)

    @property
    def _attached(self) -> RealtimeServer:
        if self._server is None:
            raise RuntimeError("expected faults to be given to a RealtimeServer first")
        return self._server


def _whole(data: str) -> str:
    return data


def _oversized(data: str) -> str:
    return data + " " * FRAME_LIMIT  # between two tokens JSON allows it


def _garbled(data: str) -> str:
    return data[: len(data) // 2]
