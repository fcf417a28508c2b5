"""Validates the claims of a user's token. No I/O; time is passed in.

The signature has been verified before, in `token_verifier`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

API_ROLES = ("anon", "service_role")
"""`role` of the JWTs that are a project's API keys."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims of one token. Times are Unix seconds."""

    user: str
    """`sub`: the id of the user in Supabase Auth."""
    issued_at: float
    expires_at: float
    session: str | None = None
    """`session_id`: one sign-in of the user, including all refreshed tokens."""
    values: Mapping[str, Any] | None = None
    """All claims, unchanged."""
    key: str | None = None
    """`kid` of the project's key that signed them; None for the legacy secret."""


@dataclass(frozen=True, slots=True)
class TokenRequirements:
    """Required claims of a token. Times are seconds."""

    issuer: str
    audience: str
    leeway: float
    """Accepted difference between clocks."""
    max_lifetime: float
    """Longest accepted lifetime, from `iat` to `exp`."""

    def validate(self, values: Mapping[str, Any], now: float) -> Claims:
        """Return the claims of a token if they are valid at `now`, in Unix seconds.

        Raises `RequestRejected` with `token_expired`, or with `token_invalid` if the token was
        never valid.
        """
        reject_api_key(values)
        if values.get("iss") != self.issuer:
            raise _invalid(f"iss to be {self.issuer}", values.get("iss"))
        if self.audience not in _audiences(values.get("aud")):
            raise _invalid(f"aud to be {self.audience}", values.get("aud"))
        user = values.get("sub")
        if not isinstance(user, str) or not user:
            raise _invalid("sub, the user's id, as a non-empty string", user)
        session = values.get("session_id")
        if session is not None and (not isinstance(session, str) or not session):
            raise _invalid("session_id as a non-empty string", session)
        issued_at, expires_at = _time(values, "iat"), _time(values, "exp")
        if issued_at > now + self.leeway:
            raise RequestRejected(
                Code.TOKEN_INVALID,
                "the token was issued in the future: its iat is "
                f"{issued_at - now:.0f} s ahead of the bridge's clock",
            )
        if "nbf" in values and _time(values, "nbf") > now + self.leeway:
            raise RequestRejected(
                Code.TOKEN_INVALID, "the token is not valid yet: its nbf is in the future"
            )
        if expires_at - issued_at > self.max_lifetime:
            raise RequestRejected(
                Code.TOKEN_INVALID,
                f"expected a token with a lifetime of at most {self.max_lifetime:g} s "
                f"(BRIDGE_TOKEN_SECONDS), got one of {expires_at - issued_at:.0f} s",
            )
        if now >= self.ends(expires_at):
            raise RequestRejected(Code.TOKEN_EXPIRED, "the token has expired: get a new one")
        return Claims(user, issued_at, expires_at, session, values)

    def ends(self, expires_at: float) -> float:
        """Return the time from which a token is rejected: its expiry plus the leeway."""
        return expires_at + self.leeway


def reject_api_key(values: Mapping[str, Any]) -> None:
    """Raises `RequestRejected` if these are the claims of one of the project's API keys."""
    role = values.get("role")
    if role in API_ROLES and "sub" not in values:
        raise RequestRejected(
            Code.TOKEN_INVALID,
            f"this is an API key of the project ({role}), not a user's token: expected the "
            "access_token of a signed-in user, or none",
        )


def at_path(values: Mapping[str, Any] | None, path: Sequence[str]) -> tuple[bool, Any]:
    """Return whether there is a claim at `path`, and its value."""
    found: Any = values
    for name in path:
        if not isinstance(found, dict) or name not in found:
            return False, None
        found = found[name]
    return True, found


def _audiences(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _time(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _invalid(f"{name} in Unix seconds", value)
    return float(value)


def _invalid(expected: str, value: Any) -> RequestRejected:
    """Rejection with the value, if it is a string, at most 100 characters of it; else its type."""
    kind = "nothing" if value is None else type(value).__name__
    shown = repr(value[:100]) if isinstance(value, str) else kind
    return RequestRejected(Code.TOKEN_INVALID, f"expected {expected}, got {shown}")
