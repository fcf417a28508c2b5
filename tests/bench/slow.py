"""What one client that takes nothing costs the others, and that it is cut off.

The system takes some 3 MB for it first (`tcp_wmem`). Then the bridge holds what waits, and cuts it
off once that is more than may be: the official client would come back and recover. That it was cut
off, and that the bridge says so, is checked here, so there has to be enough for it to take.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Any

from tests.bench.rig import told

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.rig import Rig

RATE = 200
WARM_SECONDS = 5


def measure(
    rig: Rig, names: list[str], clients: int, rounds: int, *, seconds: int, batch: int
) -> dict[str, list[dict[str, dict[str, Any]]]]:
    """`batch` events at once, 200 times a second: with more of them less time is enough."""
    out: dict[str, list[dict[str, dict[str, Any]]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            print(f"round {number + 1}: {name}", file=sys.stderr)
            out[name].append(_measure(rig, name, clients, seconds, batch))
    return out


def _measure(
    rig: Rig, name: str, clients: int, seconds: int, batch: int
) -> dict[str, dict[str, Any]]:
    out = {}
    for label, company in (("all take", contextlib.nullcontext), ("one stalls", stalled)):
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
                assert report["cut_off"] == expected, f"{label}: {report['cut_off']} were cut off"
    return out


@contextlib.contextmanager
def stalled(port: int) -> Iterator[None]:
    """A client that joins and then reads nothing, with as little of a buffer as there can be."""
    with socket.socket() as it:
        it.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        it.connect(("127.0.0.1", port))
        it.sendall(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        it.recv(4096)
        say = b'40{"regions":["TX"]}'  # masked with zeroes
        it.sendall(b"\x81" + bytes((0x80 | len(say),)) + bytes(4) + say)
        yield
