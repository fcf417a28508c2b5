"""Checks how users' tokens are verified."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.auth.jwks_client import JwksUnavailableError
from bridge.cli.check.finding import Finding, fail, ok, warn
from bridge.options import authenticator

if TYPE_CHECKING:
    from bridge.settings import Settings


async def token_finding(settings: Settings) -> Finding:
    """Missing keys of the project are a failure if tokens are required."""
    auth = authenticator(settings)
    try:
        return ok("tokens", await auth.describe())
    except JwksUnavailableError as error:
        text = f"the project's keys can't be fetched: {error}"
        fix = "check BRIDGE_TOKEN_ISSUER and the project's Auth, or set SUPABASE_JWT_SECRET"
        if settings.auth == "required" and settings.supabase_jwt_secret is None:
            return fail("tokens", f"{text}; every client is refused (BRIDGE_AUTH=required)", fix)
        return warn("tokens", f"{text}; tokens that they sign are refused", fix)
    finally:
        await auth.close()
