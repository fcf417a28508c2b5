"""Origins of pages that may connect. No I/O.

A browser sends the `Origin` of the page with every websocket's handshake and every cross-origin
request, and a page cannot forge it. Other programs send none, or any: the check of the origin
excludes foreign pages, not foreign programs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from bridge.security.public_suffixes import public_suffix

if TYPE_CHECKING:
    from collections.abc import Iterable

ANY: Final = "*"

MAX_CHARACTERS: Final = 512
"""Longest accepted origin: a scheme, 253 characters of host, a port."""

DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}

PRIVATE: Final = frozenset({"localhost", "local", "internal", "test", "lan", "home"})
"""Top-level labels below which no public name can be registered."""

_ORIGIN: Final = re.compile(
    r"([a-z][a-z0-9+.-]*)://"
    r"([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::([0-9]{1,5}))?"
)
_PATTERN: Final = re.compile(
    r"([a-z][a-z0-9+.-]*)://([a-z0-9_*-]+(?:\.[a-z0-9_*-]+)*)(?::([0-9]{1,5}))?"
)
_LABEL: Final = "[a-z0-9_-]+"


class Origins:
    """A list of origins and patterns. In a pattern, `*` matches one or more letters, digits and
    hyphens within one label of the host: `https://my-app-*-team.vercel.app`. `*` alone matches any
    origin. The bridge's own origin is always allowed.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ValueError with the invalid pattern and the expected syntax."""
        listed = tuple(patterns)
        if ANY in listed and len(listed) > 1:
            raise ValueError("expected either * alone or a list of origins, got both")
        self.any = listed == (ANY,)
        self._exact: set[str] = set()
        self._patterns: list[re.Pattern[str]] = []
        for pattern in () if self.any else listed:
            if "*" in pattern:
                self._patterns.append(_compiled(pattern))
            else:
                origin = normalize_origin(pattern)
                if origin is None:
                    raise ValueError(_expected(pattern))
                self._exact.add(origin)

    def allows(self, origin: str | None, *hosts: str) -> bool:
        """Whether a page of `origin` may connect, with a request to one of `hosts`: the `Host` and
        those that a trusted proxy forwarded. A request without an origin is not sent by a page and
        is allowed.
        """
        if origin is None or self.any:
            return True
        normal = normalize_origin(origin)
        if normal is None:
            return False
        if normal in self._exact or any(each.fullmatch(normal) for each in self._patterns):
            return True
        # The scheme is not compared: the bridge may be behind a proxy that ends TLS.
        scheme = normal.partition("://")[0]
        return any(normal == normalize_origin(f"{scheme}://{host}") for host in hosts)


def normalize_origin(origin: str) -> str | None:
    """Return an origin in lower case and without its scheme's default port; None if invalid."""
    if len(origin) > MAX_CHARACTERS:
        return None
    match = _ORIGIN.fullmatch(origin.lower())
    return None if match is None else _origin(*match.groups())


def _origin(scheme: str, host: str, port: str | None) -> str:
    port = port and (port.lstrip("0") or "0")
    default = port is None or port == DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}" if default else f"{scheme}://{host}:{port}"


def _compiled(pattern: str) -> re.Pattern[str]:
    match = _PATTERN.fullmatch(pattern.lower())
    if match is None or len(pattern) > MAX_CHARACTERS:
        raise ValueError(_expected(pattern))
    scheme, host, port = match.groups()
    if _matches_domains_of_others(host.split(".")):
        raise ValueError(
            f"expected a domain of one's own after the *, as in https://*.example.org, "
            f"got {pattern[:80]!r}, which matches domains of others"
        )
    return re.compile(re.escape(_origin(scheme, host, port)).replace(r"\*", _LABEL))


def _matches_domains_of_others(labels: list[str]) -> bool:
    """Whether a pattern matches a name that anyone can register. A company that offers names
    (`vercel.app`) gives a customer those with the customer's name in them, so letters around a `*`
    suffice there.
    """
    if labels[-1] in PRIVATE:
        return len(labels) == 1
    size, offered = public_suffix(".".join(label.replace("*", "x") for label in labels))
    suffix, registered = labels[-size:], labels[-size - 1 : -size]
    if not registered or any("*" in label for label in suffix):
        return True
    [name] = registered
    return "*" in name and (not offered or not name.strip("*-_"))


def _expected(pattern: str) -> str:
    return (
        "expected origins such as https://www.example.org (a scheme, a host in ASCII, no path), "
        "patterns such as https://*.example.org, or * alone, "
        f"got {pattern[:80]!r}"
    )
