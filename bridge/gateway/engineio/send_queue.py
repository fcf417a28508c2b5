"""The one way to a client: straight to its websocket, or held until somebody takes it."""

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
"""A burst is told in one step of the event loop, in which nobody can take anything. So a client
that is over its bound is looked at again after this time, and only what it was told before and has
still not taken counts. Twice over: it costs at most the bound and what is told in that time, all of
it shared with the others who are told the same, and no client is cut off that keeps up."""

PACKET_OVERHEAD_BYTES: Final = 128
"""What a piece counts beyond its frames, so that many small ones are bounded too."""

MAX_POLL_PACKETS: Final = 16
"""Packets in one answer to a poll of a client without positions, which may be python-engineio's:
it takes an answer with more than `Payload.max_decode_packets` for an attack, and hangs up."""

NOOP: Final = EncodedPackets.of(engineio.packet.Packet(engineio.packet.NOOP))


class FrameWriter(Protocol):
    """A websocket that takes frames at once."""

    @property
    def write(self) -> Callable[[bytes], None]:
        """Sends frames. It may call `Outbox.pause` before it returns."""
        ...

    @property
    def fd(self) -> int:
        """Where frames may be written too, as long as `write` may be called; negative: nowhere."""
        ...

    @property
    def unsent(self) -> int: ...

    def close(self) -> None: ...


