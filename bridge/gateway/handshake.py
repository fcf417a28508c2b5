"""Socket.IO's handshake: how a client comes to the server, and how it goes.

What is private in python-socketio and used here, checked with 5.18.1 (the unit tests say which of
them changed, if one does):

- `AsyncServer._engineio_server_class()` names the Engine.IO server's class;
- `AsyncServer._handle_eio_disconnect(eio_sid, reason)` hears of every connection's end.
"""

from __future__ import annotations

import socketio

from bridge.gateway.wire import Engine


class Server(socketio.AsyncServer):  # type: ignore[misc]
    """Socket.IO over `Engine`."""

    def _engineio_server_class(self) -> type[Engine]:
        return Engine

    async def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        await super()._handle_eio_disconnect(eio_sid, reason)
        socket = self.eio.sockets.get(eio_sid)
        if reason == self.reason.CLIENT_DISCONNECT and socket is not None and not socket.upgraded:
            # The poll that such a client left open is answered. The library would hold it, and a
            # client that waits for its answer, until the next ping is overdue.
            socket.queue.put_nowait(None)
