"""Checks the project's key by what it shows of itself. No network."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bridge import clock as clocks
from bridge.cli.check.finding import Finding, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.settings import Settings

PAGE: Final = "the dashboard's Project Settings > API Keys"
SECRET_FIX: Final = f"set SUPABASE_SECRET_KEY to the secret key (sb_secret_...) of {PAGE}"
DAY: Final = 86_400
SOON_SECONDS: Final = 30 * DAY


def key_findings(settings: Settings, now: float | None = None) -> Iterator[Finding]:
    """`now`: Unix seconds."""
    key = settings.supabase_secret_key.get_secret_value()
    if key.startswith("sb_secret_"):
        yield ok("api key", "a secret key (sb_secret_...)")
        return
    claims = claims_of(key)
    if claims is None:
        yield fail("api key", "expected sb_secret_... or a JWT, got another text", SECRET_FIX)
        return
    role, ref = str(claims.get("role", "")), claims.get("ref")
    if role in ("anon", "authenticated", ""):
        named = f"the key of the role {role}" if role else "a JWT without a role"
        yield fail(
            "api key",
            f"expected the secret key, got {named}, which sees what a policy shows",
            SECRET_FIX,
        )
        return
    host = urlsplit(settings.supabase_url).hostname or ""
    if isinstance(ref, str) and host.endswith(".supabase.co") and host != f"{ref}.supabase.co":
        yield fail(
            "api key",
            f"it is of the project {ref}, and SUPABASE_URL names {host}",
            f"set SUPABASE_URL to https://{ref}.supabase.co, or the key to that of {host}",
        )
        return
    yield _expiry(role, claims.get("exp"), time.time() if now is None else now)


def _expiry(role: str, expires_at: Any, now: float) -> Finding:
    if not isinstance(expires_at, int | float):
        return ok("api key", f"a JWT of the role {role}, without an end")
    at = clocks.timestamp(expires_at)
    if expires_at <= now:
        return fail("api key", f"the key of the role {role} expired at {at}", SECRET_FIX)
    if expires_at - now < SOON_SECONDS:
        return warn("api key", f"the key of the role {role} expires at {at}", SECRET_FIX)
    return ok("api key", f"a JWT of the role {role}, valid until {at}")


def claims_of(key: str) -> dict[str, Any] | None:
    """Return the claims of a JWT, not verified; None: it is none."""
    parts = key.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, payload, signature
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None
