"""The listening socket, and the signals that end the process."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable

import pytest
from starlette.types import Receive, Scope, Send

from bridge.errors import LogUnusableError
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


class Limits:
    message_bytes = 1000


class Application:
    """An application whose startup waits, or raises `error`."""

    settings = Limits()
    failure: BaseException | None = None
    on_failure: Callable[[BaseException], None]

    def __init__(self, error: Exception | None = None) -> None:
        self.starting = asyncio.Event()
        self._error = error

    async def drain(self) -> None: ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        self.starting.set()
        if self._error is None:
            await asyncio.Event().wait()
        # As Starlette does.
        await send({"type": "lifespan.startup.failed", "message": f"Traceback: {self._error}"})
        raise self._error or AssertionError


async def test_startup_that_waits_ends_when_it_is_cancelled() -> None:
    application = Application()
    with serve.listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(serve.serve(application, listening))
        await application.starting.wait()
        serving.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await serving


async def test_error_that_an_operator_can_mend_is_logged_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serve.listen("127.0.0.1", 0) as listening, caplog.at_level(logging.WARNING):
        code = await serve.serve(Application(LogUnusableError("in use")), listening)
    assert code == 1
    assert [record.getMessage() for record in caplog.records] == ["the bridge can't start: in use"]
    assert caplog.records[0].exc_info is None


async def test_other_error_of_the_startup_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serve.listen("127.0.0.1", 0) as listening, caplog.at_level(logging.WARNING):
        code = await serve.serve(Application(ValueError("a fault")), listening)
    assert code == 1
    assert [record.getMessage() for record in caplog.records] == ["Traceback: a fault"]
