"""A websocket that a polling client probes before its session moves to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from engineio import packet

from bridge.gateway.engineio.encoding import EncodedPackets

if TYPE_CHECKING:
    from bridge.gateway.engineio.raw_websocket import RawWebSocket
    from bridge.gateway.engineio.send_queue import SendQueue

PROBE_ANSWER: Final = EncodedPackets.of(packet.Packet(packet.PONG, "probe"))


class Upgradable(Protocol):
    """A session that can move from polling to a websocket."""

    closed: bool
    upgrading: bool
    """A websocket is being probed; polls are answered with NOOP."""
    upgraded: bool
    """The session has moved to its websocket."""
    queue: SendQueue

    def open(self, websocket: RawWebSocket) -> None:
        """Move the session to this websocket."""


class UpgradeProbe:
    """Owner of such a websocket until it is opened as the session's, or closed."""

    def __init__(self, session: Upgradable, open_websockets: set[Any]) -> None:
        """`open_websockets` contains the websocket while it is open."""
        self._session = session
        self._open_websockets = open_websockets
        self._upgrading = False

    def on_message(self, websocket: RawWebSocket, message: str | bytes) -> None:
        session = self._session
        if session.closed or session.upgraded:
            websocket.close()
        elif message == "2probe" and not session.upgrading:
            self._upgrading = session.upgrading = True
            websocket.write(PROBE_ANSWER.frames)
            # The client waits for the end of its poll, which may wait for the next event. From here
            # on the library answers polls with NOOP, and packets stay queued.
            session.queue.release_polls()
        elif message == "5" and self._upgrading:
            session.open(websocket)
        else:
            self._cancel()
            websocket.close()

    def on_pause(self, websocket: RawWebSocket) -> None: ...

    def on_resume(self, websocket: RawWebSocket) -> None: ...

    def on_close(self, websocket: RawWebSocket) -> None:
        self._open_websockets.discard(websocket)
        self._cancel()

    def _cancel(self) -> None:
        """The session stays with polling."""
        if self._upgrading:
            self._upgrading = self._session.upgrading = False
