"""What a client is told goes straight out or is held; nothing overtakes anything."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import engineio.packet as eio
import pytest
from engineio import payload

from bridge.gateway.engineio import send_queue as module
from bridge.gateway.engineio.encoding import EncodedPackets
from bridge.gateway.engineio.raw_websocket import NO_FD
from bridge.gateway.engineio.send_queue import MAX_POLL_PACKETS, PACKET_OVERHEAD_BYTES, SendQueue

if TYPE_CHECKING:
    from collections.abc import Callable


def piece(text: str) -> EncodedPackets:
    return EncodedPackets((b"4" + text.encode(),))


class Line:
    """A line that takes so many writes before it is paused, then one more each time it is told."""

    def __init__(self, outbox: SendQueue, takes: int = 1000, fd: int = NO_FD) -> None:
        self.fd = fd
        self.outbox = outbox
        self.takes = takes
        self.written: list[bytes] = []
        self.closed = False
        self.unsent = 0

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.takes -= 1
        self.written.append(data[2:])
        if self.takes <= 0:
            self.outbox.pause()

    def close(self) -> None:
        self.closed = True


def quiet(limit: int = 10_000) -> SendQueue:
    def fail(unsent: int) -> None:
        pytest.fail(f"cut off with {unsent} bytes")

    return SendQueue(limit, fail)


async def taken(outbox: SendQueue) -> list[str]:
    return [packet.encode() for packet in await outbox.take(1)]


# -- a line


def test_with_a_line_a_piece_is_written_before_tell_returns() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.attach(line)
    outbox.send(piece("a"))
    assert line.written == [b"4a"]
    assert outbox.queued_bytes == 0


def test_what_was_held_goes_first_when_a_line_comes() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.send(piece("a"))
    outbox.send(piece("b"))
    outbox.attach(line)
    outbox.send(piece("c"))
    assert line.written == [b"4a", b"4b", b"4c"]


def test_a_line_that_resumes_gets_what_was_held_and_stops_where_it_is_full() -> None:
    outbox = quiet()
    line = Line(outbox, takes=1)
    outbox.attach(line)
    for name in "abcd":
        outbox.send(piece(name))
    assert line.written == [b"4a"]
    line.takes = 2
    outbox.resume()
    outbox.send(piece("e"))
    assert line.written == [b"4a", b"4b", b"4c"]
    line.takes = 10
    outbox.resume()
    outbox.send(piece("f"))
    assert b"".join(line.written) == b"4a4b4c4d4e4f"
    assert outbox.queued_bytes == 0


def test_the_end_comes_after_what_is_held() -> None:
    outbox = quiet()
    line = Line(outbox, takes=1)
    outbox.attach(line)
    outbox.send(piece("a"))
    outbox.send(piece("b"))
    outbox.end()
    outbox.send(piece("never"))
    assert not line.closed
    line.takes = 10
    outbox.resume()
    assert (line.written, line.closed) == ([b"4a", b"4b"], True)


def test_what_is_dropped_is_gone() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.attach(line)
    outbox.pause()
    outbox.send(piece("a"))
    outbox.discard()
    outbox.send(piece("b"))
    line.takes = 10
    outbox.resume()
    assert (line.written, outbox.queued_bytes, outbox.unsent) == ([], 0, 0)


def test_what_is_drained_is_held_no_more() -> None:
    outbox = quiet()
    outbox.send(piece("a"))
    outbox.send(piece("b"))
    assert outbox.drain() == piece("a").frames + piece("b").frames
    assert (outbox.drain(), outbox.queued_bytes) == (b"", 0)
    line = Line(outbox)
    outbox.attach(line)
    outbox.send(piece("c"))
    assert line.written == [b"4c"]


# -- kept back


def test_what_is_kept_back_goes_out_in_order_when_it_is_let_go() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.attach(line)
    outbox.hold("a reason")
    for name in "ab":
        outbox.send(piece(name))
    assert line.written == []
    outbox.unhold("a reason")
    outbox.send(piece("c"))
    assert line.written == [b"4a", b"4b", b"4c"]
    assert outbox.queued_bytes == 0


def test_a_line_that_resumes_gets_nothing_that_is_kept_back() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.attach(line)
    outbox.pause()
    outbox.hold("a reason")
    outbox.send(piece("a"))
    outbox.resume()
    assert line.written == []
    outbox.unhold("a reason")
    assert line.written == [b"4a"]


def test_a_line_that_is_full_gets_nothing_that_is_let_go() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.attach(line)
    outbox.hold("a reason")
    outbox.send(piece("a"))
    outbox.pause()
    outbox.unhold("a reason")
    assert line.written == []
    outbox.resume()
    assert line.written == [b"4a"]


def test_a_line_that_comes_gets_nothing_that_is_kept_back() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.hold("a reason")
    outbox.send(piece("a"))
    outbox.attach(line)
    assert line.written == []
    outbox.unhold("a reason")
    assert line.written == [b"4a"]


def test_the_end_waits_for_what_is_kept_back() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.attach(line)
    outbox.hold("a reason")
    outbox.send(piece("a"))
    outbox.end()
    assert not line.closed
    outbox.unhold("a reason")
    assert (line.written, line.closed) == ([b"4a"], True)


async def test_a_poll_waits_for_what_is_kept_back() -> None:
    outbox = quiet()
    outbox.hold("a reason")
    outbox.send(piece("a"))
    poll = asyncio.create_task(taken(outbox))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not poll.done()
    outbox.unhold("a reason")
    assert await poll == ["4a"]


def test_what_is_kept_back_for_two_reasons_waits_for_both() -> None:
    outbox = quiet()
    line = Line(outbox)
    outbox.attach(line)
    outbox.hold("one")
    outbox.send(piece("a"))
    outbox.hold("two")
    outbox.hold("two")
    outbox.send(piece("b"))
    outbox.unhold("two")
    outbox.unhold("two")
    assert line.written == []
    outbox.unhold("one")
    assert line.written == [b"4a", b"4b"]


async def test_what_was_told_before_is_not_kept_back() -> None:
    for polling in (True, False):
        outbox = quiet()
        line = Line(outbox)
        outbox.send(piece("a"))
        outbox.hold("a reason")
        outbox.send(piece("b"))
        if polling:
            assert await taken(outbox) == ["4a"]
            assert outbox.queued_bytes > 0
        outbox.attach(line)
        assert line.written == ([] if polling else [b"4a"])
        outbox.unhold("a reason")
        assert line.written[-1] == b"4b"
        assert outbox.queued_bytes == 0


async def test_the_last_poll_takes_what_is_kept_back() -> None:
    outbox = quiet()
    outbox.hold("a reason")
    outbox.send(piece("a"))
    outbox.end()
    assert await taken(outbox) == ["4a"]
    outbox.unhold("a reason")
    assert outbox.queued_bytes == 0


# -- polls


async def test_a_poll_takes_all_that_is_held_and_waits_where_nothing_is() -> None:
    outbox = quiet()
    outbox.send(piece("a"))
    await outbox.put(eio.Packet(eio.PING))
    assert await taken(outbox) == ["4a", "2"]
    waiting = asyncio.create_task(taken(outbox))
    await asyncio.sleep(0)
    outbox.send(piece("b"))
    assert await waiting == ["4b"]


async def test_a_poll_that_gave_up_takes_nothing() -> None:
    outbox = quiet()
    with pytest.raises(TimeoutError):
        await outbox.take(0.01)
    given_up = asyncio.create_task(taken(outbox))
    await asyncio.sleep(0)
    given_up.cancel()
    outbox.send(piece("a"))
    assert await taken(outbox) == ["4a"]


async def test_polls_that_wait_get_a_noop_when_a_line_comes() -> None:
    outbox = quiet()
    line = Line(outbox)
    polls = [asyncio.create_task(taken(outbox)) for _ in range(2)]
    await asyncio.sleep(0)
    outbox.attach(line)
    outbox.send(piece("a"))
    assert await asyncio.gather(*polls) == [["6"], ["6"]]
    assert line.written == [b"4a"]
    assert await taken(outbox) == ["6"]


async def test_a_poll_that_is_released_takes_nothing() -> None:
    outbox = quiet()
    poll = asyncio.create_task(taken(outbox))
    await asyncio.sleep(0)
    outbox.release_polls()
    outbox.send(piece("a"))
    assert await poll == ["6"]
    assert await taken(outbox) == ["4a"]


async def test_at_the_end_polls_take_the_rest_and_then_nothing() -> None:
    outbox = quiet()
    outbox.send(piece("a"))
    outbox.put_nowait(None)
    assert await taken(outbox) == ["4a"]
    assert await taken(outbox) == []
    outbox = quiet()
    poll = asyncio.create_task(taken(outbox))
    await asyncio.sleep(0)
    outbox.end()
    assert await poll == []


# -- the bound


@pytest.fixture
def fair(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(module, "SLOW_CLIENT_GRACE_SECONDS", 0.05)
    return 0.05


async def test_who_takes_a_burst_in_time_is_not_cut_off(fair: float) -> None:
    outbox = quiet(limit=1000)
    line = Line(outbox, takes=1)
    outbox.attach(line)
    for _ in range(100):
        outbox.send(piece("x" * 100))
    await asyncio.sleep(fair / 2)
    line.takes = 1000
    outbox.resume()
    await asyncio.sleep(fair)
    assert len(line.written) == 100


async def test_who_does_not_take_it_in_time_is_cut_off_once(fair: float) -> None:
    cut: list[int] = []
    outbox = SendQueue(1000, cut.append)
    line = Line(outbox, takes=1)
    outbox.attach(line)
    for _ in range(101):
        outbox.send(piece("x" * 97))
    await asyncio.sleep(2 * fair)
    assert cut == [100 * (100 + PACKET_OVERHEAD_BYTES)]


async def test_what_was_told_meanwhile_does_not_count_against_a_client_yet(fair: float) -> None:
    """One that keeps up, if late, is not cut off, however much is told at any moment."""
    outbox = quiet(limit=1000)
    line = Line(outbox)
    outbox.attach(line)
    outbox.pause()
    for _ in range(6):
        for _ in range(20):
            outbox.send(piece("x" * 100))
        await asyncio.sleep(fair * 0.6)
        line.takes = 20
        outbox.resume()
    assert len(line.written) == 120


async def test_polls_that_never_come_are_bounded_too(fair: float) -> None:
    cut: list[int] = []
    outbox = SendQueue(1000, cut.append)
    for _ in range(20):
        await outbox.put(eio.Packet(eio.MESSAGE, "x"))
    await asyncio.sleep(2 * fair)
    assert len(cut) == 1


async def test_a_noop_of_the_library_is_for_a_poll_that_waits_and_for_nobody_else() -> None:
    outbox = quiet()
    await outbox.put(eio.Packet(eio.NOOP))
    assert outbox.queued_bytes == 0
    poll = asyncio.create_task(taken(outbox))
    states = []
    await asyncio.sleep(0)
    states.append(outbox.polled)
    await outbox.put(eio.Packet(eio.NOOP))
    states.append(outbox.polled)
    assert states == [True, False]
    assert await poll == ["6"]


async def test_within_the_bound_nobody_looks(fair: float) -> None:
    outbox = quiet(limit=1000)
    outbox.send(piece("x" * 900))
    await asyncio.sleep(2 * fair)
    assert outbox.queued_bytes == 901 + 4 + PACKET_OVERHEAD_BYTES


# -- polls of clients that take few packets at a time


async def test_a_poll_of_a_client_without_positions_gets_few_packets_the_next_the_rest() -> None:
    outbox = quiet()
    outbox.positions = False
    told = [str(number) for number in range(MAX_POLL_PACKETS + 2)]
    for text in told:
        outbox.send(piece(text))
    first = await taken(outbox)
    outbox.send(piece("later"))
    assert first == [f"4{text}" for text in told[:MAX_POLL_PACKETS]]
    assert await taken(outbox) == [*(f"4{text}" for text in told[MAX_POLL_PACKETS:]), "4later"]
    assert outbox.queued_bytes == 0


async def test_a_poll_of_a_client_with_positions_gets_all() -> None:
    outbox = quiet()
    outbox.positions = True
    for number in range(MAX_POLL_PACKETS + 2):
        outbox.send(piece(str(number)))
    assert len(await taken(outbox)) == MAX_POLL_PACKETS + 2


def test_python_engineio_takes_no_fewer_packets_than_it_is_given() -> None:
    assert payload.Payload.max_decode_packets >= MAX_POLL_PACKETS


# -- a descriptor to write to


def test_while_a_line_can_be_written_to_its_descriptor_is_known() -> None:
    outbox = quiet()
    assert outbox.fd == NO_FD
    outbox.attach(Line(outbox, fd=7))
    assert outbox.fd == 7


def test_a_line_without_a_descriptor_has_none_to_write_to() -> None:
    outbox = quiet()
    outbox.attach(Line(outbox))
    assert outbox.write is not None
    assert outbox.fd == NO_FD


@pytest.mark.parametrize(
    "stop",
    [
        SendQueue.pause,
        lambda outbox: outbox.hold("a reason"),
        SendQueue.end,
        SendQueue.discard,
    ],
    ids=["pause", "keep back", "end", "drop"],
)
def test_a_line_that_must_not_be_written_to_has_no_descriptor(
    stop: Callable[[SendQueue], None],
) -> None:
    outbox = quiet()
    outbox.attach(Line(outbox, fd=7))
    stop(outbox)
    assert outbox.fd == NO_FD


def test_a_descriptor_comes_back_only_once_nothing_is_held() -> None:
    outbox = quiet()
    line = Line(outbox, takes=1, fd=7)
    outbox.attach(line)
    for number in range(3):
        outbox.send(piece(str(number)))
    assert outbox.fd == NO_FD  # one was written, two are held
    line.takes = 1
    outbox.resume()
    assert outbox.fd == NO_FD
    line.takes = 1000
    outbox.resume()
    assert outbox.fd == 7
