"""Events are encoded once, joined, and sent in the form of each transport."""

from __future__ import annotations

import json

import engineio.packet as eio
import socketio.packet as sio
from websockets.frames import OP_TEXT
from websockets.protocol import CLIENT, OPEN, Protocol

from bridge.gateway.engineio import encoding as parcel
from bridge.gateway.engineio.encoding import (
    MAX_JOINED_BYTES,
    EncodedEvent,
    EncodedPackets,
    join_events,
)
from tests.fakes import entry


def telling(seq: int, **data: str) -> EncodedEvent:
    event = entry(seq, "TX", key="p1", name="property-updated", **data).event
    return EncodedEvent(event.name, event.envelope, f"e-{seq}")


def framed(data: bytes) -> list[str]:
    """Return the text messages in websocket frames, as a client decodes them."""
    client = Protocol(CLIENT, state=OPEN)
    client.receive_data(data)
    out = []
    for frame in client.events_received():
        assert frame.opcode is OP_TEXT  # type: ignore[union-attr]
        out.append(bytes(frame.data).decode())  # type: ignore[union-attr]
    return out


def test_an_event_is_one_socketio_packet_envelope_first_and_position_last() -> None:
    event = entry(1, "TX", note='quotes " and ümlauts').event
    text = parcel.encode_event(event.name, event.envelope, 'e"1').decode()
    assert text.startswith('42["property-updated",{')
    decoded = sio.Packet(encoded_packet=text[1:])
    assert decoded.packet_type == sio.EVENT
    assert decoded.data == ["property-updated", json.loads(event.envelope), 'e"1']


def test_without_a_position_the_envelope_is_the_one_argument() -> None:
    assert parcel.encode_event("x", b"{}", None) == b'42["x",{}]'


def test_a_piece_is_the_same_for_websockets_and_polls() -> None:
    [piece] = join_events([telling(n, note="ü") for n in range(3)], positions=True)
    texts = [packet.encode(b64=True) for packet in piece.packets]
    assert framed(piece.frames) == texts
    assert [json.loads(text[2:])[2] for text in texts] == ["e-0", "e-1", "e-2"]


def test_event_is_encoded_once_with_position_and_once_without() -> None:
    told = telling(1)
    assert told.encoded(position=True) is told.encoded(position=True)
    assert told.encoded(position=False) is told.encoded(position=False)
    [piece] = join_events([told], positions=False)
    assert piece.packets is piece.packets
    assert json.loads(piece.packets[0].data[1:])[1:] == [json.loads(entry(1, "TX").event.envelope)]


def test_a_burst_is_joined_into_pieces_of_a_bounded_size() -> None:
    tellings = [telling(n, pad="x" * 1000) for n in range(300)]
    made = join_events(tellings, positions=True)
    assert len(made) == 6
    assert all(len(piece.frames) < MAX_JOINED_BYTES + 1000 for piece in made)
    assert [json.loads(text[2:])[2] for piece in made for text in framed(piece.frames)] == [
        f"e-{n}" for n in range(300)
    ]


def test_one_event_longer_than_a_piece_is_a_piece() -> None:
    made = join_events(
        [telling(0), telling(1, pad="x" * MAX_JOINED_BYTES), telling(2)], positions=True
    )
    assert [len(piece.packets) for piece in made] == [1, 1, 1]


def test_binary_packets_are_binary_frames_and_base64_in_polls() -> None:
    piece = EncodedPackets.of(eio.Packet(eio.MESSAGE, b"\x00\x01"))
    assert piece.frames == b"\x82\x02\x00\x01"
    assert [packet.encode(b64=True) for packet in piece.packets] == ["bAAE="]


def test_a_socketio_packet_is_one_engineio_message() -> None:
    assert framed(parcel.encode_message('0{"sid":"s"}').frames) == ['40{"sid":"s"}']
