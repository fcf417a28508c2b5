"""JSON responses of the operations endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from bridge.security.admin_auth import AdminRequestRejected


def no_store(body: dict[str, Any], status: int = 200) -> Response:
    """Return a JSON response that must not be cached."""
    return JSONResponse(body, status, headers={"Cache-Control": "no-store"})


def rejected(rejection: AdminRequestRejected) -> Response:
    """Return the response to a rejected request."""
    return JSONResponse(
        rejection.to_ack(),
        rejection.status,
        headers={"Cache-Control": "no-store", **rejection.headers},
    )
