"""Sign-in with a password, as `supabase-js` uses it: `/auth/v1/token`, `/user` and `/logout`.

Users are the rows of `auth.users`; their `raw_app_meta_data` is in the token, as it is at Supabase.
There is no sign-up and no e-mail. Unlike at Supabase, a refresh token can be used again.
"""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final

import jwt
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from bridge.sandbox.auth.users import UserTokens

TOKEN_SECONDS: Final = 3600

PROVIDER: Final = {"provider": "email", "providers": ["email"]}

USER: Final = (
    "select id::text, email, role, raw_app_meta_data, raw_user_meta_data,"
    " to_char(created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') as created_at"
    " from auth.users where "
)


@dataclass(frozen=True, slots=True)
class _Session:
    """One sign-in of a user."""

    id: str
    user: str
    signed_in_at: int


class _AuthError(Exception):
    """Answered as Supabase Auth answers errors."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class SignIn:
    """The endpoints, and the sessions that they begin; those end with the process."""

    def __init__(
        self,
        tokens: UserTokens,
        select: Callable[[str, Sequence[Any]], Awaitable[list[dict[str, Any]]]],
        api_keys: Sequence[str],
    ) -> None:
        """`select` runs a query as `postgres`. A request needs one of `api_keys`."""
        self._tokens = tokens
        self._select = select
        self._api_keys = api_keys
        self._passwords: dict[str, str] = {}
        self._sessions: dict[str, _Session] = {}
        """By their ids."""
        self._refresh: dict[str, str] = {}
        """Ids of sessions, by refresh token."""

    def set_password(self, email: str, password: str) -> None:
        """Let the user with this e-mail, a row of `auth.users`, sign in."""
        self._passwords[email.lower()] = password

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/auth/v1/token", self._answer(self._token)),
            web.get("/auth/v1/user", self._answer(self._user)),
            web.post("/auth/v1/logout", self._answer(self._logout)),
            web.post("/auth/v1/otp", self._answer(self._otp)),
        ]

    def _answer(
        self, handle: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            key = request.headers.get("apikey") or request.query.get("apikey")
            if key not in self._api_keys:
                message = "Invalid API key" if key else "No API key found in request"
                return web.json_response({"message": message}, status=401)
            try:
                return await handle(request)
            except _AuthError as error:
                body = {"code": error.status, "error_code": error.code, "msg": str(error)}
                return web.json_response(body, status=error.status)

        return answer

    async def _token(self, request: web.Request) -> web.Response:
        grant = request.query.get("grant_type")
        body = await _json(request)
        if grant == "password":
            session = await self._sign_in(body)
        elif grant == "refresh_token":
            session = self._refreshed(body)
        else:
            raise _AuthError(400, "unsupported_grant_type", "unsupported_grant_type")
        user = await self._user_of(session)
        refresh = secrets.token_urlsafe(16)
        self._refresh[refresh] = session.id
        token = self._tokens.token(
            session.user,
            lifetime=TOKEN_SECONDS,
            email=user["email"],
            role=user["role"],
            app_metadata=PROVIDER | user["raw_app_meta_data"],
            user_metadata=user["raw_user_meta_data"],
            session_id=session.id,
            amr=[{"method": "password", "timestamp": session.signed_in_at}],
        )
        return web.json_response(
            {
                "access_token": token,
                "token_type": "bearer",
                "expires_in": TOKEN_SECONDS,
                "expires_at": int(time.time()) + TOKEN_SECONDS,
                "refresh_token": refresh,
                "user": _user_document(user),
            }
        )

    async def _sign_in(self, body: Mapping[str, Any]) -> _Session:
        email, password = str(body.get("email", "")), str(body.get("password", ""))
        expected = self._passwords.get(email.lower())
        users = await self._select(f"{USER} lower(email) = lower(%s)", (email,))
        if not users or expected is None or not _equal(expected, password):
            raise _AuthError(400, "invalid_credentials", "Invalid login credentials")
        session = _Session(str(uuid.uuid4()), users[0]["id"], int(time.time()))
        self._sessions[session.id] = session
        return session

    def _refreshed(self, body: Mapping[str, Any]) -> _Session:
        session = self._sessions.get(self._refresh.get(str(body.get("refresh_token")), ""))
        if session is None:
            raise _AuthError(
                400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found"
            )
        return session

    async def _user(self, request: web.Request) -> web.Response:
        user = await self._user_of(self._authenticated(request))
        return web.json_response(_user_document(user))

    async def _logout(self, request: web.Request) -> web.Response:
        session = self._authenticated(request)
        scope = request.query.get("scope", "global")
        ended = {
            each.id
            for each in self._sessions.values()
            if each.user == session.user
            and (scope == "global" or (each.id == session.id) == (scope == "local"))
        }
        for each in ended:
            del self._sessions[each]
        self._refresh = {key: each for key, each in self._refresh.items() if each not in ended}
        return web.Response(status=204)

    async def _otp(self, _request: web.Request) -> web.Response:
        raise _AuthError(
            422, "email_provider_disabled", "The sandbox sends no e-mail: sign in with a password"
        )

    async def _user_of(self, session: _Session) -> dict[str, Any]:
        users = await self._select(f"{USER} id = %s", (session.user,))
        if not users:
            raise _AuthError(403, "user_not_found", "User from sub claim in JWT does not exist")
        return users[0]

    def _authenticated(self, request: web.Request) -> _Session:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            claims = self._tokens.verify(token)
        except jwt.InvalidTokenError as error:
            message = f"invalid JWT: {error}"
            raise _AuthError(403, "bad_jwt", message) from None
        session = self._sessions.get(str(claims.get("session_id")))
        if session is None:
            message = "Session from session_id claim in JWT does not exist"
            raise _AuthError(403, "session_not_found", message)
        return session


def _user_document(user: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": user["id"],
        "aud": "authenticated",
        "role": user["role"],
        "email": user["email"],
        "phone": "",
        "confirmed_at": user["created_at"],
        "email_confirmed_at": user["created_at"],
        "app_metadata": PROVIDER | user["raw_app_meta_data"],
        "user_metadata": user["raw_user_meta_data"],
        "identities": [],
        "created_at": user["created_at"],
        "updated_at": user["created_at"],
        "is_anonymous": False,
    }


def _equal(expected: str, password: str) -> bool:
    return compare_digest(expected.encode(), password.encode())


async def _json(request: web.Request) -> Mapping[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _AuthError(400, "bad_json", "Could not parse request body as JSON")
    return body
