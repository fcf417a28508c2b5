"""The one way to a client: straight to its websocket, or held until somebody takes it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

import engineio.packet

from bridge.gateway.engineio.encoding import Piece
from bridge.gateway.engineio.raw_websocket import NO_FD

if TYPE_CHECKING:
    from collections.abc import Callable

FAIR_SECONDS: Final = 1.0
"""A burst is told in one step of the event loop, in which nobody can take anything. So a client
that is over its bound is looked at again after this time, and only what it was told before and has
still not taken counts. Twice over: it costs at most the bound and what is told in that time, all of
it shared with the others who are told the same, and no client is cut off that keeps up."""

OVERHEAD: Final = 128
"""What a piece counts beyond its frames, so that many small ones are bounded too."""

POLL_PACKETS: Final = 16
"""Packets in one answer to a poll of a client without positions, which may be python-engineio's:
it takes an answer with more than `Payload.max_decode_packets` for an attack, and hangs up."""

NOOP: Final = Piece.of(engineio.packet.Packet(engineio.packet.NOOP))


class Line(Protocol):
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


class Outbox:
    """What one client is told, in order.

    With a line and nothing in its way a piece is written before `tell` returns. Otherwise it is
    held, and everything held goes out, in order and before anything newer, when a line comes or
    resumes; or it is taken by polls, or by the writer of a websocket that is not ours. There is no
    moment in which a piece is neither held nor sent, so nothing can overtake it.
    """

    __slots__ = (
        "_held",
        "_kept",
        "_kept_for",
        "_limit",
        "_line",
        "_line_paused",
        "_on_overflow",
        "_since",
        "_takers",
        "_watched",
        "ended",
        "fd",
        "positions",
        "waiting",
        "write",
    )

    def __init__(self, limit: int, on_overflow: Callable[[int], None]) -> None:
        """`limit` bounds what may wait, in bytes. `on_overflow` hears, with what waits, of a client
        that did not take its packets in time.
        """
        self._limit = limit
        self._on_overflow = on_overflow
        self._line: Line | None = None
        self._line_paused = False
        self._kept_for: frozenset[str] = frozenset()
        self._kept: deque[Piece] | None = None  # what was told since it is kept back
        self.write: Callable[[bytes], None] | None = None
        """How to write to the line; None: there is no line, it is paused, or something is held."""
        self.fd = NO_FD
        """The line's, while there is `write`, for who tells thousands; what they can't write there
        is for `tell`, or for `tell_rest`. `NO_FD`: there is none."""
        self.positions = True
        """Whether events are told with their positions, for who delivers them."""
        self._held: deque[Piece] | None = None
        self._takers: deque[asyncio.Future[bool]] | None = None
        self.ended = False
        """Whether it takes no more."""
        self._watched: asyncio.TimerHandle | None = None
        self._since = 0  # bytes that were held since the client is being watched
        self.waiting = 0
        """Bytes that are held."""

    # -- what goes in

    def tell(self, piece: Piece) -> None:
        """Send it or hold it. After the end it is dropped."""
        if self.write is not None:
            self.write(piece.frames)
        elif not self.ended:
            self._hold(piece)

    def tell_rest(self, rest: bytes) -> None:
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
            self.release()
        else:
            self.tell(Piece.of(packet))

    def end(self) -> None:
        """Nothing more will be told. What is held is still sent or taken, then the line closes."""
        if self.ended:
            return
        self.ended = True
        if self.write is not None and self._line is not None:
            self._shut()
            self._line.close()
        self._wake()

    def drop(self) -> None:
        """Forget what is held, and hold nothing more."""
        self.ended = True
        self._shut()
        self._line = self._held = self._kept = None
        self.waiting = 0
        if self._watched is not None:
            self._watched.cancel()
            self._watched = None
        self._wake()

    def keep_back(self, reason: str) -> None:
        """Hold all that is told from here on, whoever would take it, until it is let go for this
        reason, and for all others that there are.
        """
        self._kept_for |= {reason}
        self._shut()

    def let_go(self, reason: str) -> None:
        """What was kept back goes where it would have gone. Once is enough, and never is fine."""
        self._kept_for -= {reason}
        if self._kept_for:
            return
        self._join()
        self._flow()
        if self._held:
            self._wake()

    def _join(self) -> None:
        """What was kept back follows what was told before it."""
        if self._kept:
            self._held = self._held or deque()
            self._held.extend(self._kept)
        self._kept = None

    # -- where it goes: a line

    def attach(self, line: Line) -> None:
        """From here on it goes to this line, what is held first, and polls are released."""
        self._line = line
        self._line_paused = False
        self.release()
        self._flow()

    def drain(self) -> bytes:
        """All that is held, for who sends it in another way; nothing is held then."""
        held, self._held = self._held or (), None
        self.waiting = _size(self._kept)
        return b"".join(piece.frames for piece in held)

    def pause(self) -> None:
        """The line has more to send than it should."""
        self._line_paused = True
        self._shut()
        self._watch()

    def resume(self) -> None:
        """The line takes more."""
        self._line_paused = False
        self._flow()

    def _flow(self) -> None:
        """Write what is held, as far as the line takes it."""
        line = self._line
        if line is None:
            return
        write = line.write
        while self._held and not self._line_paused:
            piece = self._held.popleft()
            self.waiting -= len(piece.frames) + OVERHEAD
            write(piece.frames)
        if self._held or self._line_paused:
            return
        self._held = None
        if self._kept_for:
            return
        if self.ended:
            line.close()
        else:
            self.write, self.fd = write, line.fd

    def _shut(self) -> None:
        self.write, self.fd = None, NO_FD

    @property
    def unsent(self) -> int:
        """Bytes that the client was told and the system has not taken."""
        return self.waiting + (self._line.unsent if self._line is not None else 0)

    # -- where it goes: polls, and writers that take as polls do

    async def take(self, seconds: float) -> list[engineio.packet.Packet]:
        """What is held, once there is something, in as many packets as the client takes at a time;
        a NOOP if it was released or a line came; nothing if it ended. Raises TimeoutError.
        """
        released = self._line is not None
        async with asyncio.timeout(seconds):
            while not (released or self._held or self.ended):
                taker = asyncio.get_running_loop().create_future()
                if self._takers is None:
                    self._takers = deque()
                self._takers.append(taker)
                released = await taker
        if released:
            return list(NOOP.packets)
        if self.ended:
            self._join()
        held, self._held = self._held or deque(), None
        self.waiting = _size(self._kept)
        packets = [packet for piece in held for packet in piece.packets]
        if not self.positions and len(packets) > POLL_PACKETS:
            # The rest waits for the next poll, before anything that is told meanwhile.
            self._held = deque(map(Piece.of, packets[POLL_PACKETS:]))
            self.waiting += _size(self._held)
            del packets[POLL_PACKETS:]
        return packets

    @property
    def polled(self) -> bool:
        """Whether somebody waits in `take`."""
        return any(not taker.done() for taker in self._takers or ())

    def release(self) -> None:
        """Polls that wait get a NOOP: their client moves to a line, or nothing would end them."""
        self._wake(released=True)

    def _wake(self, *, released: bool = False) -> None:
        """Let all who wait look again. The first that has not given up takes all."""
        takers, self._takers = self._takers, None
        for taker in takers or ():
            if not taker.done():
                taker.set_result(released)

    # -- what doesn't go

    def _hold(self, piece: Piece) -> None:
        size = len(piece.frames) + OVERHEAD
        if self._kept_for:
            self._kept = self._kept or deque()
            self._kept.append(piece)
        else:
            self._held = self._held or deque()
            self._held.append(piece)
        self.waiting += size
        self._since += size
        self._watch()
        if self._takers and not self._kept_for:
            self._wake()

    def _watch(self) -> None:
        if self._watched is None and self.unsent > self._limit:
            self._since = 0
            loop = asyncio.get_running_loop()
            self._watched = loop.call_later(FAIR_SECONDS, self._look)

    def _look(self) -> None:
        self._watched = None
        if self.unsent - self._since > self._limit:
            self._on_overflow(self.unsent)
        else:
            self._watch()


def _size(held: deque[Piece] | None) -> int:
    return sum(len(piece.frames) + OVERHEAD for piece in held or ())
