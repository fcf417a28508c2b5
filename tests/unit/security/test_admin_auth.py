"""Authentication of operators."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from bridge.clock import ManualClock
from bridge.security.admin_auth import WRONG_BURST, AdminAuth, AdminRequestRejected
from bridge.security.client_ip import ClientAddress

SECRET = "the operators' own secret"


def operators(secret: str | None = SECRET, clock: ManualClock | None = None) -> AdminAuth:
    return AdminAuth(secret, ClientAddress(), clock=(clock or ManualClock()).monotonic)


def request(peer: str, *bears: str, **headers: str) -> dict[str, Any]:
    named = [(b"authorization", each.encode()) for each in bears]
    named += [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"client": (peer, 1), "headers": named}


def status(call: Any, scope: dict[str, Any]) -> int:
    try:
        call(scope)
    except AdminRequestRejected as refused:
        turned = refused
    else:
        return 200
    assert turned.message
    assert SECRET not in turned.message
    return turned.status


@pytest.mark.parametrize(
    ("bears", "expected"),
    [
        ([f"Bearer {SECRET}"], 200),
        ([f"bearer  {SECRET} "], 200),
        ([], 401),
        (["Bearer"], 401),
        (["Bearer "], 401),
        ([f"Basic {SECRET}"], 401),
        ([SECRET], 401),
        ([f"Bearer {SECRET}x"], 401),
        ([f"Bearer {SECRET[:-1]}"], 401),
        ([f"Bearer {SECRET}", "Bearer x"], 401),
        (["Bearer \xff\xfe"], 401),
    ],
)
def test_bearer_of_the_secret_may_read_and_write(bears: list[str], expected: int) -> None:
    for peer in ("127.0.0.1", "203.0.113.9"):
        assert status(operators().require_read, request(peer, *bears)) == expected
        assert status(operators().require_write, request(peer, *bears)) == expected


def test_loopback_may_read_without_a_secret() -> None:
    assert status(operators(None).require_read, request("127.0.0.1")) == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("bridge.localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("127.9.9.9", 200),
        ("[::1]:8000", 200),
        ("evil.net", 403),
        ("evil.net:8000", 403),
        ("localhost.evil.net:8000", 403),
        ("127.0.0.1.evil.net", 403),
        ("notlocalhost", 403),
        ("203.0.113.9", 403),
        ("", 403),
    ],
)
def test_read_without_a_secret_needs_a_loopback_host(host: str, expected: int) -> None:
    assert status(operators(None).require_read, request("127.0.0.1", host=host)) == expected


def test_read_with_the_secret_may_name_any_host() -> None:
    scope = request("127.0.0.1", f"Bearer {SECRET}", host="evil.net")
    assert status(operators().require_read, scope) == 200


@pytest.mark.parametrize(
    "scope",
    [
        request("203.0.113.9"),
        request("10.0.0.1"),
        request("127.0.0.1", x_forwarded_for="127.0.0.1"),
        request("127.0.0.1", fly_client_ip="127.0.0.1"),
        {"client": None, "headers": []},
    ],
)
def test_other_addresses_may_not_read_without_a_secret(scope: dict[str, Any]) -> None:
    assert status(operators(None).require_read, scope) == 403


def test_writes_are_rejected_without_a_secret() -> None:
    assert status(operators(None).require_write, request("127.0.0.1")) == 403
    assert status(operators(None).require_write, request("127.0.0.1", "Bearer ")) == 403


def test_right_secret_is_rejected_after_too_many_wrong_ones() -> None:
    clock = ManualClock()
    auth = operators(clock=clock)
    answers = [status(auth.require_read, request("203.0.113.9", f"Bearer {n}")) for n in range(20)]
    assert answers == [401] * WRONG_BURST + [429] * (20 - WRONG_BURST)
    assert status(auth.require_read, request("203.0.113.9", f"Bearer {SECRET}")) == 429
    assert status(auth.require_read, request("203.0.113.10", f"Bearer {SECRET}")) == 200
    clock.advance(3600)
    assert status(auth.require_read, request("203.0.113.9", f"Bearer {SECRET}")) == 200


def test_request_without_a_secret_does_not_count_as_a_wrong_one() -> None:
    auth = operators()
    for _ in range(50):
        assert status(auth.require_read, request("203.0.113.9")) == 401
    assert status(auth.require_read, request("203.0.113.9", f"Bearer {SECRET}")) == 200


def test_wrong_secret_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        status(operators().require_read, request("203.0.113.9", "Bearer nearly-the-secret"))
    assert "203.0.113.9" in caplog.text
    assert "nearly" not in caplog.text
