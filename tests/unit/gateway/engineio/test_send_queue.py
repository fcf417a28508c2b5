"""Packets of one client are written at once or queued, in order, and a slow client is reported."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import engineio.packet as eio
import pytest

from bridge.clock import ManualClock
from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.raw_websocket import NO_FD
from bridge.gateway.engineio.send_queue import (
    MAX_POLL_PACKETS,
    PACKET_OVERHEAD_BYTES,
    SLOW_CLIENT_GRACE_SECONDS,
    SendQueue,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def packets(text: str) -> EncodedPackets:
    return EncodedPackets((b"4" + text.encode(),))


class FakeWebSocket:
    """Pauses its queue after `takes` writes; from then on, after each one."""

    def __init__(self, queue: SendQueue, takes: int = 1000, fd: int = NO_FD) -> None:
        self.fd = fd
        self.queue = queue
        self.takes = takes
        self.written: list[bytes] = []
        self.closed = False
        self.unsent = 0

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.takes -= 1
        self.written.append(data[2:])
        if self.takes <= 0:
            self.queue.pause()

    def close(self) -> None:
        self.closed = True


def new_queue(limit: int = 10_000) -> SendQueue:
    """A queue that fails the test if its client is reported as slow."""

    def fail(unsent: int) -> None:
        pytest.fail(f"reported as slow with {unsent} bytes")

    return SendQueue(limit, fail)


async def poll(queue: SendQueue) -> list[str]:
    return [packet.encode() for packet in await queue.take(1)]


# -- a websocket


def test_packets_are_written_before_send_returns() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.send(packets("a"))
    assert websocket.written == [b"4a"]
    assert queue.queued_bytes == 0


def test_queued_packets_are_written_first_to_an_attached_websocket() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.send(packets("a"))
    queue.send(packets("b"))
    queue.attach(websocket)
    queue.send(packets("c"))
    assert websocket.written == [b"4a", b"4b", b"4c"]


def test_queued_packets_are_written_on_resume_until_the_next_pause() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue, takes=1)
    queue.attach(websocket)
    for name in "abcd":
        queue.send(packets(name))
    assert websocket.written == [b"4a"]
    websocket.takes = 2
    queue.resume()
    queue.send(packets("e"))
    assert websocket.written == [b"4a", b"4b", b"4c"]
    websocket.takes = 10
    queue.resume()
    queue.send(packets("f"))
    assert b"".join(websocket.written) == b"4a4b4c4d4e4f"
    assert queue.queued_bytes == 0


def test_end_closes_the_websocket_after_queued_packets() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue, takes=1)
    queue.attach(websocket)
    queue.send(packets("a"))
    queue.send(packets("b"))
    queue.end()
    queue.send(packets("never"))
    assert not websocket.closed
    websocket.takes = 10
    queue.resume()
    assert (websocket.written, websocket.closed) == ([b"4a", b"4b"], True)


def test_discard_drops_queued_and_later_packets() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.pause()
    queue.send(packets("a"))
    queue.discard()
    queue.send(packets("b"))
    websocket.takes = 10
    queue.resume()
    assert (websocket.written, queue.queued_bytes, queue.unsent) == ([], 0, 0)


def test_drain_returns_the_frames_and_empties_the_queue() -> None:
    queue = new_queue()
    queue.send(packets("a"))
    queue.send(packets("b"))
    assert queue.drain() == packets("a").frames + packets("b").frames
    assert (queue.drain(), queue.queued_bytes) == (b"", 0)
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.send(packets("c"))
    assert websocket.written == [b"4c"]


# -- on hold


def test_packets_on_hold_are_written_in_order_after_unhold() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.hold("a reason")
    for name in "ab":
        queue.send(packets(name))
    assert websocket.written == []
    queue.unhold("a reason")
    queue.send(packets("c"))
    assert websocket.written == [b"4a", b"4b", b"4c"]
    assert queue.queued_bytes == 0


def test_packets_on_hold_are_not_written_on_resume() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.pause()
    queue.hold("a reason")
    queue.send(packets("a"))
    queue.resume()
    assert websocket.written == []
    queue.unhold("a reason")
    assert websocket.written == [b"4a"]


def test_packets_are_not_written_to_a_paused_websocket_after_unhold() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.hold("a reason")
    queue.send(packets("a"))
    queue.pause()
    queue.unhold("a reason")
    assert websocket.written == []
    queue.resume()
    assert websocket.written == [b"4a"]


def test_packets_on_hold_are_not_written_to_an_attached_websocket() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.hold("a reason")
    queue.send(packets("a"))
    queue.attach(websocket)
    assert websocket.written == []
    queue.unhold("a reason")
    assert websocket.written == [b"4a"]


def test_end_waits_for_packets_on_hold() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.hold("a reason")
    queue.send(packets("a"))
    queue.end()
    assert not websocket.closed
    queue.unhold("a reason")
    assert (websocket.written, websocket.closed) == ([b"4a"], True)


async def test_poll_waits_for_packets_on_hold() -> None:
    queue = new_queue()
    queue.hold("a reason")
    queue.send(packets("a"))
    waiting = asyncio.create_task(poll(queue))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    queue.unhold("a reason")
    assert await waiting == ["4a"]


def test_packets_on_hold_for_two_reasons_wait_for_both() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.hold("one")
    queue.send(packets("a"))
    queue.hold("two")
    queue.hold("two")
    queue.send(packets("b"))
    queue.unhold("two")
    queue.unhold("two")
    assert websocket.written == []
    queue.unhold("one")
    assert websocket.written == [b"4a", b"4b"]


async def test_packets_sent_before_hold_are_not_held() -> None:
    for polling in (True, False):
        queue = new_queue()
        websocket = FakeWebSocket(queue)
        queue.send(packets("a"))
        queue.hold("a reason")
        queue.send(packets("b"))
        if polling:
            assert await poll(queue) == ["4a"]
            assert queue.queued_bytes > 0
        queue.attach(websocket)
        assert websocket.written == ([] if polling else [b"4a"])
        queue.unhold("a reason")
        assert websocket.written[-1] == b"4b"
        assert queue.queued_bytes == 0


async def test_poll_after_the_end_takes_packets_on_hold() -> None:
    queue = new_queue()
    queue.hold("a reason")
    queue.send(packets("a"))
    queue.end()
    assert await poll(queue) == ["4a"]
    queue.unhold("a reason")
    assert queue.queued_bytes == 0


# -- polls


async def test_poll_takes_all_queued_packets_or_waits_for_one() -> None:
    queue = new_queue()
    queue.send(packets("a"))
    await queue.put(eio.Packet(eio.PING))
    assert await poll(queue) == ["4a", "2"]
    waiting = asyncio.create_task(poll(queue))
    await asyncio.sleep(0)
    queue.send(packets("b"))
    assert await waiting == ["4b"]


async def test_cancelled_poll_takes_nothing() -> None:
    queue = new_queue()
    with pytest.raises(TimeoutError):
        await queue.take(0.01)
    cancelled = asyncio.create_task(poll(queue))
    await asyncio.sleep(0)
    cancelled.cancel()
    queue.send(packets("a"))
    assert await poll(queue) == ["4a"]


async def test_waiting_polls_get_a_noop_when_a_websocket_is_attached() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue)
    polls = [asyncio.create_task(poll(queue)) for _ in range(2)]
    await asyncio.sleep(0)
    queue.attach(websocket)
    queue.send(packets("a"))
    assert await asyncio.gather(*polls) == [["6"], ["6"]]
    assert websocket.written == [b"4a"]
    assert await poll(queue) == ["6"]


async def test_released_poll_takes_nothing() -> None:
    queue = new_queue()
    waiting = asyncio.create_task(poll(queue))
    await asyncio.sleep(0)
    queue.release_polls()
    queue.send(packets("a"))
    assert await waiting == ["6"]
    assert await poll(queue) == ["4a"]


async def test_polls_after_the_end_take_the_rest_and_then_nothing() -> None:
    queue = new_queue()
    queue.send(packets("a"))
    queue.put_nowait(None)
    assert await poll(queue) == ["4a"]
    assert await poll(queue) == []
    queue = new_queue()
    waiting = asyncio.create_task(poll(queue))
    await asyncio.sleep(0)
    queue.end()
    assert await waiting == []


# -- slow clients


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """Time of the running loop's `call_later`."""
    manual = ManualClock()
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", manual.call_later)
    return manual


