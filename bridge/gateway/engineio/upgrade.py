"""The attempt of a polling client to move its session to a websocket.

As in Node's server the session goes on by polling until the client sends UPGRADE over the
websocket: a proxy may pass the handshake and lose the frames of one direction, and the client then
has nothing but its polls. The attempt ends after `UPGRADE_SECONDS`, with the websocket closed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from engineio import packet

from bridge.gateway.engineio.encoding import EncodedPackets

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.gateway.engineio.raw_websocket import RawWebSocket
    from bridge.gateway.engineio.send_queue import SendQueue

UPGRADE_SECONDS: Final = 10.0
"""Time from a websocket's handshake to its UPGRADE packet, as in Node's server."""

RELEASE_SECONDS: Final = 0.1
"""Time from the answer to a probe until a poll is answered with NOOP. A client that received the
answer sends UPGRADE after the end of its poll; if the NOOP arrived before the answer, the client
would poll again and wait for the next event. Node's server waits as long."""

LINGER_SECONDS: Final = 2.0
"""How long the websocket of an ended session stays open for a client that moves to it."""

PROBE: Final = "2probe"
UPGRADE: Final = "5"
PROBE_ANSWER: Final = EncodedPackets.of(packet.Packet(packet.PONG, "probe"))


class Upgradable(Protocol):
    """A session that can move from polling to a websocket."""

    closed: bool
    upgrading: bool
    """A websocket may become the session's. Polls are served meanwhile."""
    upgraded: bool
    """The session has moved to its websocket."""
    attempt: UpgradeAttempt | None
    """The attempt in progress."""
    queue: SendQueue

    def open(self, websocket: RawWebSocket) -> None:
        """Move the session to this websocket."""


class UpgradeAttempt:
    """One attempt: its time limit, and the one NOOP that ends a poll without events."""

    def __init__(self, session: Upgradable, give_up: Callable[[], None]) -> None:
        """`give_up` closes the websocket; it is called if the attempt takes too long, or if the
        session ends.
        """
        self._session = session
        self._give_up = give_up
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(UPGRADE_SECONDS, self.cancel)
        self._release_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._noop_due = False
        self.probed = False
        """Whether the client has sent its probe."""
        session.upgrading = True
        session.attempt = self

    @property
    def in_progress(self) -> bool:
        return self._session.attempt is self

    def on_probe(self) -> None:
        """Release one poll, `RELEASE_SECONDS` after the answer to the probe, which was just sent:
        the client ends its polling with it.
        """
        self.probed = True
        self._release_timer = self._loop.call_later(RELEASE_SECONDS, self._release)

    def _release(self) -> None:
        if self._session.queue.polled:
            self._session.queue.release_polls()
        else:
            self._noop_due = True

    def take_noop(self) -> bool:
        """Return whether the next poll is to be answered with NOOP, once in an attempt."""
        due, self._noop_due = self._noop_due, False
        return due

    def cancel(self) -> None:
        """End the attempt and close its websocket. The session stays with polling."""
        if self.in_progress:
            self.end()
            self._give_up()

    def end_with_session(self) -> None:
        """End the attempt, since the session ends. A client that was answered has paused its polls,
        and does not resume them if the websocket is lost then: it would wait for its ping timeout.
        So its websocket stays open until it has sent UPGRADE, or has read CLOSE with its last poll.
        """
        if not self.in_progress:
            return
        self.end()
        if self.probed:
            self._linger_timer = self._loop.call_later(LINGER_SECONDS, self._give_up)
        else:
            self._give_up()

    def end(self) -> None:
        """End the attempt: the session has moved, or the websocket is lost. Idempotent."""
        for timer in (self._timer, self._release_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        if self.in_progress:
            self._session.attempt = None
            self._session.upgrading = False


class UpgradeProbe:
    """Owner of a websocket until it is opened as the session's, or closed."""

    def __init__(self, session: Upgradable, open_websockets: set[Any]) -> None:
        """`open_websockets` contains the websocket while it is open."""
        self._session = session
        self._open_websockets = open_websockets
        self._attempt: UpgradeAttempt | None = None

    def start(self, websocket: RawWebSocket) -> None:
        """Start the attempt, once the websocket is accepted."""
        self._attempt = UpgradeAttempt(self._session, websocket.close)

    def on_message(self, websocket: RawWebSocket, message: str | bytes) -> None:
        attempt = self._attempt
        if attempt is None or not attempt.in_progress:
            websocket.close()
        elif message == PROBE and not attempt.probed:
            websocket.write(PROBE_ANSWER.frames)
            attempt.on_probe()
        elif message == UPGRADE and attempt.probed:
            attempt.end()
            self._session.open(websocket)
        else:
            attempt.cancel()

    def on_pause(self, websocket: RawWebSocket) -> None: ...

    def on_resume(self, websocket: RawWebSocket) -> None: ...

    def on_close(self, websocket: RawWebSocket) -> None:
        self._open_websockets.discard(websocket)
        if self._attempt is not None:
            self._attempt.end()