class SendQueue:
    """What one client is told, in order.

    With a line and nothing in its way a piece is written before `tell` returns. Otherwise it is
    held, and everything held goes out, in order and before anything newer, when a line comes or
    resumes; or it is taken by polls, or by the writer of a websocket that is not ours. There is no
    moment in which a piece is neither held nor sent, so nothing can overtake it.
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
        """`limit` bounds what may wait, in bytes. `on_overflow` hears, with what waits, of a client
        that did not take its packets in time.
        """
        self._limit = limit
        self._on_overflow = on_overflow
        self._websocket: FrameWriter | None = None
        self._websocket_paused = False
        self._hold_reasons: frozenset[str] = frozenset()
        self._on_hold: deque[EncodedPackets] | None = None  # what was told since it is kept back
        self.write: Callable[[bytes], None] | None = None
        """How to write to the line; None: there is no line, it is paused, or something is held."""
        self.fd = NO_FD
        """The line's, while there is `write`, for who tells thousands; what they can't write there
        is for `tell`, or for `tell_rest`. `NO_FD`: there is none."""
        self.positions = True
        """Whether events are told with their positions, for who delivers them."""
        self._queued: deque[EncodedPackets] | None = None
        self._waiters: deque[asyncio.Future[bool]] | None = None
        self.ended = False
        """Whether it takes no more."""
        self._slow_timer: asyncio.TimerHandle | None = None
        self._queued_since_check = 0  # bytes that were held since the client is being watched
        self.queued_bytes = 0
        """Bytes that are held."""

    # -- what goes in

    def send(self, piece: EncodedPackets) -> None:
        """Send it or hold it. After the end it is dropped."""
        if self.write is not None:
            self.write(piece.frames)
        elif not self.ended:
            self._enqueue(piece)

    def send_rest(self, rest: bytes) -> None:
        """What the system didn't take of frames that were written to `fd`."""
        assert self.write is not None, "nothing can have happened since"
        self.write(rest)

    async def put(self, packet: Any) -> None:
        """As the library puts packets into its queues; None ends it."""
        self.put_nowait(packet)

    def put_nowait(self, packet: Any) -> None:
        if packet is None:
            self.end()
        elif packet.packet_type == engineio.packet.NOOP:
            # For a poll, as the client tries a websocket; where none waits it is for nobody.
            self.release_polls()
        else:
            self.send(EncodedPackets.of(packet))

    def end(self) -> None:
        """Nothing more will be told. What is held is still sent or taken, then the line closes."""
        if self.ended:
            return
        self.ended = True
        if self.write is not None and self._websocket is not None:
            self._stop_writing()
            self._websocket.close()
        self._wake()

    def discard(self) -> None:
        """Forget what is held, and hold nothing more."""
        self.ended = True
        self._stop_writing()
        self._websocket = self._queued = self._on_hold = None
        self.queued_bytes = 0
        if self._slow_timer is not None:
            self._slow_timer.cancel()
            self._slow_timer = None
        self._wake()

    def hold(self, reason: str) -> None:
        """Hold all that is told from here on, whoever would take it, until it is let go for this
        reason, and for all others that there are.
        """
        self._hold_reasons |= {reason}
        self._stop_writing()

    def unhold(self, reason: str) -> None:
        """What was kept back goes where it would have gone. Once is enough, and never is fine."""
        self._hold_reasons -= {reason}
        if self._hold_reasons:
            return
        self._join()
        self._flow()
        if self._queued:
            self._wake()

    def _join(self) -> None:
        """What was kept back follows what was told before it."""
        if self._on_hold:
            self._queued = self._queued or deque()
            self._queued.extend(self._on_hold)
        self._on_hold = None

    # -- where it goes: a line

    def attach(self, line: FrameWriter) -> None:
        """From here on it goes to this line, what is held first, and polls are released."""
        self._websocket = line
        self._websocket_paused = False
        self.release_polls()
        self._flow()

    def drain(self) -> bytes:
        """All that is held, for who sends it in another way; nothing is held then."""
        held, self._queued = self._queued or (), None
        self.queued_bytes = _size(self._on_hold)
        return b"".join(piece.frames for piece in held)

    def pause(self) -> None:
        """The line has more to send than it should."""
        self._websocket_paused = True
        self._stop_writing()
        self._start_slow_timer()

    def resume(self) -> None:
        """The line takes more."""
        self._websocket_paused = False
        self._flow()

    def _flow(self) -> None:
        """Write what is held, as far as the line takes it."""
        line = self._websocket
        if line is None:
            return
        write = line.write
        while self._queued and not self._websocket_paused:
            piece = self._queued.popleft()
            self.queued_bytes -= len(piece.frames) + PACKET_OVERHEAD_BYTES
            write(piece.frames)
        if self._queued or self._websocket_paused:
            return
        self._queued = None
        if self._hold_reasons:
            return
        if self.ended:
            line.close()
        else:
            self.write, self.fd = write, line.fd

    def _stop_writing(self) -> None:
        self.write, self.fd = None, NO_FD

    @property
    def unsent(self) -> int:
        """Bytes that the client was told and the system has not taken."""
        return self.queued_bytes + (self._websocket.unsent if self._websocket is not None else 0)

    # -- where it goes: polls, and writers that take as polls do

    async def take(self, seconds: float) -> list[engineio.packet.Packet]:
        """What is held, once there is something, in as many packets as the client takes at a time;
        a NOOP if it was released or a line came; nothing if it ended. Raises TimeoutError.
        """
        released = self._websocket is not None
        async with asyncio.timeout(seconds):
            while not (released or self._queued or self.ended):
                taker = asyncio.get_running_loop().create_future()
                if self._waiters is None:
                    self._waiters = deque()
                self._waiters.append(taker)
                released = await taker
        if released:
            return list(NOOP.packets)
        if self.ended:
            self._join()
        held, self._queued = self._queued or deque(), None
        self.queued_bytes = _size(self._on_hold)
        packets = [packet for piece in held for packet in piece.packets]
        if not self.positions and len(packets) > MAX_POLL_PACKETS:
            # The rest waits for the next poll, before anything that is told meanwhile.
            self._queued = deque(map(EncodedPackets.of, packets[MAX_POLL_PACKETS:]))
            self.queued_bytes += _size(self._queued)
            del packets[MAX_POLL_PACKETS:]
        return packets

    @property
    def polled(self) -> bool:
        """Whether somebody waits in `take`."""
        return any(not taker.done() for taker in self._waiters or ())

    def release_polls(self) -> None:
        """Polls that wait get a NOOP: their client moves to a line, or nothing would end them."""
        self._wake(released=True)

    def _wake(self, *, released: bool = False) -> None:
        """Let all who wait look again. The first that has not given up takes all."""
        takers, self._waiters = self._waiters, None
        for taker in takers or ():
            if not taker.done():
                taker.set_result(released)

    # -- what doesn't go

    def _enqueue(self, piece: EncodedPackets) -> None:
        size = len(piece.frames) + PACKET_OVERHEAD_BYTES
        if self._hold_reasons:
            self._on_hold = self._on_hold or deque()
            self._on_hold.append(piece)
        else:
            self._queued = self._queued or deque()
            self._queued.append(piece)
        self.queued_bytes += size
        self._queued_since_check += size
        self._start_slow_timer()
        if self._waiters and not self._hold_reasons:
            self._wake()

    def _start_slow_timer(self) -> None:
        if self._slow_timer is None and self.unsent > self._limit:
            self._queued_since_check = 0
            loop = asyncio.get_running_loop()
            self._slow_timer = loop.call_later(SLOW_CLIENT_GRACE_SECONDS, self._check_slow)

    def _check_slow(self) -> None:
        self._slow_timer = None
        if self.unsent - self._queued_since_check > self._limit:
            self._on_overflow(self.unsent)
        else:
            self._start_slow_timer()


def _size(held: deque[EncodedPackets] | None) -> int:
    return sum(len(piece.frames) + PACKET_OVERHEAD_BYTES for piece in held or ())
