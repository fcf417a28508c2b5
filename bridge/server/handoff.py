"""Hands connections from one serving process of a machine to another.

The processes listen on one port (SO_REUSEPORT), and the system chooses one for each connection. An
Engine.IO session lives in one of them, which its sid names. A request of that session that arrives
elsewhere, a poll or the upgrade to a websocket, is not forwarded: its connection is, with the bytes
read so far. The file descriptor is sent over a Unix socket (SCM_RIGHTS), so the other process then
serves the client directly, and keeps its address, timeouts and limits.

Requests of operators are handed to the leader process the same way.
"""

from __future__ import annotations

import array
import asyncio
import logging
import random
import re
import socket
from typing import TYPE_CHECKING, Any, Final

from bridge.server.http_protocol import HttpProtocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

LEADER: Final = "leader"
"""Name of the leader process among those that connections can be handed to."""

SUFFIX: Final = ".handoff"

READ_BYTES: Final = 65_536
"""Most bytes that are read at a time from a connection, so that they fit into one datagram."""

RETRY_SECONDS: Final = 0.005
GIVE_UP_SECONDS: Final = 2.0
"""How long a connection waits while the queue of the other process is full."""

_SID: Final = re.compile(rb"^[A-Z]+ [^ ]*[?&]sid=([0-9a-f]+)\.")
_OPERATIONS: Final = re.compile(
    rb"^[A-Z]+ /(?:status(?:/stream)?|metrics|admin(?:/[^ ?]*)?)(?:\?[^ ]*)? "
)
_HEALTH: Final = re.compile(rb"^[A-Z]+ /(?:livez|readyz)(?:\?[^ ]*)? ")


class Handoff:
    """The handing over of connections from and to this process."""

    def __init__(self, directory: Path, process: str, *, leads: bool = False) -> None:
        """`directory` has a socket for each process. `leads`: this is the leader process, which
        serves operators only.
        """
        self._directory = directory
        self._process = process
        self._leads = leads
        self._path = directory / f"{LEADER if leads else process}{SUFFIX}"
        self._socket: socket.socket | None = None
        self._sending: socket.socket | None = None
        self._protocol: Callable[[], ReceivingProtocol] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self, protocol: Callable[[], ReceivingProtocol]) -> None:
        """Receive connections, each for a new `protocol`."""
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))
        self._sending = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sending.setblocking(False)
        self._sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * READ_BYTES)
        self._protocol = protocol
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def close(self) -> None:
        """Receive no more connections. Idempotent."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            self._path.unlink(missing_ok=True)
        if self._sending is not None:
            self._sending.close()
            self._sending = None

    def owner(self, data: bytes) -> str | None:
        """Return the process that has to serve the request that `data` begins with; None: this
        one.
        """
        if self._leads:
            if _OPERATIONS.match(data) or _HEALTH.match(data):
                return None
            return self._any_serving()
        found = _SID.match(data)
        if found is not None:
            process = found[1].decode("ascii")
            return None if process == self._process else process
        return LEADER if _OPERATIONS.match(data) else None

    def send(self, process: str, connection: socket.socket, data: bytes) -> bool:
        """Send a connection with the bytes read from it. Return whether the process is there."""
        path = self._directory / f"{process}{SUFFIX}"
        if self._sending is None or len(data) > READ_BYTES:
            return False
        try:
            _send(self._sending, path, connection, data)
        except BlockingIOError:
            task = asyncio.create_task(self._send_later(path, connection.dup(), data))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        except OSError:
            # It has ended; its successor has another name.
            return False
        return True

    async def _send_later(self, path: Path, connection: socket.socket, data: bytes) -> None:
        """Send a connection once the other process has read what was sent before."""
        loop = asyncio.get_running_loop()
        until = loop.time() + GIVE_UP_SECONDS
        with connection:
            while loop.time() < until and self._sending is not None:
                await asyncio.sleep(RETRY_SECONDS)
                try:
                    _send(self._sending, path, connection, data)
                except BlockingIOError:
                    continue
                except OSError as error:
                    log.debug("a connection could not be handed over: %s", error)
                return

    def _receive(self) -> None:
        assert self._socket is not None and self._protocol is not None, "open"  # noqa: PT018
        for _ in range(64):  # then the loop's other work
            try:
                data, fds, _, _ = socket.recv_fds(
                    self._socket, READ_BYTES, 1, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError as error:
                log.error("a connection could not be received: %s", error)  # noqa: TRY400
                return
            for fd in fds:
                task = asyncio.create_task(_accept(socket.socket(fileno=fd), data, self._protocol))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _any_serving(self) -> str | None:
        leader = f"{LEADER}{SUFFIX}"
        names = [path.name for path in self._directory.glob(f"*{SUFFIX}") if path.name != leader]
        return random.choice(names).removesuffix(SUFFIX) if names else None  # noqa: S311 - load


def _send(sending: socket.socket, path: Path, connection: socket.socket, data: bytes) -> None:
    # Not with `socket.send_fds`: that of Python 3.11 ignores the address.
    fds = array.array("i", [connection.fileno()])
    sending.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)], 0, str(path))


async def _accept(
    connection: socket.socket, data: bytes, protocol: Callable[[], ReceivingProtocol]
) -> None:
    def with_data() -> ReceivingProtocol:
        made = protocol()
        made.received = data
        return made

    try:
        await asyncio.get_running_loop().connect_accepted_socket(with_data, connection)
    except OSError as error:
        log.debug("a connection that was received is lost: %s", error)
        connection.close()


class ReceivingProtocol(HttpProtocol):
    """The HTTP protocol of connections that may belong to another process."""

    handoff: Handoff
    """Of this process; set by `receiving_protocol`."""

    received: bytes = b""
    """What the process that accepted the connection had read from it."""

    _in_request = False
    """Whether a request was received in part."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_BYTES
        data, self.received = self.received, b""
        if data:
            self.data_received(data)

    def on_message_begin(self) -> None:
        self._in_request = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._in_request = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        if not (self._is_between_requests() and self._hand_over(data)):
            super().data_received(data)

    def _is_between_requests(self) -> bool:
        if self._in_request or self.pipeline:
            return False
        return self.cycle is None or self.cycle.response_complete

    def _hand_over(self, data: bytes) -> bool:
        """Hand the connection to the process that its next request belongs to, if that is another
        one.
        """
        process = self.handoff.owner(data)
        # Only between two requests, and once the client was sent all of the last response.
        if process is None or self.transport.get_write_buffer_size():
            return False
        connection = self.transport.get_extra_info("socket")
        if not self.handoff.send(process, connection, data):
            return False
        # Closes this process's descriptor and leaves the connection as it is.
        self.transport.abort()
        return True


def receiving_protocol(handoff: Handoff) -> type[ReceivingProtocol]:
    """Return the protocol for `uvicorn.Config(http=...)`, which makes its own instances."""
    return type("ReceivingProtocol", (ReceivingProtocol,), {"handoff": handoff})
