"""The send queue of one client: writes to its websocket, or holds packets until it can take them.

Backpressure ends here: the queue reports a slow client (its unsent bytes stayed over the limit for
`SLOW_CLIENT_GRACE_SECONDS`) to `on_overflow`, which closes the connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import engineio.packet

from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.raw_websocket import NO_FD

if TYPE_CHECKING:
    from collections.abc import Callable

SLOW_CLIENT_GRACE_SECONDS: Final = 1.0
"""Grace period for slow clients. A burst is queued within one iteration of the event loop, before
any client can drain it, so a client over its limit is checked again after this time; only bytes
queued before the first check count. The grace costs at most the limit plus what is sent within
that time, both shared with the other recipients, and no client is closed that keeps up."""

PACKET_OVERHEAD_BYTES: Final = 128
"""Bytes counted per queued `EncodedPackets` beyond its frames, so that many small ones are limited
too."""

MAX_POLL_PACKETS: Final = 16
"""Maximum number of packets in one poll response of a client without positions, which may be
python-engineio's: it takes a response with more than `Payload.max_decode_packets` for an attack and
disconnects."""

NOOP: Final = EncodedPackets.of(engineio.packet.Packet(engineio.packet.NOOP))


class FrameWriter(Protocol):
    """A websocket that frames can be written to."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """The function that sends frames. It may call `SendQueue.pause` before it returns."""
        ...

    @property
    def fd(self) -> int:
        """File descriptor for direct writes while `write` may be called; negative: none."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes that were written and not yet accepted by the system."""
        ...

    def close(self) -> None: ...


