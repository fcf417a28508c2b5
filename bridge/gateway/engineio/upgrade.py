"""A websocket that a polling client tries out before it moves there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engineio import packet

from bridge.gateway.engineio.encoding import Piece

if TYPE_CHECKING:
    from bridge.gateway.engineio.raw_websocket import Line
    from bridge.gateway.engineio.session import Socket

PROBED: Final = Piece.of(packet.Packet(packet.PONG, "probe"))


class Probe:
    """Owns such a websocket, and gives it to its session or closes it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._upgrading = False

    def heard(self, line: Line, message: str | bytes) -> None:
        socket = self._socket
        if socket.closed or socket.upgraded:
            line.close()
        elif message == "2probe" and not socket.upgrading:
            self._upgrading = socket.upgrading = True
            line.write(PROBED.frames)
            # The client waits for its poll, which may wait for the next event. From here on the
            # library answers polls in the same way, and what comes is held.
            socket.queue.release()
        elif message == "5" and self._upgrading:
            socket.open(line)
        else:
            self._stop()
            line.close()

    def paused(self, line: Line) -> None: ...

    def resumed(self, line: Line) -> None: ...

    def lost(self, line: Line) -> None:
        self._socket.server.lines.discard(line)
        self._stop()

    def _stop(self) -> None:
        """The client stays with its polls."""
        if self._upgrading:
            self._upgrading = self._socket.upgrading = False
