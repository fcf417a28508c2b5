"""`GET /`: the product's name, whether it is ready, and links. HTML for browsers, else JSON.

It holds nothing that `/readyz` and `/docs` do not show to everyone.
"""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

from bridge.ops.accept import weights
from bridge.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from bridge.ops.readiness import Readiness

NAME: Final = "Supabase Socket.IO bridge"
LINKS: Final = {
    "status": "status.html",
    "status_json": "status",
    "metrics": "metrics",
    "docs": "docs",
    "asyncapi": "asyncapi.json",
    "ready": "readyz",
}
"""Below the path at which an application may mount the bridge."""

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
}


def root_page_route(readiness: Callable[[], Readiness]) -> Route:
    async def get(request: Request) -> Response:
        state = "ready" if readiness().ready else "not ready"
        base = request.scope.get("root_path", "").rstrip("/")
        links = {name: f"{base}/{path}" for name, path in LINKS.items()}
        if prefers_html(request.headers.get("Accept", "")):
            return Response(_html(state, links), headers={**HEADERS, "Content-Type": HTML})
        body = {"name": NAME, "version": __version__, "state": state, "links": links}
        return Response(json.dumps(body), media_type="application/json", headers=HEADERS)

    return Route("/", get, methods=["GET"])


HTML: Final = "text/html; charset=utf-8"


def prefers_html(accept: str) -> bool:
    """Return whether a request with this `Accept` prefers HTML to JSON. A wildcard is for JSON."""
    weight = weights(accept)
    html = max(weight.get(kind, 0.0) for kind in ("text/html", "application/xhtml+xml"))
    return html > weight.get("application/json", 0.0)


def _html(state: str, links: Mapping[str, str]) -> str:
    items = "".join(
        f'<li><a href="{escape(path)}">{escape(path)}</a></li>' for path in links.values()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f'<meta name="color-scheme" content="light dark"><title>{NAME}</title></head>'
        f"<body><h1>{NAME}</h1><p>Version {__version__}: {state}.</p><ul>{items}</ul></body></html>"
    )