async def test_client_that_drains_a_burst_within_the_grace_is_not_reported(
    clock: ManualClock,
) -> None:
    queue = new_queue(limit=1000)
    websocket = FakeWebSocket(queue, takes=1)
    queue.attach(websocket)
    for _ in range(100):
        queue.send(packets("x" * 100))
    clock.advance(SLOW_CLIENT_GRACE_SECONDS / 2)
    websocket.takes = 1000
    queue.resume()
    clock.advance(SLOW_CLIENT_GRACE_SECONDS)
    assert len(websocket.written) == 100


async def test_slow_client_is_reported_once_after_the_grace(clock: ManualClock) -> None:
    reported: list[int] = []
    queue = SendQueue(1000, reported.append)
    websocket = FakeWebSocket(queue, takes=1)
    queue.attach(websocket)
    for _ in range(101):
        queue.send(packets("x" * 97))
    clock.advance(SLOW_CLIENT_GRACE_SECONDS - 0.01)
    assert reported == []
    clock.advance(SLOW_CLIENT_GRACE_SECONDS)
    assert reported == [100 * (100 + PACKET_OVERHEAD_BYTES)]


async def test_packets_sent_during_the_grace_do_not_count(clock: ManualClock) -> None:
    """A client that keeps up, if late, is not closed, however much is sent at any moment."""
    queue = new_queue(limit=1000)
    websocket = FakeWebSocket(queue)
    queue.attach(websocket)
    queue.pause()
    for _ in range(6):
        for _ in range(20):
            queue.send(packets("x" * 100))
        clock.advance(SLOW_CLIENT_GRACE_SECONDS * 0.6)
        websocket.takes = 20
        queue.resume()
    assert len(websocket.written) == 120


