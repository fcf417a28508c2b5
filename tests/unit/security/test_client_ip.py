"""Client addresses of requests with any headers."""

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
        (
            "10.0.0.1",
            "1.1.1.1, 203.0.113.9",
            "203.0.113.9",
        ),  # the first part was sent by the client
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # a request of a proxy itself
        ("10.0.0.1", "203.0.113.9:4711", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::9]:4711", "2001:db8::9"),
        ("10.0.0.1", "2001:DB8:0::9", "2001:db8::9"),
        ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("203.0.113.1", "198.51.100.7", "203.0.113.1"),  # not a trusted proxy
    ],
)
def test_forwarding_chain_is_read_up_to_the_first_untrusted_address(
    peer: str, chain: str, client: str
) -> None:
    assert CHAIN.client(request(peer, x_forwarded_for=chain)) == client


def test_forwarding_chain_may_span_several_headers() -> None:
    scope = request("10.0.0.1")
    scope["headers"] = [(b"x-forwarded-for", b"1.1.1.1"), (b"x-forwarded-for", b"203.0.113.9")]
    assert CHAIN.client(scope) == "203.0.113.9"


def test_forwarding_chain_is_read_up_to_a_bound() -> None:
    scope = request("10.0.0.1", x_forwarded_for="203.0.113.9," + "10.0.0.2," * 10_000 + "10.0.0.2")
    assert CHAIN.client(scope) == "10.0.0.2"


@pytest.mark.parametrize(
    ("peer", "sent", "client"),
    [
        ("172.16.9.9", "203.0.113.9", "203.0.113.9"),
        ("fdaa::1", "2001:db8::9", "2001:db8::9"),
        ("172.16.9.9", "203.0.113.9, 198.51.100.7", "172.16.9.9"),
        ("172.16.9.9", "nonsense", "172.16.9.9"),
        ("203.0.113.1", "198.51.100.7", "203.0.113.1"),
    ],
)
def test_single_address_header_is_read_from_trusted_proxies(
    peer: str, sent: str, client: str
) -> None:
    assert FLY.client(request(peer, fly_client_ip=sent)) == client


def test_single_address_header_is_ignored_if_repeated() -> None:
    scope = request("172.16.9.9")
    scope["headers"] = [(b"fly-client-ip", b"1.1.1.1"), (b"fly-client-ip", b"203.0.113.9")]
    assert FLY.client(scope) == "172.16.9.9"


def test_other_forwarding_headers_are_ignored() -> None:
    scope = request("172.16.9.9", x_forwarded_for="1.1.1.1", x_real_ip="1.1.1.1")
    assert FLY.client(scope) == "172.16.9.9"


def test_forwarding_headers_are_ignored_by_default() -> None:
    scope = request("127.0.0.1", x_forwarded_for="203.0.113.9", fly_client_ip="203.0.113.9")
    assert ClientAddress().client(scope) == "127.0.0.1"


@pytest.mark.parametrize(
    ("peer", "hosts"),
    [
        ("127.0.0.1", ["bridge:1", "a.example", "b.example"]),
        ("203.0.113.1", ["bridge:1"]),
        (None, ["bridge:1"]),
    ],
    ids=["trusted", "untrusted", "no address"],
)
def test_forwarded_host_is_read_from_trusted_proxies(peer: str | None, hosts: list[str]) -> None:
    scope = request(peer, host="bridge:1", x_forwarded_host="a.example, b.example")
    assert ClientAddress(["127.0.0.1"]).hosts(scope) == hosts


@pytest.mark.parametrize("peer", [None, "", "/run/bridge.sock"])
def test_peer_without_an_address_is_unknown(peer: str | None) -> None:
    assert CHAIN.client(request(peer, x_forwarded_for="203.0.113.9")) == UNKNOWN


@given(st.text(st.characters(max_codepoint=255), max_size=200), st.booleans())
def test_client_address_exists_for_any_header(text: str, trusted: bool) -> None:
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
def test_address_group_of_ipv6_is_a_network(address: str, counted: str) -> None:
    assert address_group(address) == counted


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_direct_loopback_is_recognized_by_address(peer: str) -> None:
    assert direct_loopback(request(peer))


@pytest.mark.parametrize("header", ["x_forwarded_for", "forwarded", "via", "fly_client_ip"])
def test_forwarded_request_is_not_direct_loopback(header: str) -> None:
    assert not direct_loopback(request("127.0.0.1", **{header: "127.0.0.1"}))


@pytest.mark.parametrize("peer", [None, "10.0.0.1", "203.0.113.1", "2001:db8::1"])
def test_other_addresses_are_not_direct_loopback(peer: str | None) -> None:
    assert not direct_loopback(request(peer))


def test_untrusted_proxy_is_detected() -> None:
    assert CHAIN.is_untrusted_proxy(request("172.16.0.1", x_forwarded_for="203.0.113.9"))
    assert not CHAIN.is_untrusted_proxy(request("10.0.0.1", x_forwarded_for="203.0.113.9"))
    assert not CHAIN.is_untrusted_proxy(request("172.16.0.1"))
    assert not CHAIN.is_untrusted_proxy(request("8.8.8.8", x_forwarded_for="203.0.113.9"))


@pytest.mark.parametrize("text", ["10.0.0.0/33", "10.0.0.1/8", "proxy.internal", "*", ""])
def test_invalid_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="expected addresses and networks"):
        ClientAddress([text])


@pytest.mark.parametrize("header", ["", "X Forwarded", "X-Forwarded-For:", "Ünicode"])
def test_invalid_header_name_is_rejected(header: str) -> None:
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
def test_only_direct_loopback_has_no_rate_limit_key(
    client: str, headers: list[tuple[bytes, bytes]], counted: str | None
) -> None:
    scope = {"client": (client, 1), "headers": headers}
    assert ClientAddress(count_loopback=False).rate_limit_key(scope) == counted
    assert ClientAddress().rate_limit_key(scope) is not None
