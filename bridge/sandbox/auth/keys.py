"""The sandbox's API keys: JWTs of the legacy kind, signed with a secret that everybody may know.

Fixed, so that an `.env` written once stays right, and worthless elsewhere: they open a server on
loopback that holds made-up rows.
"""

from __future__ import annotations

import time
from typing import Any

import jwt

SECRET = "sandbox-only-hs256-secret-never-used-outside-loopback"  # noqa: S105 - see above
ISSUER = "supabase-sandbox"
ISSUED_AT = 1_700_000_000
EXPIRES_AT = 4_102_444_800  # 2100-01-01


def sign(claims: dict[str, Any]) -> str:
    """A JWT with just these claims."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


def api_key(role: str) -> str:
    """The project's key for `role`; the same on every call and every machine."""
    return sign({"iss": ISSUER, "role": role, "iat": ISSUED_AT, "exp": EXPIRES_AT})


def user_token(subject: str, *, lifetime: float = 3600, **claims: Any) -> str:
    """What Supabase Auth would give a signed-in user, valid for `lifetime` seconds; below zero it
    is expired already.
    """
    now = int(time.time())
    return sign(
        {
            "iss": ISSUER,
            "sub": subject,
            "aud": "authenticated",
            "role": "authenticated",
            "iat": min(now, now + int(lifetime)),
            "exp": now + int(lifetime),
        }
        | claims
    )
