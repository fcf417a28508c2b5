"""Authentication of operators for /status, /metrics and /admin."""

from __future__ import annotations

import hmac
import logging
import time
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import Code, RequestRejected
from bridge.security.client_ip import address_group, direct_loopback, loopback_host
from bridge.security.rate_limit import RateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.security.client_ip import ClientAddress

log = logging.getLogger(__name__)

WRONG_PER_SECOND: Final = 0.2
WRONG_BURST: Final = 10
"""Rate limit of wrong secrets per address. Beyond it every secret of the address is rejected
unchecked, right or wrong, so that the right one cannot be found by trying.
"""


class AdminRequestRejected(RequestRejected):
    """An operator's request is rejected. The response has this HTTP `status` and `headers`."""

    def __init__(
        self, status: int, code: Code, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code, message)
        self.status = status
        self.headers = dict(headers or {})


class AdminAuth:
    """Authenticates operators by a shared secret. Without a secret, programs on this machine may
    read, and every write is rejected.
    """

    def __init__(
        self,
        secret: str | None,
        addresses: ClientAddress,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secret = None if secret is None else secret.encode()
        self._addresses = addresses
        self._clock = clock
        self._wrong_secrets = RateLimiter(WRONG_PER_SECOND, WRONG_BURST)

    def require_read(self, scope: Mapping[str, Any]) -> None:
        """Raises `AdminRequestRejected` unless the request may read the bridge's status."""
        if self._secret is not None:
            self._check(self._secret, scope)
        elif not (direct_loopback(scope) and loopback_host(scope)):
            raise AdminRequestRejected(
                403,
                Code.FORBIDDEN,
                "without BRIDGE_ADMIN_SECRET this is open to programs on the bridge's own machine "
                "only, at a host such as localhost or 127.0.0.1; set it and send it as "
                "Authorization: Bearer <secret>",
            )

    def require_write(self, scope: Mapping[str, Any]) -> None:
        """Raises `AdminRequestRejected` unless the request may change the bridge's state."""
        if self._secret is None:
            raise AdminRequestRejected(
                403,
                Code.FORBIDDEN,
                "this is off while BRIDGE_ADMIN_SECRET is not set; set it and send it as "
                "Authorization: Bearer <secret>",
            )
        self._check(self._secret, scope)

    def _check(self, secret: bytes, scope: Mapping[str, Any]) -> None:
        now = self._clock()
        address = self._addresses.client(scope)
        key = address_group(address)
        wait = self._wrong_secrets.wait(key, now)
        if wait:
            raise AdminRequestRejected(
                429,
                Code.RATE_LIMITED,
                "too many wrong secrets were sent from this address",
                {"Retry-After": str(int(wait) + 1)},
            )
        sent = _bearer(scope)
        if sent is not None and hmac.compare_digest(sent, secret):
            return
        if sent is not None:
            self._wrong_secrets.acquire(key, now)
            log.warning("a wrong operators' secret was sent from %s", address)
        raise AdminRequestRejected(
            401,
            Code.FORBIDDEN,
            "expected Authorization: Bearer <BRIDGE_ADMIN_SECRET>, got "
            + ("another secret" if sent is not None else "none"),
            {"WWW-Authenticate": "Bearer"},
        )


def _bearer(scope: Mapping[str, Any]) -> bytes | None:
    """Return the bearer token of a request; None if it has none, or several."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(values) != 1:
        return None
    scheme, _, token = values[0].strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" and token.strip() else None
