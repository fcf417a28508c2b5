"""Requests that another machine of the bridge forwards to this one. No I/O.

The sender adds one header: the receiver's key, and the address of the connection on which the
request arrived. Each machine makes a new key at its start and publishes it in its beats, so only
processes that read the log have it. With the right key the request is served as if it had arrived
here: `security.client_ip` reads the client's address from the same peer and the same forwarding
headers. A header with another key is removed and has no effect.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from starlette.types import Scope

HEADER: Final = b"bridge-forwarded"

FORWARDED: Final = "bridge.forwarded"
"""Key in `scope["extensions"]` of a request that another machine forwarded; it goes no further."""

NO_PEER: Final = "-"
"""Stands for the address of a connection that has none."""


class PeerKey:
    """The key of this process."""

    def __init__(self) -> None:
        self.value = secrets.token_hex(16)

    def accept(self, scope: Scope) -> Scope:
        """Return the scope of a request without the header, and with the address that it had at
        the machine that forwarded it.
        """
        values = [value for name, value in scope["headers"] if name == HEADER]
        if not values:
            return scope
        headers = [each for each in scope["headers"] if each[0] != HEADER]
        key, _, address = values[0].partition(b" ")
        if len(values) > 1 or not secrets.compare_digest(key, self.value.encode()):
            return {**scope, "headers": headers}
        peer = address.decode("latin-1")
        return {
            **scope,
            "headers": headers,
            "client": None if peer == NO_PEER else (peer, 0),
            "extensions": {**scope.get("extensions", {}), FORWARDED: True},
        }


def forwarding_header(key: str, scope: Scope) -> tuple[bytes, bytes]:
    """Return the header of a request that is forwarded to the machine with that key."""
    client = scope.get("client")
    return HEADER, f"{key} {client[0] if client else NO_PEER}".encode("latin-1")


def is_forwarded(scope: Scope) -> bool:
    """Return whether another machine forwarded the request."""
    return FORWARDED in scope.get("extensions", {})
