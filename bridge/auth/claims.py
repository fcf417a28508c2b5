"""What a user's token says, checked against the time and the settings. Pure.

Its signature is `verifier`'s business; here it holds already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

API_ROLES = ("anon", "service_role")
"""Of the JWTs that are a project's API keys."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Of one token. Times are Unix seconds."""

    user: str
    """Its `sub`: the id of the user in Supabase Auth."""
    issued_at: float
    expires_at: float
    session: str | None = None
    """Its `session_id`: one sign-in of the user, through all its refreshed tokens."""
    values: Mapping[str, Any] | None = None
    """All claims as they came."""
    key: str | None = None
    """The `kid` of the project's key that proves them; None for the legacy secret."""


@dataclass(frozen=True, slots=True)
class TokenRequirements:
    """What tokens have to be. Times are seconds."""

    issuer: str
    audience: str
    leeway: float
    """By which clocks may differ."""
    longest: float
    """The longest life of a token, from `iat` to `exp`."""

    def validate(self, values: Mapping[str, Any], now: float) -> Claims:
        """The claims of a token at `now`, Unix seconds.

        Raises `RequestRejected` with `token_expired`, or with `token_invalid` if the token was
        never valid.
        """
        refuse_api_key(values)
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
                "the token is from the future: its iat is "
                f"{issued_at - now:.0f} s ahead of the bridge's clock",
            )
        if "nbf" in values and _time(values, "nbf") > now + self.leeway:
            raise RequestRejected(
                Code.TOKEN_INVALID, "the token is not valid yet: its nbf is to come"
            )
        if expires_at - issued_at > self.longest:
            raise RequestRejected(
                Code.TOKEN_INVALID,
                f"expected tokens that live for at most {self.longest:g} s "
                f"(BRIDGE_TOKEN_SECONDS), this one lives for {expires_at - issued_at:.0f} s",
            )
        if now >= self.ends(expires_at):
            raise RequestRejected(Code.TOKEN_EXPIRED, "the token has expired: get a fresh one")
        return Claims(user, issued_at, expires_at, session, values)

    def ends(self, expires_at: float) -> float:
        """When a token is taken no more."""
        return expires_at + self.leeway


def refuse_api_key(values: Mapping[str, Any]) -> None:
    """Raises `RequestRejected` if these are the claims of one of the project's API keys."""
    role = values.get("role")
    if role in API_ROLES and "sub" not in values:
        raise RequestRejected(
            Code.TOKEN_INVALID,
            f"this is an API key of the project ({role}), and no user's token: expected the "
            "access_token of a signed-in user, or none",
        )


def at_path(values: Mapping[str, Any] | None, path: Sequence[str]) -> tuple[bool, Any]:
    """Whether there is a claim at `path`, and its value."""
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


def _invalid(expected: str, came: Any) -> RequestRejected:
    """Tells a string that came, shortened; of all else its type."""
    kind = "nothing" if came is None else type(came).__name__
    shown = repr(came[:100]) if isinstance(came, str) else kind
    return RequestRejected(Code.TOKEN_INVALID, f"expected {expected}, came {shown}")
