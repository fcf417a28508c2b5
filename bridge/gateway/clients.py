"""The registry of connections and clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from bridge.gateway.client import ClientSession, Connection


class ClientRegistry:
    """All open connections and all connected clients, in the order in which they connected.

    `remove` is the only way to remove a client: a disconnect, the end of a connection, eviction by
    a recovering client, a slow client, an expired or revoked token and shutdown all end there. It
    passes the client to the callbacks given to `on_remove`, in their order.
    """

    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}
        self._clients: dict[str, ClientSession] = {}
        self._on_remove: tuple[Callable[[ClientSession], None], ...] = ()

    def __len__(self) -> int:
        """Number of connected clients."""
        return len(self._clients)

    def __iter__(self) -> Iterator[ClientSession]:
        return iter(self._clients.values())

    @property
    def connections(self) -> Collection[Connection]:
        """All open connections."""
        return self._connections.values()

    def get(self, sid: str) -> ClientSession | None:
        """Return the client with this Socket.IO sid, or None."""
        return self._clients.get(sid)

    def connection(self, eio_sid: str) -> Connection | None:
        """Return the connection with this Engine.IO sid, or None."""
        return self._connections.get(eio_sid)

    def on_remove(self, callbacks: Iterable[Callable[[ClientSession], None]]) -> None:
        """Set the callbacks of `remove`. None of them may raise."""
        self._on_remove = tuple(callbacks)

    def open(self, connection: Connection) -> None:
        """Register a connection that has just opened."""
        self._connections[connection.eio_sid] = connection

    def close(self, connection: Connection) -> None:
        """Remove a connection that has ended, with its client. Closing it twice is harmless."""
        if connection.client is not None:
            self.remove(connection.client)
        if self._connections.get(connection.eio_sid) is connection:
            del self._connections[connection.eio_sid]
        if connection.slot is not None:
            connection.slot.release()

    def add(self, client: ClientSession) -> None:
        """Register a client. Raises ValueError if its sid is in use, or its connection has a client
        already.
        """
        if client.sid in self._clients or client.connection.client is not None:
            raise ValueError(f"client {client.sid} is connected already")
        self._clients[client.sid] = client
        client.connection.client = client

    def remove(self, client: ClientSession) -> None:
        """Remove a client from the registry and from every part of the gateway. Its connection
        stays open. Removing it twice is harmless.
        """
        if self._clients.get(client.sid) is not client:
            return
        del self._clients[client.sid]
        client.connection.client = None
        for callback in self._on_remove:
            callback(client)
