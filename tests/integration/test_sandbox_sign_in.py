"""Sign-in at the sandbox, with the official client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from supabase import AsyncClient, AuthApiError, acreate_client

from bridge.options import authenticator
from tests.conftest import options
from tests.fakes import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from bridge.sandbox import Sandbox

EMAIL, PASSWORD = "ann@example.org", "correct horse"
CREDENTIALS = {"email": EMAIL, "password": PASSWORD}


@pytest.fixture
async def user(sandbox: Sandbox) -> AsyncIterator[str]:
    """Insert a user with rights to TX, and return its id."""
    [row] = await sandbox.execute(
        'insert into auth.users (email, raw_app_meta_data) values (%s, \'{"regions": ["TX"]}\')'
        " returning id::text",
        (EMAIL,),
    )
    sandbox.set_password(EMAIL, PASSWORD)
    yield row["id"]
    await sandbox.execute("delete from auth.users where id = %s", (row["id"],))


@pytest.fixture
async def client(sandbox: Sandbox, http: httpx.AsyncClient) -> AsyncClient:
    return await acreate_client(sandbox.supabase_url, sandbox.anon_key, options(http))


async def test_password_signs_in_with_the_rights_of_the_user(
    sandbox: Sandbox, client: AsyncClient, user: str
) -> None:
    signed_in = await client.auth.sign_in_with_password(
        {"email": EMAIL.upper(), "password": PASSWORD}
    )
    assert signed_in.session is not None
    access = authenticator(settings(regions_claim="app_metadata.regions"), sandbox.supabase_url)
    admission = await access.authenticate(signed_in.session.access_token)
    await access.close()
    assert (admission.rights.user, admission.rights.regions) == (user, ("TX",))
    response = await client.auth.get_user()
    assert response is not None
    assert (response.user.id, response.user.email) == (user, EMAIL)


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize(("email", "password"), [(EMAIL, "wrong"), ("bob@example.org", PASSWORD)])
async def test_wrong_credentials_do_not_sign_in(
    client: AsyncClient, email: str, password: str
) -> None:
    with pytest.raises(AuthApiError, match="Invalid login credentials") as caught:
        await client.auth.sign_in_with_password({"email": email, "password": password})
    assert (caught.value.status, caught.value.code) == (400, "invalid_credentials")
    assert await client.auth.get_session() is None


async def test_refresh_gives_a_token_of_the_same_session_with_new_claims(
    sandbox: Sandbox, client: AsyncClient, user: str
) -> None:
    await client.auth.sign_in_with_password({"email": EMAIL, "password": PASSWORD})
    before = await client.auth.get_claims()
    await sandbox.execute(
        'update auth.users set raw_app_meta_data = \'{"regions": ["CA"]}\' where id = %s', (user,)
    )
    await client.auth.refresh_session()
    after = await client.auth.get_claims()
    assert before is not None
    assert after is not None
    assert after["claims"]["session_id"] == before["claims"]["session_id"]
    assert dict(after["claims"])["app_metadata"] == {
        "provider": "email",
        "providers": ["email"],
        "regions": ["CA"],
    }


@pytest.mark.usefixtures("user")
async def test_session_ends_at_sign_out(client: AsyncClient) -> None:
    signed_in = await client.auth.sign_in_with_password({"email": EMAIL, "password": PASSWORD})
    assert signed_in.session is not None
    await client.auth.sign_out()
    with pytest.raises(AuthApiError, match="Refresh Token Not Found"):
        await client.auth.refresh_session(signed_in.session.refresh_token)
    with pytest.raises(AuthApiError) as caught:
        await client.auth.get_user(signed_in.session.access_token)
    assert caught.value.code == "session_not_found"


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("scope", ["local", "others"])
async def test_sign_out_of_one_scope_leaves_the_other_sessions(
    sandbox: Sandbox,
    client: AsyncClient,
    http: httpx.AsyncClient,
    scope: Literal["local", "others"],
) -> None:
    other = await acreate_client(sandbox.supabase_url, sandbox.anon_key, options(http))
    for each in (client, other):
        await each.auth.sign_in_with_password({"email": EMAIL, "password": PASSWORD})
    remaining, ended = (other, client) if scope == "local" else (client, other)
    tokens = [await each.auth.get_session() for each in (remaining, ended)]
    await client.auth.sign_out({"scope": scope})
    assert tokens[0] is not None
    assert await remaining.auth.get_user(tokens[0].access_token) is not None
    assert tokens[1] is not None
    with pytest.raises(AuthApiError):
        await ended.auth.get_user(tokens[1].access_token)


async def test_link_by_email_is_refused(client: AsyncClient) -> None:
    with pytest.raises(AuthApiError, match="sends no e-mail"):
        await client.auth.sign_in_with_otp({"email": EMAIL})


async def test_request_without_an_api_key_is_refused(
    sandbox: Sandbox, http: httpx.AsyncClient
) -> None:
    url = f"{sandbox.supabase_url}/auth/v1/token?grant_type=password"
    assert (await http.post(url, json=CREDENTIALS)).status_code == 401


async def test_page_of_any_origin_may_sign_in(sandbox: Sandbox, http: httpx.AsyncClient) -> None:
    asked = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "apikey,content-type",
    }
    url = f"{sandbox.supabase_url}/auth/v1/token?grant_type=password"
    answer = await http.options(url, headers=asked)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "apikey,content-type"
