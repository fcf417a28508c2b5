"""Verifies JWTs as Realtime does, with its error messages."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jwt

MALFORMED = "The token provided is not a valid JWT"
BAD_SIGNATURE = "Failed to validate JWT signature"
INCOMPLETE = "Fields `role` and `exp` are required in JWT"


class TokenError(ValueError):
    """A token is not accepted. `code` and `message` are for the join reply, `brief` for the
    response to a connection.
    """

    def __init__(self, code: str, message: str, brief: str | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.brief = brief or message


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A verified token."""

    text: str
    role: str
    expires_at: float
    """Unix time."""
    claims: dict[str, Any]


def expired(expires_at: float, now: float) -> str:
    """Return Realtime's message for an expired token. Both arguments are Unix times."""
    return f"Token has expired {max(0, int(now - expires_at))} seconds ago"


def verify(text: str, secret: str) -> AccessToken:
    """Return the token in `text`, signed with HMAC and `secret`. Raises `TokenError`."""
    try:
        # Expiry is checked below: Realtime's message has the seconds since then.
        claims = jwt.decode(
            text,
            secret,
            algorithms=["HS256", "HS384", "HS512"],
            options={"verify_exp": False, "verify_aud": False, "verify_iat": False},
        )
    except jwt.InvalidSignatureError as error:
        raise TokenError("JwtSignatureError", BAD_SIGNATURE) from error
    except jwt.InvalidTokenError as error:
        raise TokenError("MalformedJWT", MALFORMED) from error
    role, expires_at = claims.get("role"), claims.get("exp")
    if not isinstance(role, str) or not isinstance(expires_at, int | float):
        raise TokenError("InvalidJWTToken", INCOMPLETE)
    now = time.time()
    if expires_at <= now:
        raise TokenError("InvalidJWTToken", expired(expires_at, now), "Token has expired")
    return AccessToken(text, role, float(expires_at), claims)
