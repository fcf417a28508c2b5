"""`GET /asyncapi.json` and `GET /docs`: the contract of the running bridge."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Final

from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.routing import Route

from bridge.schema import asyncapi
from bridge.schema import html_page as page

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from bridge.schema.asyncapi import DocumentOptions

CACHE: Final = "public, max-age=300"
"""Both change only with the bridge's settings; caches revalidate after this time."""


def schema_routes(options: DocumentOptions) -> list[BaseRoute]:
    """Return the routes of both documents, which are rendered here once (about 30 ms)."""
    document = asyncapi.document(options)
    return [
        _Document(
            json.dumps(document, ensure_ascii=False).encode(),
            "application/json",
            {"Content-Security-Policy": "default-src 'none'", "Access-Control-Allow-Origin": "*"},
        ).route("/asyncapi.json"),
        _Document(
            page.render(document).encode(),
            "text/html; charset=utf-8",
            {"Content-Security-Policy": page.POLICY, "Referrer-Policy": "no-referrer"},
        ).route("/docs"),
    ]


class _Document:
    """A response that never changes."""

    def __init__(self, body: bytes, media_type: str, headers: dict[str, str]) -> None:
        self._body = body
        # Weak, since the response may be compressed.
        self._etag = f'W/"{hashlib.sha256(body).hexdigest()[:16]}"'
        self._headers = {
            "Content-Type": media_type,
            "ETag": self._etag,
            "Cache-Control": CACHE,
            "X-Content-Type-Options": "nosniff",
            **headers,
        }

    def route(self, path: str) -> Route:
        gzip = Middleware(GZipMiddleware, minimum_size=1000, compresslevel=5)
        return Route(path, self._get, methods=["GET"], middleware=[gzip])

    async def _get(self, request: Request) -> Response:
        tags = (each.strip() for each in request.headers.get("If-None-Match", "").split(","))
        if any(each in (self._etag, "*") for each in tags):
            return Response(status_code=304, headers=self._headers)
        return Response(self._body, headers=self._headers)
