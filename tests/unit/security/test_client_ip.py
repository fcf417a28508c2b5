"""Whose request it is, whatever its headers claim."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.security.client_ip import UNKNOWN, ClientAddress, address_group, direct_loopback

FLY = ClientAddress(["172.16.0.0/12", "fdaa::/16"], "Fly-Client-IP")
CHAIN = ClientAddress(["10.0.0.0/8", "127.0.0.1"], "X-Forwarded-For")


def request(peer: str | None, **headers: str) -> dict[str, Any]:
    named = [(name.replace("_", "-").lower().encode(), v.encode()) for name, v in headers.items()]
    return {"client": None if peer is None else (peer, 40000), "headers": named}


@pytest.mark.parametrize(
    ("peer", "chain", "client"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.9", "203.0.113.9"),  # its first part is what it claimed
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # one of us asks for itself
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::9]:4711", "2001:db8::9"),
        ("10.0.0.1", "2001:DB8:0::9", "2001:db8::9"),
        ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("203.0.113.1", "198.51.100.7", "203.0.113.1"),  # no proxy of ours
    ],
)
def test_a_chain_is_believed_as_far_as_trusted_proxies_wrote_it(
    peer: str, chain: str, client: str
) -> None:
    assert CHAIN.client(request(peer, x_forwarded_for=chain)) == client


def test_a_chain_may_come_in_several_headers() -> None:
    scope = request("10.0.0.1")
    scope["headers"] = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.9")]
    assert CHAIN.client(scope) == "203.0.113.9"


def test_a_chain_without_end_is_read_so_far() -> None:
    scope = request("10.0.0.1", x_forwarded_for="203.0.113.9," + "10.0.0.2," * 10_000 + "10.0.0.2")
    assert CHAIN.client(scope) == "10.0.0.2"


@pytest.mark.parametrize(
    ("peer", "said", "client"),
    [
        ("172.16.9.9", "203.0.113.9", "203.0.113.9"),
        ("fdaa::1", "2001:db8::9", "2001:db8::9"),
        ("172.16.9.9", "203.0.113.9, 198.51.100.7", "172.16.9.9"),
        ("172.16.9.9", "nonsense", "172.16.9.9"),
        ("203.0.113.1", "198.51.100.7", "203.0.113.1"),
    ],
)
def test_a_single_address_is_believed_of_trusted_proxies(peer: str, said: str, client: str) -> None:
    assert FLY.client(request(peer, fly_client_ip=said)) == client


def test_a_single_address_that_comes_twice_is_not_believed() -> None:
    scope = request("172.16.9.9")
    scope["headers"] = [(b"fly-client-ip", b"1.1.1.1"), (b"fly-client-ip", b"203.0.113.9")]
    assert FLY.client(scope) == "172.16.9.9"


def test_other_headers_are_not_looked_at() -> None:
    scope = request("172.16.9.9", x_forwarded_for="1.1.1.1", x_real_ip="1.1.1.1")
    assert FLY.client(scope) == "172.16.9.9"


def test_by_default_nobody_is_believed() -> None:
    scope = request("127.0.0.1", x_forwarded_for="203.0.113.9", fly_client_ip="203.0.113.9")
    assert ClientAddress().client(scope) == "127.0.0.1"


@pytest.mark.parametrize("peer", [None, "", "/run/bridge.sock"])
def test_a_peer_without_an_address_is_unknown(peer: str | None) -> None:
    assert CHAIN.client(request(peer, x_forwarded_for="203.0.113.9")) == UNKNOWN


@given(st.text(st.characters(max_codepoint=255), max_size=200), st.booleans())
def test_whatever_a_header_holds_there_is_an_address(text: str, trusted: bool) -> None:
    peer = "10.0.0.1" if trusted else "203.0.113.1"
    scope = {"client": (peer, 1), "headers": [(b"x-forwarded-for", text.encode("latin-1"))]}
    client = CHAIN.client(scope)
    assert address_group(client)
    assert trusted or client == peer


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        (UNKNOWN, UNKNOWN),
    ],
)
def test_of_ipv6_a_network_counts_as_one(address: str, counted: str) -> None:
    assert address_group(address) == counted


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_known_by_its_addresses(peer: str) -> None:
    assert direct_loopback(request(peer))


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "via", "fly_client_ip"])
def test_who_asks_for_somebody_else_is_not_this_machine(header: str) -> None:
    assert not direct_loopback(request("127.0.0.1", **{header: "127.0.0.1"}))


@pytest.mark.parametrize("peer", [None, "10.0.0.1", "203.0.113.1", "2001:db8::1"])
def test_others_are_not_this_machine(peer: str | None) -> None:
    assert not direct_loopback(request(peer))


def test_a_proxy_that_is_not_trusted_is_noticed() -> None:
    assert CHAIN.is_untrusted_proxy(request("172.16.0.1", x_forwarded_for="203.0.113.9"))
    assert not CHAIN.is_untrusted_proxy(request("10.0.0.1", x_forwarded_for="203.0.113.9"))
    assert not CHAIN.is_untrusted_proxy(request("172.16.0.1"))
    assert not CHAIN.is_untrusted_proxy(request("8.8.8.8", x_forwarded_for="203.0.113.9"))


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "proxy.internal", "*", ""])
def test_wrong_networks_are_told(text: str) -> None:
    with pytest.raises(ValueError, match="expected addresses and networks"):
        ClientAddress([text])


@pytest.mark.parametrize("header", ["", "X Forwarded", "X-Forwarded-For:", "Ünicode"])
def test_wrong_headers_are_told(header: str) -> None:
    with pytest.raises(ValueError, match="expected the name of a header"):
        ClientAddress([], header)


OWN: list[tuple[bytes, bytes]] = []
PROXIED = [(b"x-forwarded-for", b"203.0.113.7")]


@pytest.mark.parametrize(
    ("client", "headers", "counted"),
    [
        ("127.0.0.1", OWN, None),
        ("::1", OWN, None),
        ("127.0.0.1", PROXIED, "127.0.0.1"),
        ("10.0.0.7", OWN, "10.0.0.7"),
        ("2001:db8::1", OWN, "2001:db8::/64"),
    ],
)
def test_only_what_comes_straight_from_this_machine_is_not_counted(
    client: str, headers: list[tuple[bytes, bytes]], counted: str | None
) -> None:
    scope = {"client": (client, 1), "headers": headers}
    assert ClientAddress(count_loopback=False).rate_limit_key(scope) == counted
    assert ClientAddress().rate_limit_key(scope) is not None
