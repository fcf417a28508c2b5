"""URLs of Redis and Valkey servers, and the names of bridges on them. No I/O."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
}
"""Schemes of `BRIDGE_LOG`, each with the one that the client knows; with `s`: over TLS."""

EXPECTED: Final = (
    "redis://host:6379/0, rediss:// (TLS), valkey:// or valkeys:// (TLS), with a user and a "
    "password before the host where the server has them"
)

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""Names of bridges."""


def is_redis(url: str) -> bool:
    """Return whether `url` names a Redis or Valkey server."""
    return url.partition("://")[0] in SCHEMES


def check_url(url: str) -> None:
    """Raises ValueError, which does not quote the URL, if no server can be at `url`."""
    try:
        parts = urlsplit(url)
        host, database = parts.hostname, parts.path.strip("/")
        parts.port  # noqa: B018 - raises ValueError if it is not a number
    except ValueError:
        raise ValueError(f"expected {EXPECTED}") from None
    if parts.scheme not in SCHEMES or not host or (database and not database.isdigit()):
        raise ValueError(f"expected {EXPECTED}")


def client_url(url: str) -> str:
    """Return `url` with a scheme that the client knows."""
    scheme, _, rest = url.partition("://")
    return f"{SCHEMES[scheme]}://{rest}"


def shown(url: str) -> str:
    """Return the server of `url` without credentials and options, for messages."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def secrets_of(url: str) -> tuple[str, ...]:
    """Return what must not be shown of `url`: its password, as it is written and decoded."""
    password = urlsplit(url).password if is_redis(url) else None
    return tuple(dict.fromkeys((password, unquote(password)))) if password else ()
