"""Answers to operators and their machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

if TYPE_CHECKING:
    from bridge.security.admin_auth import AdminRequestRejected


def no_store(body: dict[str, Any], status: int = 200) -> Response:
    """An answer that nobody may keep for another time."""
    return JSONResponse(body, status, headers={"Cache-Control": "no-store"})


def rejected(refusal: AdminRequestRejected) -> Response:
    """The answer to a request that was refused."""
    return JSONResponse(
        refusal.to_ack(), refusal.status, headers={"Cache-Control": "no-store", **refusal.headers}
    )
