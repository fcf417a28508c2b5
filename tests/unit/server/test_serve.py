"""The port that clients connect to."""

from __future__ import annotations

import socket

import pytest

from bridge.server import serve


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ""])
def test_what_is_written_does_not_wait_for_what_was_written_before(host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with serve.listen(host, 0) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection((host or "127.0.0.1", port)), listening.accept()[0] as taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
