"""Requests that another machine forwards: the key, and the address they had there."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.security.client_ip import ClientAddress
from bridge.security.peer_request import HEADER, PeerKey, forwarding_header, is_forwarded

PROXY = "10.0.0.2"
CLIENT = "203.0.113.9"


def arrived(peer: str | None = PROXY, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {
        "type": "http",
        "client": None if peer is None else (peer, 4242),
        "headers": [(b"x-forwarded-for", CLIENT.encode()), *headers],
        "extensions": {"some": {}},
    }


def forwarded(key: str, scope: dict[str, Any]) -> dict[str, Any]:
    """Return the request as it arrives from the machine that forwards it."""
    headers = [*scope["headers"], forwarding_header(key, scope)]
    return {**scope, "client": ("10.0.0.77", 1), "headers": headers, "extensions": {}}


def test_forwarded_request_has_the_address_that_it_had_at_the_other_machine() -> None:
    here = PeerKey()
    scope = here.accept(forwarded(here.value, arrived()))
    assert ClientAddress([PROXY]).client(scope) == CLIENT
    assert is_forwarded(scope)
    assert scope["headers"] == arrived()["headers"]


def test_forwarded_request_of_a_socket_without_an_address_has_none() -> None:
    here = PeerKey()
    assert here.accept(forwarded(here.value, arrived(None)))["client"] is None


@pytest.mark.parametrize("key", ["", "0" * 32, "0123456789abcdef0123456789abcdef"])
def test_header_with_another_key_changes_nothing(key: str) -> None:
    sent = forwarded(key, arrived())
    scope = PeerKey().accept(sent)
    assert scope["client"] == sent["client"]
    assert not is_forwarded(scope)
    assert HEADER not in dict(scope["headers"])


def test_two_headers_change_nothing() -> None:
    here = PeerKey()
    sent = forwarded(here.value, forwarded(here.value, arrived()))
    assert here.accept(sent)["client"] == sent["client"]


def test_request_without_the_header_is_passed_on_as_it_is() -> None:
    scope = arrived()
    assert PeerKey().accept(scope) is scope


def test_key_of_each_process_is_another_one() -> None:
    assert PeerKey().value != PeerKey().value
