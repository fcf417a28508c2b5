"""Packets of clients are decoded, and malformed ones rejected."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.gateway.socketio.packet import PacketError, SocketPacket


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", (0, None, None, None)),
        ('0/n,{"a":1}', (0, "/n", None, {"a": 1})),
        ('0"TX"', (0, None, None, "TX")),
        ("1", (1, None, None, None)),
        ('2["a",1]', (2, None, None, ["a", 1])),
        ('27["a"]', (2, None, 7, ["a"])),
        ("37[]", (3, None, 7, [])),
    ],
)
def test_a_packet_is_read(text: str, expected: tuple[Any, ...]) -> None:
    it = SocketPacket(encoded_packet=text)
    assert (it.packet_type, it.namespace, it.id, it.data) == expected


@pytest.mark.parametrize(
    "text",
    [
        "abc", "7", "9[]", b"2", b"\x00", {"a": 1}, 5,  # no type
        "2", "2{}", "2[]", "2[null]", '2"a"', "2[", 'a["x"]', '2abc["x"]',  # no event
        "3", "3{}", '1["x"]', '4{"message":"x"}',
        "2" + "1" * 101 + '["x"]', "51-", "5" + "1" * 11 + '-["x"]', "2" + "[" * 100_000,
        '511-["x"]', '69999999999-["x"]',  # more attachments than are kept
    ],
)  # fmt: skip
def test_malformed_packet_raises_packet_error(text: Any) -> None:
    with pytest.raises(PacketError):
        SocketPacket(encoded_packet=text)


def test_attachments_take_their_places() -> None:
    it = SocketPacket(
        encoded_packet='52-["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]'
    )
    assert not it.add_attachment(b"x")
    assert it.add_attachment(b"y")
    assert it.data == ["a", b"y", b"x"]


@pytest.mark.parametrize("number", ["5", '"x"', "-3", "null"])
def test_a_place_that_no_attachment_has_is_broken(number: str) -> None:
    it = SocketPacket(encoded_packet=f'51-["a",{{"_placeholder":true,"num":{number}}}]')
    with pytest.raises(PacketError):
        it.add_attachment(b"x")


def test_a_text_is_no_attachment() -> None:
    it = SocketPacket(encoded_packet='51-["a",{"_placeholder":true,"num":0}]')
    with pytest.raises(PacketError):
        it.add_attachment("x")