class SendQueue:
    """The packets of one client, in order.

    With a websocket attached and nothing queued, packets are written before `send` returns.
    Otherwise they are queued, and the queue is sent, in order and before anything newer, when a
    websocket is attached or resumes; or it is taken by polls, or by the writer task of a websocket
    behind ASGI. At every moment a packet is either queued or sent, so no packet can overtake
    another.
    """

    __slots__ = (
        "_hold_reasons",
        "_limit",
        "_on_hold",
        "_on_overflow",
        "_queued",
        "_queued_since_check",
        "_slow_timer",
        "_waiters",
        "_websocket",
        "_websocket_paused",
        "ended",
        "fd",
        "positions",
        "queued_bytes",
        "write",
    )

    def __init__(self, limit: int, on_overflow: Callable[[int], None]) -> None:
        """`limit` is the high-water mark of unsent bytes. `on_overflow` is called with the number
        of unsent bytes of a client that stayed over it.
        """
        self._limit = limit
        self._on_overflow = on_overflow
        self._websocket: FrameWriter | None = None
        self._websocket_paused = False
        self._hold_reasons: frozenset[str] = frozenset()
        self._on_hold: deque[EncodedPackets] | None = None  # sent since the queue is on hold
        self.write: Callable[[bytes], None] | None = None
        """Writes frames to the websocket. None: none is attached, it is paused, or packets are
        queued."""
        self.fd = NO_FD
        """The websocket's file descriptor while `write` is set, for deliveries to thousands of
        clients; bytes that can't be written there go to `send` or `send_rest`. `NO_FD`: none."""
        self.positions = True
        """Whether the client's events are sent with their positions. Read by event delivery."""
        self._queued: deque[EncodedPackets] | None = None
        self._waiters: deque[asyncio.Future[bool]] | None = None
        self.ended = False
        """Whether packets are discarded from here on."""
        self._slow_timer: asyncio.TimerHandle | None = None
        self._queued_since_check = 0  # bytes queued since `_slow_timer` was started
        self.queued_bytes = 0
        """Bytes in the queue, packets on hold included."""

    # -- input

    def send(self, packets: EncodedPackets) -> None:
        """Write the packets or queue them. After `end` they are discarded."""
        if self.write is not None:
            self.write(packets.frames)
        elif not self.ended:
            self._enqueue(packets)

    def send_rest(self, rest: bytes) -> None:
        """Write the bytes that the system did not accept of a direct write to `fd`."""
        assert self.write is not None, "must follow the direct write in the same step"
        self.write(rest)

    async def put(self, packet: Any) -> None:
        """Send a packet of the library; it uses this as its queue's `put`. None ends the queue."""
        self.put_nowait(packet)

    def put_nowait(self, packet: Any) -> None:
        """As `put`."""
        if packet is None:
            self.end()
        else:
            self.send(EncodedPackets.of(packet))

    def end(self) -> None:
        """Discard later packets. Queued packets are still sent or taken, then the websocket is
        closed.
        """
        if self.ended:
            return
        self.ended = True
        if self.write is not None and self._websocket is not None:
            self._stop_writing()
            self._websocket.close()
        self._wake()

    def discard(self) -> None:
        """Discard queued and later packets, and detach the websocket."""
        self.ended = True
        self._stop_writing()
        self._websocket = self._queued = self._on_hold = None
        self.queued_bytes = 0
        if self._slow_timer is not None:
            self._slow_timer.cancel()
            self._slow_timer = None
        self._wake()

    def hold(self, reason: str) -> None:
        """Queue everything from here on, for websocket and polls alike, until `unhold` was called
        for this reason and for every other one.
        """
        self._hold_reasons |= {reason}
        self._stop_writing()

    def unhold(self, reason: str) -> None:
        """Remove a reason; without any left, packets on hold are sent. Calling it twice or without
        `hold` has no effect.
        """
        self._hold_reasons -= {reason}
        if self._hold_reasons:
            return
        self._append_held()
        self._flow()
        if self._queued:
            self._wake()

    def _append_held(self) -> None:
        """Move packets on hold behind the queued ones."""
        if self._on_hold:
            self._queued = self._queued or deque()
            self._queued.extend(self._on_hold)
        self._on_hold = None

    # -- output: a websocket

    def attach(self, websocket: FrameWriter) -> None:
        """Send to this websocket from here on, queued packets first, and release waiting polls."""
        self._websocket = websocket
        self._websocket_paused = False
        self.release_polls()
        self._flow()

    def drain(self) -> bytes:
        """Return the frames of all queued packets and empty the queue; packets on hold stay. For a
        caller that sends them in its own write.
        """
        queued, self._queued = self._queued or (), None
        self.queued_bytes = _size(self._on_hold)
        return b"".join(packets.frames for packets in queued)

    def pause(self) -> None:
        """Stop writing: the websocket buffers unsent bytes (backpressure)."""
        self._websocket_paused = True
        self._stop_writing()
        self._start_slow_timer()

    def resume(self) -> None:
        """Continue writing: the websocket's buffer is empty."""
        self._websocket_paused = False
        self._flow()

    def _flow(self) -> None:
        """Write queued packets until the queue is empty or the websocket pauses."""
        websocket = self._websocket
        if websocket is None:
            return
        write = websocket.write
        while self._queued and not self._websocket_paused:
            packets = self._queued.popleft()
            self.queued_bytes -= len(packets.frames) + PACKET_OVERHEAD_BYTES
            write(packets.frames)
        if self._queued or self._websocket_paused:
            return
        self._queued = None
        if self._hold_reasons:
            return
        if self.ended:
            websocket.close()
        else:
            self.write, self.fd = write, websocket.fd

    def _stop_writing(self) -> None:
        self.write, self.fd = None, NO_FD

    @property
    def unsent(self) -> int:
        """Bytes that were sent to the client and not yet accepted by the system."""
        return self.queued_bytes + (self._websocket.unsent if self._websocket is not None else 0)

    # -- output: polls, and the library's writer task, which takes packets like a poll

    async def take(self, seconds: float) -> list[engineio.packet.Packet]:
        """Wait for queued packets and return them, as many as the client accepts in one response; a
        NOOP if the poll was released or a websocket attached; nothing after the end. Raises
        TimeoutError after `seconds`.
        """
        released = self._websocket is not None
        async with asyncio.timeout(seconds):
            while not (released or self._queued or self.ended):
                waiter = asyncio.get_running_loop().create_future()
                if self._waiters is None:
                    self._waiters = deque()
                self._waiters.append(waiter)
                # A websocket attached meanwhile may have sent what the poll was woken for.
                released = await waiter or self._websocket is not None
        if released:
            return list(NOOP.packets)
        if self.ended:
            self._append_held()
        queued, self._queued = self._queued or deque(), None
        self.queued_bytes = _size(self._on_hold)
        taken = [packet for packets in queued for packet in packets.packets]
        if not self.positions and len(taken) > MAX_POLL_PACKETS:
            # The rest stays queued for the next poll, before later packets.
            self._queued = deque(map(EncodedPackets.of, taken[MAX_POLL_PACKETS:]))
            self.queued_bytes += _size(self._queued)
            del taken[MAX_POLL_PACKETS:]
        if len(taken) > 1 and taken[-1].packet_type == engineio.packet.CLOSE:
            # The official client handles CLOSE before the messages that arrive with it: it would
            # reconnect with an earlier offset, and receive them twice. The next poll ends it.
            taken.pop()
        return taken

    @property
    def ready(self) -> bool:
        """Whether `take` would return packets at once. Packets on hold do not count."""
        return bool(self._queued)

    @property
    def polled(self) -> bool:
        """Whether a poll waits in `take`."""
        return any(not waiter.done() for waiter in self._waiters or ())

    def release_polls(self) -> None:
        """Answer waiting polls with a NOOP: their client moves to a websocket, or they would not
        end otherwise.
        """
        self._wake(released=True)

    def _wake(self, *, released: bool = False) -> None:
        """Wake all waiting polls. The first one that was not cancelled takes everything."""
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(released)

    # -- the queue and its limit

    def _enqueue(self, packets: EncodedPackets) -> None:
        size = len(packets.frames) + PACKET_OVERHEAD_BYTES
        if self._hold_reasons:
            self._on_hold = self._on_hold or deque()
            self._on_hold.append(packets)
        else:
            self._queued = self._queued or deque()
            self._queued.append(packets)
        self.queued_bytes += size
        self._queued_since_check += size
        self._start_slow_timer()
        if self._waiters and not self._hold_reasons:
            self._wake()

    def _start_slow_timer(self) -> None:
        """Start the grace period if the client is over its limit."""
        if self._slow_timer is None and self.unsent > self._limit:
            self._queued_since_check = 0
            loop = asyncio.get_running_loop()
            self._slow_timer = loop.call_later(SLOW_CLIENT_GRACE_SECONDS, self._check_slow)

    def _check_slow(self) -> None:
        """End of the grace period: report a slow client, or check again later."""
        self._slow_timer = None
        if self.unsent - self._queued_since_check > self._limit:
            self._on_overflow(self.unsent)
        else:
            self._start_slow_timer()


def _size(queued: deque[EncodedPackets] | None) -> int:
    return sum(len(packets.frames) + PACKET_OVERHEAD_BYTES for packets in queued or ())
