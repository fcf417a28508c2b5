"""Which pages may connect, by their origin. Pure.

A browser sends the `Origin` of the page with every websocket's handshake and every request across
origins, and a page can't forge it. Other programs send none, or what they like: an origin keeps
foreign pages out, not foreign programs.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

ANY: Final = "*"

LONGEST: Final = 512
"""Characters of an origin beyond which it is none: a scheme, 253 characters of host, a port."""

DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443"}

PRIVATE: Final = frozenset({"localhost", "local", "internal", "test", "lan", "home"})
"""Last labels below which nobody can register a name."""

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
    """Exact origins and patterns, in which `*` stands for one or more letters, digits and hyphens
    within one label of the host: `https://my-app-*-team.vercel.app`. `*` alone is any origin, and
    none at all is the origin that the bridge itself is asked at.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        """Raises ValueError, which names the pattern that is wrong and what was expected."""
        listed = tuple(patterns)
        if ANY in listed and len(listed) > 1:
            raise ValueError("expected either * alone or a list of origins, got both")
        self.any = listed == (ANY,)
        self._same = not listed
        self._exact: set[str] = set()
        self._shapes: list[re.Pattern[str]] = []
        for pattern in () if self.any else listed:
            if "*" in pattern:
                self._shapes.append(_shape(pattern))
            else:
                origin = normal(pattern)
                if origin is None:
                    raise ValueError(_expected(pattern))
                self._exact.add(origin)

    def allows(self, origin: str | None, host: str = "") -> bool:
        """Whether a page of that origin may connect, at the `Host` that it asked. No origin: it is
        no page.
        """
        if origin is None or self.any:
            return True
        it = normal(origin)
        if it is None:
            return False
        if self._same:
            scheme = it.partition("://")[0]
            return it == normal(f"{scheme}://{host}")
        return it in self._exact or any(shape.fullmatch(it) for shape in self._shapes)


def normal(origin: str) -> str | None:
    """An origin in lower case and without its scheme's own port; None where it is none."""
    if len(origin) > LONGEST:
        return None
    match = _ORIGIN.fullmatch(origin.lower())
    return None if match is None else _joined(*match.groups())


def _joined(scheme: str, host: str, port: str | None) -> str:
    port = port and (port.lstrip("0") or "0")
    plain = port is None or port == DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}" if plain else f"{scheme}://{host}:{port}"


def _shape(pattern: str) -> re.Pattern[str]:
    match = _PATTERN.fullmatch(pattern.lower())
    if match is None or len(pattern) > LONGEST:
        raise ValueError(_expected(pattern))
    scheme, host, port = match.groups()
    labels = host.split(".")
    own = labels[-1:] if labels[-1] in PRIVATE else labels[-2:]
    if any("*" in label for label in own) or own == labels:
        raise ValueError(
            f"expected a domain of one's own after the *, as in https://*.example.org, "
            f"came {pattern[:80]!r}, which anybody can have a page of"
        )
    return re.compile(re.escape(_joined(scheme, host, port)).replace(r"\*", _LABEL))


def _expected(pattern: str) -> str:
    return (
        "expected origins such as https://www.example.org (a scheme, a host in ASCII, no path), "
        "patterns such as https://*.example.org, or * alone, "
        f"came {pattern[:80]!r}"
    )
