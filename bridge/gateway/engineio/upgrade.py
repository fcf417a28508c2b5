"""A websocket that a polling client tries out before it moves there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engineio import packet

from bridge.gateway.engineio.encoding import EncodedPackets

if TYPE_CHECKING:
    from bridge.gateway.engineio.raw_websocket import RawWebSocket
    from bridge.gateway.engineio.session import EngineSession

PROBE_ANSWER: Final = EncodedPackets.of(packet.Packet(packet.PONG, "probe"))


class UpgradeProbe:
    """Owns such a websocket, and gives it to its session or closes it."""

    def __init__(self, socket: EngineSession) -> None:
        self._socket = socket
        self._upgrading = False

    def on_message(self, line: RawWebSocket, message: str | bytes) -> None:
        socket = self._socket
        if socket.closed or socket.upgraded:
            line.close()
        elif message == "2probe" and not socket.upgrading:
            self._upgrading = socket.upgrading = True
            line.write(PROBE_ANSWER.frames)
            # The client waits for its poll, which may wait for the next event. From here on the
            # library answers polls in the same way, and what comes is held.
            socket.queue.release_polls()
        elif message == "5" and self._upgrading:
            socket.open(line)
        else:
            self._stop()
            line.close()

    def on_pause(self, line: RawWebSocket) -> None: ...

    def on_resume(self, line: RawWebSocket) -> None: ...

    def on_close(self, line: RawWebSocket) -> None:
        self._socket.server.websockets.discard(line)
        self._stop()

    def _stop(self) -> None:
        """The client stays with its polls."""
        if self._upgrading:
            self._upgrading = self._socket.upgrading = False
