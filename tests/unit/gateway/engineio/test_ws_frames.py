"""Websocket frames: what is written, and what clients may send."""

from __future__ import annotations

import random
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from bridge.gateway.engineio import ws_frames as frames
from bridge.gateway.engineio.ws_frames import BINARY, CLOSE, PING, TEXT, FrameError, FrameReader


def masked(
    payload: bytes, opcode: int = TEXT, *, fin: bool = True, mask: bytes = b"\x01\x02\x03\xff"
) -> bytes:
    """A client's frame."""
    plain = frames.frame(opcode, payload)
    head = bytearray(plain[: len(plain) - len(payload)])
    head[0] = opcode | (0x80 if fin else 0)
    head[1] |= 0x80
    return bytes(head) + mask + frames.unmask(payload, mask)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
def test_frames_are_as_another_library_writes_and_reads_them(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    theirs = Frame(Opcode.BINARY, payload)
    assert frames.frame(BINARY, payload) == theirs.serialize(mask=False)
    assert FrameReader(100_000).read(theirs.serialize(mask=True)) == [(BINARY, payload)]


def test_what_was_framed_can_be_had_again() -> None:
    said = [b"", b"x", b"x" * 125, b"x" * 126, b"x" * 65535, b"x" * 65536, b"y"]
    assert frames.payloads(b"".join(map(frames.text, said))) == said
    assert frames.payloads(b"") == []


def test_a_close_frame_carries_its_code() -> None:
    assert frames.close(1012) == b"\x88\x02\x03\xf4"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_it_does_not_matter_how_bytes_are_cut(step: int) -> None:
    said = [(TEXT, b"40"), (TEXT, b""), (BINARY, b"x" * 300), (PING, b"!"), (TEXT, b"y" * 70_000)]
    stream = b"".join(masked(payload, opcode) for opcode, payload in said)
    reader = FrameReader(70_000)
    heard = []
    for at in range(0, len(stream), step):
        heard += reader.read(stream[at : at + step])
    assert heard == said


def test_a_message_in_parts_is_whole_and_control_frames_may_come_between() -> None:
    reader = FrameReader(100)
    assert reader.read(masked(b"a", fin=False)) == []
    assert reader.read(masked(b"?", PING)) == [(PING, b"?")]
    assert reader.read(masked(b"b", 0, fin=False)) == []
    assert reader.read(masked(b"c", 0) + masked(b"d")) == [(TEXT, b"abc"), (TEXT, b"d")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.text(b"not masked"), 1002),
        (b"\xc1\x80\x00\x00\x00\x00", 1002),  # compressed, which nobody agreed on
        (masked(b"", 3), 1002),
        (masked(b"", 11), 1002),
        (masked(b"out of place", 0), 1002),
        (masked(b"a", fin=False) + masked(b"b"), 1002),
        (masked(b"x" * 126, PING), 1002),
        (masked(b"", CLOSE, fin=False), 1002),
        (masked(b"x" * 101), 1009),
        (masked(b"x" * 60, fin=False) + masked(b"x" * 41, 0), 1009),
        (b"\x81\xff" + b"\xff" * 8 + b"\x00" * 4, 1009),
    ],
)
def test_what_is_no_frame_of_a_client_is_refused(data: bytes, code: int) -> None:
    with pytest.raises(FrameError) as refusal:
        FrameReader(100).read(data)
    assert refusal.value.code == code


def test_a_long_message_byte_by_byte_is_not_looked_at_each_time() -> None:
    class Counting(FrameReader):
        looks = 0

        def _head(self, data: bytes, at: int) -> Any:
            self.looks += 1
            return super()._head(data, at)

    reader = Counting(10_000)
    for byte in masked(b"x" * 10_000):
        reader.read(bytes((byte,)))
    assert reader.looks < 20


def test_fragments_without_end_that_hold_nothing_take_no_memory() -> None:
    reader = FrameReader(1000)
    assert reader.read(masked(b"a", fin=False)) == []
    empty = masked(b"", frames.CONTINUATION, fin=False)
    for _ in range(100):
        assert reader.read(empty * 100) == []
    assert reader._parts == [b"a"]
    assert reader.read(masked(b"b", frames.CONTINUATION)) == [(TEXT, b"ab")]
