"""Websocket frames: what the server writes, and what it accepts from clients.

`websockets` is the oracle of the reader: `test_reader_agrees_with_websockets` compares messages,
rejections and close codes for random streams.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from websockets.frames import DATA_OPCODES, OP_CLOSE, OP_CONT, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from bridge.gateway.engineio import ws_frames as frames
from bridge.gateway.engineio.ws_frames import BINARY, CLOSE, PING, TEXT, FrameError, FrameReader
from tests.support.examples import examples


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
def test_frame_equals_the_frame_of_websockets(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    theirs = Frame(Opcode.BINARY, payload)
    assert frames.frame(BINARY, payload) == theirs.serialize(mask=False)
    assert FrameReader(100_000).read(theirs.serialize(mask=True)) == [(BINARY, payload)]


def test_payloads_returns_the_payloads_of_joined_frames() -> None:
    sent = [b"", b"x", b"x" * 125, b"x" * 126, b"x" * 65535, b"x" * 65536, b"y"]
    assert frames.payloads(b"".join(map(frames.text, sent))) == sent
    assert frames.payloads(b"") == []


def test_close_frame_carries_its_code() -> None:
    assert frames.close(1012) == b"\x88\x02\x03\xf4"


# -- the reader against its oracle

LIMIT = 66_000
"""Maximum message size of both readers. Above 65,536, so that every length form is accepted."""

BORDERS = (0, 1, 124, 125, 126, 127, 65_534, 65_535, 65_536, 65_537, LIMIT - 1, LIMIT, LIMIT + 1)
"""Payload sizes at which the length form or the decision changes."""


@dataclass(frozen=True)
class Sent:
    """A frame that a client sends. `pattern` is repeated up to `size`, so that a failure prints
    little.
    """

    opcode: int
    pattern: bytes = b"x"
    size: int = 1
    fin: bool = True
    mask: bytes = b"\x01\x02\x03\xff"
    header_xor: int = 0
    """Flips bits of the first two bytes, which makes most frames invalid."""

    def __bytes__(self) -> bytes:
        payload = (self.pattern * (self.size // len(self.pattern) + 1))[: self.size]
        encoded = masked(payload, self.opcode, fin=self.fin, mask=self.mask)
        header = int.from_bytes(encoded[:2], "big") ^ self.header_xor
        return header.to_bytes(2, "big") + encoded[2:]


WRONG = [0x1000, 0x2000, 0x4000, 0x0300, 0x0400, 0x8000, 0x0080]
"""Flipped: each reserved bit, two bits of the opcode, FIN, MASK."""


@st.composite
def client_frames(draw: st.DrawFn) -> Sent:
    """One frame: usually valid, otherwise with one wrong part in its header."""
    opcode = draw(st.sampled_from([0, 0, TEXT, TEXT, BINARY, CLOSE, PING, frames.PONG]))
    control = bool(opcode & 8)
    if opcode == CLOSE:  # valid ones: the reader returns its payload, websockets parses it
        pattern = draw(st.sampled_from([b"\x03\xe8", b"\x03\xe9bye", b"\x0b\xb8"]))
        size = len(pattern) * draw(st.integers(0, 1))
    else:
        pattern = draw(st.binary(min_size=1, max_size=4))
        size = draw(st.integers(0, 125) if control else sizes())
    frame = Sent(
        opcode,
        pattern,
        size,
        fin=control or draw(st.booleans()),
        mask=draw(st.binary(min_size=4, max_size=4)),
    )
    match draw(st.integers(0, 30)):
        case 0:
            return replace(frame, header_xor=draw(st.sampled_from(WRONG)))
        case 1 if control:
            return replace(frame, size=draw(st.integers(126, 300)))
    return frame


def sizes() -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 300), st.sampled_from(BORDERS))


def of_websockets(sent: list[Sent], stream: bytes) -> tuple[list[frames.Message], set[int]]:
    """Messages of a stream of these frames up to the first CLOSE, and the close codes with which it
    may be rejected; none if it is valid.

    The limit is applied here: websockets applies it to the control frames between fragments too.
    """
    protocol = ServerProtocol(state=State.OPEN, max_size=None)
    protocol.receive_data(stream)
    # websockets rejects a CLOSE between fragments, which RFC 6455, 5.4 allows.
    assume("incomplete fragmented message" not in str(protocol.parser_exc))
    messages: list[frames.Message] = []
    parts: list[bytes] = []
    opcode = Opcode.CONT
    accepted = protocol.events_received()
    for frame in accepted:
        assert isinstance(frame, Frame)
        if frame.opcode not in DATA_OPCODES:
            messages.append((frame.opcode, bytes(frame.data)))
            if frame.opcode is OP_CLOSE:
                return messages, set()
            continue
        if frame.opcode is not OP_CONT:
            opcode = frame.opcode
        parts.append(bytes(frame.data))
        if sum(map(len, parts)) > LIMIT:
            return messages, {frames.TOO_BIG}
        if frame.fin:
            messages.append((opcode, b"".join(parts)))
            parts.clear()
    if protocol.parser_exc is None:
        return messages, set()
    if sum(map(len, parts)) + sent[len(accepted)].size > LIMIT:
        return messages, {frames.PROTOCOL_ERROR, frames.TOO_BIG}
    return messages, {frames.PROTOCOL_ERROR}


def of_reader(stream: bytes, cuts: list[int]) -> tuple[list[frames.Message], int | None]:
    """Messages of a stream read in parts, up to the first CLOSE, and the code of its rejection."""
    reader = FrameReader(LIMIT)
    messages: list[frames.Message] = []
    for start, end in pairwise([0, *cuts, len(stream)]):
        try:
            read = reader.read(stream[start:end])
        except FrameError as error:
            return messages, error.code
        for message in read:
            messages.append(message)
            if message[0] == CLOSE:
                return messages, None
    return messages, None


def stream_of(sent: list[Sent]) -> bytes:
    """The bytes of these frames up to the first CLOSE: no client sends anything after it, and
    websockets stops parsing there, while the reader leaves that to its caller.
    """
    encoded = [bytes(frame) for frame in sent]
    ends = [number for number, frame in enumerate(encoded, 1) if frame[0] & 15 == CLOSE]
    return b"".join(encoded[: ends[0] if ends else None])


def cut_at(stream: bytes, choices: list[int]) -> list[int]:
    return sorted({choice % (len(stream) + 1) for choice in choices})


CUTS = st.lists(st.integers(0, 2**20), max_size=8)
SIX = 60_006 + 8
"""Where the frame after one of 60,000 bytes starts."""


@settings(max_examples=examples(400))
@given(sent=st.lists(client_frames(), min_size=1, max_size=6), choices=CUTS)
@example(sent=[Sent(TEXT, size=LIMIT)], choices=[])
@example(sent=[Sent(TEXT, size=LIMIT + 1)], choices=[])
@example(sent=[Sent(TEXT, size=60_000, fin=False), Sent(0, size=6_000)], choices=[1, SIX + 1])
@example(sent=[Sent(TEXT, size=60_000, fin=False), Sent(0, size=6_001)], choices=[1, SIX + 1])
@example(sent=[Sent(TEXT, fin=False), Sent(PING, b"?"), Sent(0)], choices=[7])
@example(sent=[Sent(TEXT, fin=False), Sent(BINARY)], choices=[])
@example(sent=[Sent(0)], choices=[])
def test_reader_agrees_with_websockets(sent: list[Sent], choices: list[int]) -> None:
    stream = stream_of(sent)
    theirs, codes = of_websockets(sent, stream)
    ours, code = of_reader(stream, cut_at(stream, choices))
    assert code in codes if codes else code is None
    if code is None:
        assert ours == theirs
    else:
        # Messages in the same read as the invalid frame are not returned.
        assert ours == theirs[: len(ours)]


@settings(max_examples=examples(200))
@given(
    sent=st.lists(client_frames(), min_size=1, max_size=4), end=st.integers(0, 2**20), choices=CUTS
)
def test_reader_agrees_with_websockets_on_an_incomplete_stream(
    sent: list[Sent], end: int, choices: list[int]
) -> None:
    stream = stream_of(sent)
    stream = stream[: end % (len(stream) + 1)]
    theirs, codes = of_websockets(sent, stream)
    ours, code = of_reader(stream, cut_at(stream, choices))
    if code is None and not codes:
        assert ours == theirs
    else:
        # Each may reject an incomplete frame for which the other one still waits.
        assert ours[: len(theirs)] == theirs[: len(ours)]


# -- the reader alone


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_reader_returns_the_same_messages_for_any_chunk_size(step: int) -> None:
    sent = [(TEXT, b"40"), (TEXT, b""), (BINARY, b"x" * 300), (PING, b"!"), (TEXT, b"y" * 70_000)]
    stream = b"".join(masked(payload, opcode) for opcode, payload in sent)
    reader = FrameReader(70_000)
    received = []
    for at in range(0, len(stream), step):
        received += reader.read(stream[at : at + step])
    assert received == sent


def test_reader_joins_fragments_and_returns_control_frames_between_them() -> None:
    reader = FrameReader(100)
    assert reader.read(masked(b"a", fin=False)) == []
    assert reader.read(masked(b"?", PING)) == [(PING, b"?")]
    assert reader.read(masked(b"b", 0, fin=False)) == []
    assert reader.read(masked(b"c", 0) + masked(b"d")) == [(TEXT, b"abc"), (TEXT, b"d")]
    assert reader.read(masked(b"e", fin=False) + masked(b"", CLOSE)) == [(CLOSE, b"")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frames.text(b"not masked"), 1002),
        (b"\xc1\x80\x00\x00\x00\x00", 1002),  # compressed, though no extension is negotiated
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
def test_reader_rejects_an_invalid_frame_with_its_close_code(data: bytes, code: int) -> None:
    with pytest.raises(FrameError) as error:
        FrameReader(100).read(data)
    assert error.value.code == code


def test_reader_parses_few_times_for_a_long_message_byte_by_byte() -> None:
    class Counting(FrameReader):
        parses = 0

        def _parse_header(self, data: bytes, at: int) -> Any:
            self.parses += 1
            return super()._parse_header(data, at)

    reader = Counting(10_000)
    for byte in masked(b"x" * 10_000):
        reader.read(bytes((byte,)))
    assert reader.parses < 20


def test_reader_keeps_no_empty_fragments() -> None:
    reader = FrameReader(1000)
    assert reader.read(masked(b"a", fin=False)) == []
    empty = masked(b"", frames.CONTINUATION, fin=False)
    for _ in range(100):
        assert reader.read(empty * 100) == []
    assert reader._parts == [b"a"]
    assert reader.read(masked(b"b", frames.CONTINUATION)) == [(TEXT, b"ab")]
