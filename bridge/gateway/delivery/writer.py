"""Writes to clients. No other module writes to them or ends their connections.

An event is encoded once, joined with the other events of its event-loop iteration, framed once, and
the same bytes are written to every recipient (`broadcaster`, `engineio.encoding`). Acks and pings
are sent through the same queue (`engineio.send_queue`), so each client receives all its packets in
the order in which they were sent. The queue of a client is bounded: a slow client is disconnected
(`_close_slow_client`), after which its library reconnects by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from bridge.gateway.delivery.broadcaster import Broadcaster
from bridge.gateway.delivery.meter import DeliveryMeter
from bridge.gateway.engineio.encoding import (
    EncodedEvent,
    EncodedPackets,
    encode_event,
    encode_message,
    join_events,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from bridge.gateway.client import ClientSession
    from bridge.gateway.clients import ClientRegistry
    from bridge.gateway.engineio.send_queue import SendQueue
    from bridge.gateway.engineio.session import EngineSession
    from bridge.gateway.socketio.server import SocketServer
    from bridge.log.base import Entry

log = logging.getLogger(__name__)

CLOSE_SECONDS: Final = 1.0
"""How long clients may take to receive what was sent before their connections are closed."""

STORING: Final = "its subscription is being stored"
PAUSE: Final = "its listeners are being set up"
"""Reasons to hold the events of a client."""


class ClientWriter:
    """Writes to the clients of one server."""

    def __init__(self, server: SocketServer, clients: ClientRegistry) -> None:
        self._server = server
        self._clients = clients
        self.meter = DeliveryMeter()
        self._broadcaster: Broadcaster[
            ClientSession, SendQueue, EncodedEvent, list[EncodedPackets]
        ] = Broadcaster(
            pack=self._pack,
            write=self._write,
            call_soon=lambda step: asyncio.get_running_loop().call_soon(step),
            written=self.meter.written,
        )
        server.eio.before_send = self._broadcaster.catch_up
        server.eio.on_overflow = self._close_slow_client
        self._shut = False
        self.slow_clients_closed = 0

    def attach(self, client: ClientSession, *, positions: bool = False) -> bool:
        """Deliver events to the client from here on; False if its connection has ended already.
        With `positions` the last argument of each event is its position in the log.
        """
        session = client.connection.engine
        if session is None or session.closed:
            return False
        client.queue = session.queue
        session.queue.positions = positions
        session.client = client.sid
        return True

    def detach(self, client: ClientSession) -> None:
        """Deliver no further events to the client. Its connection stays open."""
        if client.queue is not None:
            self._broadcaster.catch_up(client.queue)
            self._clear(client)

    def broadcast(self, entry: Entry, clients: Collection[ClientSession]) -> None:
        """Send the entry's event to each of these clients, at the end of this event-loop iteration
        or soon after, and in any case ahead of everything that is sent to them later.
        """
        event = entry.event
        encoded = EncodedEvent(event.name, event.envelope, str(entry.position), entry.at)
        self._broadcaster.add(encoded, clients)

    def send_event(
        self, client: ClientSession, name: str, envelope: bytes, position: str | None
    ) -> None:
        """Send an event to one client, after all that was broadcast to it before."""
        if client.queue is not None:
            position = position if client.queue.positions else None
            packets = EncodedPackets((encode_event(name, envelope, position),))
            self._session(client).send_packets(packets)

    def send_packet(self, client: ClientSession, text: str) -> None:
        """Send a Socket.IO packet such as `0{"sid":"..."}`."""
        if client.queue is not None:
            self._session(client).send_packets(encode_message(text))

    def hold(self, client: ClientSession) -> None:
        """Hold everything that is sent to the client until `release`, in order."""
        self._hold(client, STORING)

    def release(self, client: ClientSession) -> None:
        if client.queue is not None:
            client.queue.unhold(STORING)

    def pause(self, client: ClientSession, seconds: float) -> None:
        """Hold everything that is sent to the client for this time."""
        if client.queue is not None:
            self._hold(client, PAUSE)
            asyncio.get_running_loop().call_later(seconds, client.queue.unhold, PAUSE)

    def _hold(self, client: ClientSession, reason: str) -> None:
        if client.queue is not None:
            self._broadcaster.catch_up(client.queue)
            client.queue.hold(reason)

    def flush(self) -> None:
        """Write everything that was broadcast, before this returns."""
        self._broadcaster.flush()

    def abort(self, client: ClientSession) -> None:
        """Remove the client and end its connection now, whatever waits in its queue. Its library
        reconnects by itself, which it would not do after a Socket.IO DISCONNECT.
        """
        if client.queue is not None:
            # Its next connection may follow at once, and recovers what is discarded here.
            self._broadcaster.remove(client.queue)
            self._clear(client)
            self._session(client).abort()
        self._clients.remove(client)

    def close(self, client: ClientSession) -> None:
        """Remove the client and end its connection after everything that was sent to it. Its
        library reconnects by itself, as after `abort`.
        """
        attached = client.queue is not None
        self._clients.remove(client)
        if not attached:
            return
        session = self._session(client)
        loop = asyncio.get_running_loop()
        if session.upgraded:
            self._close(session)
        else:
            # Time for a poll to fetch what was sent: in one response with the end it would be
            # handled after the end.
            loop.call_later(CLOSE_SECONDS, self._close, session)
        loop.call_later(2 * CLOSE_SECONDS, session.abort)

    def _close(self, session: EngineSession) -> None:
        # Without an Engine.IO CLOSE packet, after which Python's client does not reconnect.
        closing = session.close(abort=True, reason=self._server.reason.SERVER_DISCONNECT)
        self._server.eio.spawn(closing, "close a client's connection")

    async def close_all(self) -> None:
        """End all connections. Waiting polls are answered, so that a server which waits for its
        requests can stop. Calling it twice is harmless.
        """
        self.flush()
        engine = self._server.eio
        async with asyncio.TaskGroup() as closing:
            for session in engine.open_sessions():
                closing.create_task(session.close(), name="close a client's connection")
        until = time.monotonic() + CLOSE_SECONDS
        while engine.websockets and time.monotonic() < until:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        for websocket in list(engine.websockets):
            websocket.abort()
        if not self._shut:
            self._shut = True
            await self._server.shutdown()

    def _clear(self, client: ClientSession) -> None:
        client.queue = None
        self._session(client).client = None

    @staticmethod
    def _session(client: ClientSession) -> EngineSession:
        assert client.connection.engine is not None, "it was attached"
        return client.connection.engine

    def _pack(
        self, events: list[EncodedEvent], clients: Iterable[ClientSession]
    ) -> Iterator[tuple[list[SendQueue], list[EncodedPackets]]]:
        """Divide clients by whether they receive positions, each part with its packets."""
        without: list[SendQueue] = []
        with_positions: list[SendQueue] = []
        for client in clients:
            queue = client.queue
            if queue is None or queue.ended:
                asyncio.get_running_loop().call_soon(self._remove_ended, client)
            elif queue.positions:
                with_positions.append(queue)
            else:
                without.append(queue)
        if without:
            packets = join_events(events, positions=False)
            yield without, self.meter.packed(without, events, packets)
        if with_positions:
            packets = join_events(events, positions=True)
            yield with_positions, self.meter.packed(with_positions, events, packets)

    def _remove_ended(self, client: ClientSession) -> None:
        """Remove a client that events were broadcast to after the end of its connection."""
        if not client.connection.is_open:
            self._clients.remove(client)

    @staticmethod
    def _write(queues: list[SendQueue], packets: list[EncodedPackets]) -> None:
        # Runs for thousands of queues, so it does no more than it must.
        if len(packets) > 1:
            for queue in queues:
                for piece in packets:
                    queue.send(piece)
            return
        piece = packets[0]
        frames = piece.frames
        size = len(frames)
        write = os.write
        for queue in queues:
            fd = queue.fd
            if fd < 0:
                queue.send(piece)
                continue
            try:
                sent = write(fd, frames)
            except OSError:  # the socket is full or closed, which the transport finds out itself
                sent = 0
            if sent != size:
                queue.send_rest(frames[sent:])

    def _close_slow_client(self, session: EngineSession, unsent: int) -> None:
        """Disconnect a client that has not received its packets in time."""
        self.slow_clients_closed += 1
        connection = self._clients.connection(session.sid)
        client = None if connection is None else connection.client
        sid = session.sid if client is None else client.sid
        log.warning("slow client %s disconnected: %d bytes were waiting for it", sid, unsent)
        if client is None:
            session.abort()
        else:
            self.abort(client)
