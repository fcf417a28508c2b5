"""HTTP endpoint that lets operators revoke sessions."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.routing import Route

from bridge.errors import Code, LogUnusableError
from bridge.ops.responses import no_store, rejected
from bridge.security.admin_auth import AdminRequestRejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from bridge.security.admin_auth import AdminAuth

    SignOut = Callable[..., Awaitable[int]]

log = logging.getLogger(__name__)

BODY_BYTES: Final = 4096
"""Maximum size of a request's body."""


class SignOutRequest(BaseModel):
    """Exactly one of: `sub`, all sessions of a user; `session_id`, one session."""

    model_config = ConfigDict(extra="forbid", strict=True)

    sub: str | None = Field(None, min_length=1, max_length=200)
    session_id: str | None = Field(None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _one(self) -> SignOutRequest:
        if (self.sub is None) == (self.session_id is None):
            raise ValueError("expected either sub or session_id")
        return self


class Admin:
    """`POST /admin/sign-out`, for requests with the operators' secret."""

    def __init__(self, admin_auth: AdminAuth, sign_out: Callable[[], SignOut | None]) -> None:
        """`sign_out` returns a function, or None while the bridge is not running. The function
        takes `sub=` or `session_id=` and returns the number of clients that it closed.
        """
        self._admin_auth = admin_auth
        self._sign_out = sign_out

    def routes(self) -> list[BaseRoute]:
        return [Route("/admin/sign-out", self._post_sign_out, methods=["POST"])]

    async def _post_sign_out(self, request: Request) -> Response:
        try:
            self._admin_auth.require_write(request.scope)
            parsed = _sign_out_request(await _body(request))
        except AdminRequestRejected as rejection:
            return rejected(rejection)
        sign_out = self._sign_out()
        if sign_out is None:
            return rejected(AdminRequestRejected(503, Code.NOT_READY, "the bridge is not running"))
        try:
            closed = await sign_out(**parsed.model_dump(exclude_none=True))
        except LogUnusableError:
            log.exception("a sign-out could not be stored")
            why = "valid until the next start: the log can't be written; sign out again after it"
            return rejected(AdminRequestRejected(503, Code.NOT_READY, why))
        return no_store({"ok": True, "closed": closed})


async def _body(request: Request) -> Any:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise AdminRequestRejected(
                413, Code.BAD_REQUEST, f"expected at most {BODY_BYTES} bytes"
            )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise AdminRequestRejected(400, Code.BAD_REQUEST, "expected a body of JSON") from None


def _sign_out_request(body: Any) -> SignOutRequest:
    try:
        return SignOutRequest.model_validate(body)
    except ValidationError as error:
        # Without the value, which may be long.
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        raise AdminRequestRejected(
            422,
            Code.BAD_REQUEST,
            'expected {"sub": "..."} or {"session_id": "..."}: '
            + (f"{where}: {message}" if where else message),
        ) from None
