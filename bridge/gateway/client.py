"""The state of one connection and of one client. No I/O.

An Engine.IO connection exists before its client and may outlive it: a page can send DISCONNECT and
CONNECT again, and recovery moves a client's identity to a new connection. So there are two objects:
`Connection` has the state that lasts as long as the transport, `ClientSession` everything else.
`bridge.gateway.clients.ClientRegistry` creates, finds and removes both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.gateway.engineio.send_queue import SendQueue
    from bridge.gateway.engineio.session import EngineSession
    from bridge.gateway.recovery.sessions import RecoverySession
    from bridge.gateway.subscription import Subscription
    from bridge.security.concurrency import Slot


@dataclass(slots=True)
class ClientToken:
    """The token of a client, as far as it is needed after admission. Times are Unix seconds."""

    user: str
    session: str | None
    expires_at: float
    key: str | None
    key_removed: bool = False
    """Whether the project has removed the key that signed it."""


class Connection:
    """One Engine.IO connection."""

    __slots__ = (
        "client",
        "connect_count",
        "connecting",
        "eio_sid",
        "engine",
        "header_token",
        "is_python",
        "opened_at",
        "slot",
    )

    def __init__(
        self,
        eio_sid: str,
        engine: EngineSession | None = None,
        *,
        opened_at: int = 0,
        is_python: bool = False,
        header_token: str | None = None,
        slot: Slot | None = None,
    ) -> None:
        self.eio_sid = eio_sid
        self.engine = engine
        self.opened_at = opened_at
        """When it opened, in seconds of the event loop's clock, rounded up."""
        self.is_python = is_python
        """Whether python-socketio's client opened it, which receives no positions."""
        self.header_token = header_token
        """The bearer token in the `Authorization` header of its first request."""
        self.slot = slot
        """Its share of the connection limits, released when it ends."""
        self.connect_count = 0
        """CONNECT packets received."""
        self.connecting = False
        """Whether a CONNECT packet is being handled."""
        self.client: ClientSession | None = None
        """The client connected through it."""

    @property
    def is_open(self) -> bool:
        return self.engine is not None and not self.engine.closed

    @property
    def address(self) -> str | None:
        """The key of its client address in rate limits; None where addresses are not counted."""
        return None if self.slot is None else self.slot.key


class ClientSession:
    """One connected Socket.IO client, from CONNECT until it is removed from the registry."""

    __slots__ = (
        "batch_group",
        "batching",
        "connection",
        "queue",
        "recovery",
        "sid",
        "storing",
        "subscription",
        "token",
    )

    def __init__(self, sid: str, connection: Connection, *, batching: bool = False) -> None:
        self.sid = sid
        self.connection = connection
        self.batching = batching
        """Whether it receives `properties-batch` in place of single events."""
        self.queue: SendQueue | None = None
        """Where its packets are sent, while events are delivered to it; set by `ClientWriter`."""
        self.subscription: Subscription | None = None
        """Its subscription and rights, while it is a member of its rooms; set by `Hub`."""
        self.batch_group: Subscription | None = None
        """The subscription that its batches are made for; set by `Batcher`."""
        self.token: ClientToken | None = None
        """Set by `TokenExpiry`."""
        self.recovery: RecoverySession | None = None
        """The session under which it can reconnect; None: it can't."""
        self.storing = False
        """Whether its events are held until its subscription is stored."""
