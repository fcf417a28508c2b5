"""The body of a POST by JSONP."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from bridge.gateway.engineio.jsonp import jsonp_payload


@pytest.mark.parametrize(
    ("sent", "payload"),
    [
        ("4hello", "4hello"),
        ("4a\x1e4b", "4a\x1e4b"),
        ("4ü & = +", "4ü & = +"),
        ('42["x",{"a":"one\\\\ntwo"}]', '42["x",{"a":"one\\ntwo"}]'),
        ("4one\\ntwo", "4one\ntwo"),
        ("", ""),
    ],
)
def test_payload_is_the_field_d_with_newlines_unescaped(sent: str, payload: str) -> None:
    assert jsonp_payload(urlencode({"d": sent})) == payload


@pytest.mark.parametrize("body", ["4hello", "", "e=4hello", "d=%FF"])
def test_form_without_the_field_is_rejected(body: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - as any packet that can't be decoded
        jsonp_payload(body)
