"""The listening socket, and the signals that end the process."""

from __future__ import annotations

import asyncio
import os
import signal
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


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
@pytest.mark.parametrize("host", ["", "::"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_every_address_is_ipv4_and_ipv6(host: str, address: str) -> None:
    with serve.listen(host, 0) as listening:
        socket.create_connection((address, listening.getsockname()[1])).close()


def test_signal_ends_the_process_where_the_loop_has_no_signal_handlers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def add_signal_handler(*_: object) -> None:
        raise NotImplementedError  # as the loop of Windows

    async def main() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        return 1

    monkeypatch.setattr(asyncio.SelectorEventLoop, "add_signal_handler", add_signal_handler)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert serve.until_signalled(main()) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
