"""The listening socket."""

from __future__ import annotations

import socket

import pytest

from bridge.server import serve


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
def test_accepted_connections_send_without_delay(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 on this machine")
    with serve.listen(host, 0) as listening:
        port = listening.getsockname()[1]
        with (
            socket.create_connection((host or "127.0.0.1", port)),
            listening.accept()[0] as accepted,
        ):
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