async def test_client_that_does_not_poll_is_reported_as_slow(clock: ManualClock) -> None:
    reported: list[int] = []
    queue = SendQueue(1000, reported.append)
    for _ in range(20):
        await queue.put(eio.Packet(eio.MESSAGE, "x"))
    clock.advance(2 * SLOW_CLIENT_GRACE_SECONDS)
    assert len(reported) == 1


async def test_client_below_the_limit_is_not_checked(clock: ManualClock) -> None:
    queue = new_queue(limit=1000)
    queue.send(packets("x" * 800))
    assert clock.timers == []
    clock.advance(2 * SLOW_CLIENT_GRACE_SECONDS)
    assert queue.queued_bytes == 801 + 4 + PACKET_OVERHEAD_BYTES


# -- releasing polls


async def test_release_answers_a_waiting_poll_with_noop_and_no_later_one() -> None:
    queue = new_queue()
    queue.release_polls()
    assert queue.queued_bytes == 0
    waiting = asyncio.create_task(poll(queue))
    states = []
    await asyncio.sleep(0)
    states.append(queue.polled)
    queue.release_polls()
    states.append(queue.polled)
    assert states == [True, False]
    assert await waiting == ["6"]


async def test_poll_ends_if_a_websocket_took_the_packets_that_woke_it() -> None:
    queue = new_queue()
    waiting = asyncio.create_task(poll(queue))
    await asyncio.sleep(0)
    queue.send(packets("a"))
    queue.attach(FakeWebSocket(queue))
    async with asyncio.timeout(20):
        assert await waiting == ["6"]


# -- polls of clients that decode few packets at a time


async def test_poll_of_a_client_without_positions_is_limited_and_the_next_gets_the_rest() -> None:
    queue = new_queue()
    queue.positions = False
    sent = [str(number) for number in range(MAX_POLL_PACKETS + 2)]
    for text in sent:
        queue.send(packets(text))
    first = await poll(queue)
    queue.send(packets("later"))
    assert first == [f"4{text}" for text in sent[:MAX_POLL_PACKETS]]
    assert await poll(queue) == [*(f"4{text}" for text in sent[MAX_POLL_PACKETS:]), "4later"]
    assert queue.queued_bytes == 0


async def test_poll_of_a_client_with_positions_gets_all_packets() -> None:
    queue = new_queue()
    queue.positions = True
    for number in range(MAX_POLL_PACKETS + 2):
        queue.send(packets(str(number)))
    assert len(await poll(queue)) == MAX_POLL_PACKETS + 2


# -- direct writes


def test_queue_has_the_descriptor_of_a_writable_websocket() -> None:
    queue = new_queue()
    assert queue.fd == NO_FD
    queue.attach(FakeWebSocket(queue, fd=7))
    assert queue.fd == 7


def test_queue_has_no_descriptor_of_a_websocket_without_one() -> None:
    queue = new_queue()
    queue.attach(FakeWebSocket(queue))
    assert queue.write is not None
    assert queue.fd == NO_FD


@pytest.mark.parametrize(
    "stop",
    [
        SendQueue.pause,
        lambda queue: queue.hold("a reason"),
        SendQueue.end,
        SendQueue.discard,
    ],
    ids=["pause", "hold", "end", "discard"],
)
def test_queue_has_no_descriptor_while_it_must_not_write(
    stop: Callable[[SendQueue], None],
) -> None:
    queue = new_queue()
    queue.attach(FakeWebSocket(queue, fd=7))
    stop(queue)
    assert queue.fd == NO_FD


def test_queue_has_the_descriptor_again_once_it_is_empty() -> None:
    queue = new_queue()
    websocket = FakeWebSocket(queue, takes=1, fd=7)
    queue.attach(websocket)
    for number in range(3):
        queue.send(packets(str(number)))
    assert queue.fd == NO_FD  # one was written, two are queued
    websocket.takes = 1
    queue.resume()
    assert queue.fd == NO_FD
    websocket.takes = 1000
    queue.resume()
    assert queue.fd == 7


CLOSE = EncodedPackets.of(eio.Packet(eio.CLOSE))


async def test_end_of_the_session_is_left_out_of_a_poll_with_messages() -> None:
    """The official client handles the end before the messages that arrive with it."""
    queue = new_queue()
    queue.send(packets("a"))
    queue.send(CLOSE)
    queue.end()
    assert [each.encode() for each in await queue.take(1)] == ["4a"]
    assert await queue.take(1) == []


async def test_end_of_the_session_is_sent_in_a_poll_of_its_own() -> None:
    queue = new_queue()
    queue.send(CLOSE)
    queue.end()
    assert [each.encode() for each in await queue.take(1)] == ["1"]
