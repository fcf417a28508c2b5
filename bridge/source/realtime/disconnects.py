"""Reasons for the end of a subscription, and the delay before the next attempt."""

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
    "accepts only JWTs, so use its service_role key",
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
    "HTTP 403": "the project is suspended, or the key is not a JWT and only JWTs are accepted",
    "HTTP 404": "no such project: check SUPABASE_URL",
}
"""Messages of Realtime (or parts of them) that need an operator, with advice."""

_PASSING = (
    "RealtimeDisabledForTenant",
    "Unable to subscribe to changes with given parameters",
)
"""Those that an operator may just be about to undo: a table that is recreated, a publication that
is set up again."""

_QUOTA_ERRORS = (
    "ChannelRateLimitReached",
    "ConnectionRateLimitReached",
    "ClientJoinRateLimitReached",
    "DatabaseConnectionRateLimitReached",
    "HTTP 429",
)

FIRST_SECONDS = 0.5
"""Upper bound of the first delay; it doubles with each attempt."""
LONGEST_SECONDS = 30.0
SLOW_SECONDS = 30.0
"""Delay after errors that last for a while: wrong credentials, an exhausted quota."""


class SubscriptionEnded(BridgeError):  # noqa: N818 - also raised when the bridge closes it
    """A subscription has ended. `slow`: the next attempt should be delayed. `passing`: the reason
    may be over soon, so that the first attempts should not be.
    """

    def __init__(
        self,
        reason: str,
        *,
        needs_operator: bool = False,
        slow: bool = False,
        passing: bool = False,
    ) -> None:
        super().__init__(reason)
        self.needs_operator = needs_operator
        self.passing = passing
        self.slow = slow or needs_operator


class MuteStreamError(SubscriptionEnded):
    """The channel delivers nothing although the table changes."""


MUTE_ADVICE = (
    "nothing was delivered after resubscribing: check pg_replication_slots (slots exhausted or "
    "invalid), wal_level=logical, the publication supabase_realtime, the output plugin (wal2json) "
    "and Realtime's log"
)


def ended_by(error: Exception | None, state: str = "") -> SubscriptionEnded:
    """Classify an error that the library reports with a channel's `state`.

    The reason never contains the URL, which holds the key.
    """
    text = _text(error)
    reason = ": ".join(part for part in (state, text) if part) or "closed"
    for message, advice in _NEEDS_OPERATOR.items():
        if message in text:
            return SubscriptionEnded(
                f"{reason}; {advice}", needs_operator=True, passing=message in _PASSING
            )
    return SubscriptionEnded(reason, slow=any(message in text for message in _QUOTA_ERRORS))


def _text(error: Exception | None) -> str:
    if error is None:
        return ""
    if isinstance(error, InvalidStatus):
        body = error.response.body or b""
        return f"HTTP {error.response.status_code} {body[:200].decode(errors='replace')}".strip()
    if isinstance(error, InvalidURI):
        return "SUPABASE_URL gives no valid websocket URL"
    if isinstance(error, InvalidHandshake | OSError | EOFError | TimeoutError):
        return f"{type(error).__name__}: {error}"
    return str(error) or type(error).__name__


def retry_delay(state: RetryCallState) -> float:
    """Return the seconds before the next attempt: exponential backoff with jitter in its upper
    half, or `SLOW_SECONDS` and more after a `slow` end, except after one that may be over soon:
    then the pause grows with the time for which it has lasted.
    """
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, SubscriptionEnded) and error.slow and not error.passing:
        return SLOW_SECONDS * random.uniform(1.0, 1.3)  # noqa: S311 - jitter
    bound = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** (min(state.attempt_number, 16) - 1))
    return bound * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
