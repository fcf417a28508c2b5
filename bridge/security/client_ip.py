"""Whose request it is: the client's address, behind proxies or not. Pure.

A header says what whoever sent it likes. So one is believed only where it was written by a proxy
that is trusted, and of `X-Forwarded-For`, to which each proxy appends, only the part that trusted
proxies wrote: it is read from the right, up to the first address that is no proxy of ours.
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
"""The address of a peer that has none, such as one behind a Unix socket."""

FORWARDED_FOR: Final = "x-forwarded-for"

FORWARDING: Final = frozenset(
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
"""Headers that say that a request came through somebody else."""

HOPS: Final = 32
"""Proxies in one header beyond which nobody looks."""

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class ClientAddress:
    """Which peers are proxies, and in which header they say for whom they ask."""

    def __init__(
        self,
        trusted: Iterable[str] = (),
        header: str = FORWARDED_FOR,
        *,
        count_loopback: bool = True,
    ) -> None:
        """`trusted` are addresses and networks (CIDR). Raises ValueError where one is neither, or
        where `header` is no name of a header. `count_loopback` says whether what comes straight
        from this machine is counted under its address like everything else.
        """
        self._count_loopback = count_loopback
        self._trusted = tuple(network(text) for text in trusted)
        if not _HEADER.fullmatch(header):
            raise ValueError("expected the name of a header, such as Fly-Client-IP")
        self._header = header.lower().encode("ascii")
        self._chain = header.lower() == FORWARDED_FOR

    def client(self, scope: Mapping[str, Any]) -> str:
        """The address that a request (an ASGI scope) came from, in its shortest form; `UNKNOWN` if
        its peer has none.
        """
        peer = _peer(scope)
        if peer is None:
            return UNKNOWN
        if not self._trusted or not self._trusts(peer):
            return str(peer)
        values = [value for name, value in scope["headers"] if name == self._header]
        if not self._chain:
            said = _address(values[0].decode("latin-1")) if len(values) == 1 else None
            return str(said or peer)
        believed = peer
        hops = b",".join(values).decode("latin-1").split(",")
        for hop in hops[: -HOPS - 1 : -1]:
            said = _address(hop)
            if said is None:
                break
            believed = said
            if not self._trusts(said):
                break
        return str(believed)

    def rate_limit_key(self, scope: Mapping[str, Any]) -> str | None:
        """What a request is counted under where something is limited by address: see `household`.
        None: it isn't.
        """
        if not self._count_loopback and direct_loopback(scope):
            return None
        return address_group(self.client(scope))

    def is_untrusted_proxy(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request looks as if it came through a proxy of ours that is not trusted: then
        all its clients count as one.
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
    """An address or a network. Raises ValueError, which says what was expected."""
    try:
        return ipaddress.ip_network(text, strict=True)
    except ValueError:
        raise ValueError(
            f"expected addresses and networks, such as 10.0.0.0/8 or fdaa::/16, came {text[:50]!r}"
        ) from None


def forwarded(scope: Mapping[str, Any]) -> bool:
    """Whether a request says that it came through somebody else."""
    return any(name in FORWARDING for name, _ in scope["headers"])


def direct_loopback(scope: Mapping[str, Any]) -> bool:
    """Whether a request comes from this machine, and not on behalf of anybody else."""
    peer = _peer(scope)
    return peer is not None and peer.is_loopback and not forwarded(scope)


def address_group(address: str) -> str:
    """What is counted as one: an IPv4 address, and of IPv6 the /64, of which one household or one
    machine has all addresses.
    """
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False))


def _peer(scope: Mapping[str, Any]) -> Address | None:
    client = scope.get("client")
    return _address(client[0]) if client else None


def _address(text: str) -> Address | None:
    """An address, with or without a port; None for anything else."""
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
