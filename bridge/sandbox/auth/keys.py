"""The sandbox's API keys: legacy JWT keys, signed with a public secret.

The keys are constant, so that an `.env` file stays valid. They protect nothing: the server listens
on loopback and holds generated rows.
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
    """Return a JWT with exactly these claims."""
    return jwt.encode(claims, SECRET, algorithm="HS256")


def api_key(role: str) -> str:
    """Return the project's key for `role`; constant over calls and machines."""
    return sign({"iss": ISSUER, "role": role, "iat": ISSUED_AT, "exp": EXPIRES_AT})


def user_token(subject: str, *, lifetime: float = 3600, **claims: Any) -> str:
    """Return a user's access token that the sandbox's REST and Realtime accept, valid for
    `lifetime` seconds (negative: expired). `claims` add to or replace the default claims.
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
