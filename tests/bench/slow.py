"""Effect of one slow client on the others, and its disconnection.

The kernel buffers about 3 MB for the client first (`tcp_wmem`). Then the bridge queues its packets,
and closes the connection when the queue exceeds its limit; the official client would reconnect and
recover. The bench checks that the connection is closed and counted, so it has to publish more than
these buffers hold.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from tests.bench.figures import Figures, in_rounds
from tests.bench.rig import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.rig import Rig

RATE = 200
WARM_SECONDS = 5


def measure(
    rig: Rig, names: list[str], clients: int, rounds: int, *, seconds: int, batch: int
) -> dict[str, list[Figures]]:
    """Publish `batch` events at once, 200 times a second; a larger batch needs fewer seconds."""
    return in_rounds(names, rounds, lambda name: _measure(rig, name, clients, seconds, batch))


def _measure(rig: Rig, name: str, clients: int, seconds: int, batch: int) -> Figures:
    out: Figures = {}
    for label, company in (("all read", contextlib.nullcontext), ("one stalls", stalled)):
        with rig.pair(name, clients) as (server, load):
            server.ask(f"tell {RATE * WARM_SECONDS} {RATE} 1")
            told(load, RATE * WARM_SECONDS * clients)
            load.ask("reset")
            rss, before = server.rss, server.cpu
            with company(load.port):
                server.ask(f"tell {RATE * seconds} {RATE} {batch}")
                stat = told(load, RATE * seconds * batch * clients)
                spent = server.cpu - before
                report = server.ask("report")
                out[label] = {
                    "cpu_us": spent.total / stat["events"] * 1e6,
                    "user_us": spent.user / stat["events"] * 1e6,
                    "p50_ms": stat["p50"],
                    "p99_ms": stat["p99"],
                    "grown_kb": (server.rss - rss) / 1024,
                    **report,
                }
            if name == "bridge":
                expected = int(company is stalled)
                closed = report["cut_off"]
                assert closed == expected, f"{label}: {closed} slow clients closed"
    return out


@contextlib.contextmanager
def stalled(port: int) -> Iterator[None]:
    """Run a client that subscribes and then reads nothing, with a minimal receive buffer."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        client.recv(4096)
        connect = b'40{"regions":["TX"]}'  # masked with zeroes
        client.sendall(b"\x81" + bytes((0x80 | len(connect),)) + bytes(4) + connect)
        yield
