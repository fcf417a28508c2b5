"""Address of the client of a request, behind proxies or not. No I/O.

Any sender can set a forwarding header, so it is used only if the peer is a trusted proxy. Each
proxy appends to `X-Forwarded-For`; it is read from the right, up to the first address that is not a
trusted proxy.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNKNOWN: Final = "unknown"
"""Address of a peer without one, such as on a Unix socket."""

FORWARDED_FOR: Final = "x-forwarded-for"

FORWARDING_HEADERS: Final = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
        b"x-client-ip",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"fly-client-ip",
        b"fly-forwarded-port",
    }
)
"""Headers that mark a request as forwarded by a proxy."""

MAX_HOPS: Final = 32
"""Maximum number of addresses read from `X-Forwarded-For`."""

_PORT: Final = re.compile(r":[0-9]*$")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class ClientAddress:
    """Finds the client's address of a request, with a list of trusted proxies and the header in
    which they send it.
    """

    def __init__(
        self,
        trusted: Iterable[str] = (),
        header: str = FORWARDED_FOR,
        *,
        count_loopback: bool = True,
    ) -> None:
        """`trusted` are addresses and networks (CIDR). Raises ValueError if one is neither, or if
        `header` is not a valid header name. With `count_loopback`, limits per address apply to
        direct connections from this machine, too.
        """
        self._count_loopback = count_loopback
        self._trusted = tuple(network(text) for text in trusted)
        if not _HEADER.fullmatch(header):
            raise ValueError("expected the name of a header, such as Fly-Client-IP")
        self._header = header.lower().encode("ascii")
        self._chain = header.lower() == FORWARDED_FOR

    def client(self, scope: Mapping[str, Any]) -> str:
        """Return the client's address of a request (an ASGI scope), in its shortest form;
        `UNKNOWN` if the peer has none.
        """
        peer = _peer(scope)
        if peer is None:
            return UNKNOWN
        if not self._trusted or not self._trusts(peer):
            return str(peer)
        values = [value for name, value in scope["headers"] if name == self._header]
        if not self._chain:
            sent = _address(values[0].decode("latin-1")) if len(values) == 1 else None
            return str(sent or peer)
        client = peer
        hops = b",".join(values).decode("latin-1").split(",")
        for hop in hops[: -MAX_HOPS - 1 : -1]:
            address = _address(hop)
            if address is None:
                break
            client = address
            if not self._trusts(address):
                break
        return str(client)

    def hosts(self, scope: Mapping[str, Any]) -> list[str]:
        """Return the hosts that a request was sent to: its `Host`, and the `X-Forwarded-Host` of a
        trusted proxy.
        """
        peer = _peer(scope)
        names = {b"host"}
        if peer is not None and self._trusts(peer):
            names.add(b"x-forwarded-host")
        return [
            host.strip()
            for name, value in scope["headers"]
            if name in names
            for host in value.decode("latin-1").split(",")
        ]

    def rate_limit_key(self, scope: Mapping[str, Any]) -> str | None:
        """Return the key of a request for limits per address, see `address_group`; None if it is
        not limited.
        """
        if not self._count_loopback and direct_loopback(scope):
            return None
        return address_group(self.client(scope))

    def is_untrusted_proxy(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request seems to be forwarded by a local proxy that is not trusted: all its
        clients then share one address.
        """
        peer = _peer(scope)
        return (
            peer is not None
            and (peer.is_private or peer.is_loopback)
            and not self._trusts(peer)
            and forwarded(scope)
        )

    def _trusts(self, address: Address) -> bool:
        return any(address.version == each.version and address in each for each in self._trusted)


def network(text: str) -> Network:
    """Parse an address or a network. Raises ValueError with the expected syntax."""
    try:
        return ipaddress.ip_network(text, strict=True)
    except ValueError:
        raise ValueError(
            f"expected addresses and networks, such as 10.0.0.0/8 or fdaa::/16, got {text[:50]!r}"
        ) from None


def forwarded(scope: Mapping[str, Any]) -> bool:
    """Whether a request has a header of a proxy."""
    return any(name in FORWARDING_HEADERS for name, _ in scope["headers"])


def direct_loopback(scope: Mapping[str, Any]) -> bool:
    """Whether a request is sent from this machine and not forwarded."""
    peer = _peer(scope)
    return peer is not None and peer.is_loopback and not forwarded(scope)


def loopback_host(scope: Mapping[str, Any]) -> bool:
    """Whether a request names this machine in its `Host`, or has none. A page can send requests
    from this machine to a name of its own that resolves to loopback (DNS rebinding), but it can't
    change the `Host`.
    """
    for name, value in scope["headers"]:
        if name == b"host":
            host = value.decode("latin-1").lower()
            address = _address(host)
            if address is None and _PORT.sub("", host).rpartition(".")[2] != "localhost":
                return False
            if address is not None and not address.is_loopback:
                return False
    return True


def address_group(address: str) -> str:
    """Return the unit of limits per address: an IPv4 address, or the /64 of an IPv6 address, which
    usually belongs to one household or machine.
    """
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False))


def _peer(scope: Mapping[str, Any]) -> Address | None:
    client = scope.get("client")
    return _address(client[0]) if client else None


def _address(text: str) -> Address | None:
    """Parse an address with or without a port; None for anything else."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
