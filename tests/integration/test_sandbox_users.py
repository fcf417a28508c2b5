"""Access tokens of the sandbox, verified as those of Supabase Auth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jwt
import pytest

from bridge.auth.authenticator import Authenticator
from bridge.errors import Code, RequestRejected
from bridge.options import authenticator
from tests.fakes import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from bridge.sandbox import Sandbox

USER = "6f0a4c2e-0000-4000-8000-000000000001"


@pytest.fixture
async def access(sandbox: Sandbox) -> AsyncIterator[Authenticator]:
    access = authenticator(settings(regions_claim="app_metadata.regions"), sandbox.supabase_url)
    yield access
    await access.close()


async def test_user_token_is_accepted(sandbox: Sandbox, access: Authenticator) -> None:
    token = sandbox.user_token(USER, app_metadata={"regions": ["TX"]})
    admission = await access.authenticate(token)
    assert admission.rights.user == USER
    assert admission.rights.regions == ("TX",)
    assert admission.claims is not None
    assert admission.claims.session


async def test_expired_user_token_is_rejected(sandbox: Sandbox, access: Authenticator) -> None:
    with pytest.raises(RequestRejected) as caught:
        await access.authenticate(sandbox.user_token(USER, lifetime=-60))
    assert caught.value.code is Code.TOKEN_EXPIRED


async def test_api_keys_are_rejected_as_user_tokens(
    sandbox: Sandbox, access: Authenticator
) -> None:
    for key in (sandbox.anon_key, sandbox.supabase_key):
        with pytest.raises(RequestRejected, match="this is an API key of the project"):
            await access.authenticate(key)


async def test_jwks_has_the_public_key_only(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    answer = await http.get(f"{sandbox.supabase_url}/auth/v1/.well-known/jwks.json")
    [key] = answer.json()["keys"]
    assert key["kid"] == jwt.get_unverified_header(sandbox.user_token(USER))["kid"]
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")
    assert "d" not in key
