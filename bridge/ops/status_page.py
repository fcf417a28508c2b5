"""`GET /status.html`: a page for operators, which shows what `/status/stream` sends.

The page itself holds no data. It asks for the operators' secret if the stream needs it, and keeps
it until its tab is closed.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Final

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from starlette.requests import Request

PARTS: Final = resources.files("bridge.ops")
STYLE: Final = PARTS.joinpath("status_page.css").read_text("utf-8")
SCRIPT: Final = PARTS.joinpath("status_page.js").read_text("utf-8")
PAGE: Final = (
    PARTS.joinpath("status_page.html")
    .read_text("utf-8")
    .replace("/* style */", STYLE)
    .replace("/* script */", SCRIPT)
)


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def status_page_route() -> Route:
    return Route("/status.html", _get, methods=["GET"])


async def _get(_request: Request) -> Response:
    return Response(PAGE, headers=HEADERS)
