"""What an API key claims."""

from __future__ import annotations

import jwt
import pytest

from bridge.source.table_checks import key_role


@pytest.mark.parametrize(
    ("key", "role"),
    [
        ("sb_secret_abc", "service_role"),
        ("sb_publishable_abc", ""),
        (jwt.encode({"role": "service_role"}, "x" * 32), "service_role"),
        (jwt.encode({"role": "reader"}, "x" * 32), "reader"),
        (jwt.encode({}, "x" * 32), ""),
        ("a.b.c", ""),
        ("", ""),
    ],
)
def test_role_is_read_from_an_api_key(key: str, role: str) -> None:
    assert key_role(key) == role
