"""How a subscription ends, and how long to wait before the next one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from tenacity import RetryCallState

_NEEDS_OPERATOR = {
    "InvalidJWTToken": "set SUPABASE_SECRET_KEY to this project's secret key",
    "MalformedJWT": "set SUPABASE_SECRET_KEY to this project's secret key; a self-hosted Realtime "
    "takes only JWTs, so use its service_role key",
    "JwtSignatureError": "set SUPABASE_SECRET_KEY to this project's secret key",
    "JwtSignerError": "the project's JWT keys are not set up",
    "Unauthorized": "the key's role may not join: use the secret key",
    "PrivateOnly": "the project allows private channels only: allow public access in its Realtime "
    "settings",
    "TenantNotFound": "no such project, or it is paused: check SUPABASE_URL",
    "RealtimeDisabledForTenant": "Realtime is switched off for this project: switch it on",
    "Token has expired": "the key has expired: set SUPABASE_SECRET_KEY to a valid one",
    "Unable to subscribe to changes with given parameters": "check that BRIDGE_TABLE exists, is in "
    "the publication supabase_realtime, and that service_role may select from it",
    "HTTP 401": "set SUPABASE_SECRET_KEY to this project's secret key",
    "HTTP 403": "the project is suspended, or the key is not a JWT where only JWTs are taken",
    "HTTP 404": "no such project: check SUPABASE_URL",
}
"""What Realtime says (its beginning or a part), and what somebody has to do about it."""

_QUOTA = (
    "ChannelRateLimitReached",
    "ConnectionRateLimitReached",
    "ClientJoinRateLimitReached",
    "DatabaseConnectionRateLimitReached",
    "HTTP 429",
)

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
SLOW_SECONDS = 30.0
"""Where trying again can't help soon: wrong credentials, an exhausted quota."""


class SubscriptionEnded(BridgeError):  # noqa: N818 - states what is the case
    """A subscription is over. `slow`: the next attempt should not come soon."""

    def __init__(self, reason: str, *, needs_a_person: bool = False, slow: bool = False) -> None:
        super().__init__(reason)
        self.needs_a_person = needs_a_person
        self.slow = slow or needs_a_person


def ended_by(error: Exception | None, state: str = "") -> SubscriptionEnded:
    """What `error` means, as the library reports it with a channel's `state`.

    The words never hold the URL, which carries the key.
    """
    text = _text(error)
    reason = ": ".join(part for part in (state, text) if part) or "closed"
    for said, advice in _NEEDS_OPERATOR.items():
        if said in text:
            return SubscriptionEnded(f"{reason}; {advice}", needs_a_person=True)
    return SubscriptionEnded(reason, slow=any(said in text for said in _QUOTA))


def _text(error: Exception | None) -> str:
    if error is None:
        return ""
    if isinstance(error, InvalidStatus):
        body = error.response.body or b""
        return f"HTTP {error.response.status_code} {body[:200].decode(errors='replace')}".strip()
    if isinstance(error, InvalidURI):
        return "the address made of SUPABASE_URL is not a websocket address"
    if isinstance(error, InvalidHandshake | OSError | EOFError | TimeoutError):
        return f"{type(error).__name__}: {error}"
    return str(error) or type(error).__name__


def retry_delay(state: RetryCallState) -> float:
    """Seconds before the next attempt: exponential with full jitter at its upper half, slow where
    the ending asks for it.
    """
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, SubscriptionEnded) and error.slow:
        return SLOW_SECONDS * random.uniform(1.0, 1.3)  # noqa: S311 - jitter
    bound = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** (min(state.attempt_number, 16) - 1))
    return bound * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
