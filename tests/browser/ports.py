"""Ports that stay free until somebody takes them on purpose."""

from __future__ import annotations

import random
import socket

BELOW_THE_EPHEMERAL = range(20_000, 32_000)
"""Where no outgoing connection is given a port in passing: a bridge that is down for a while finds
its place again.
"""


def quiet_port() -> int:
    for port in random.sample(BELOW_THE_EPHEMERAL, 100):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise RuntimeError(f"expected a free port in {BELOW_THE_EPHEMERAL}, found none in 100 tries")
