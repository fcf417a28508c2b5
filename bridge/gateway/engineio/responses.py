"""Responses of the Engine.IO server to HTTP requests.

Private API used here: bridge/README.md, "Private names"; canaries:
tests/canaries/test_engineio.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engineio.async_drivers import asgi

if TYPE_CHECKING:
    from collections.abc import Iterable


async def make_response(
    status: str, headers: Iterable[tuple[str, str]], payload: bytes, environ: dict[str, Any]
) -> Any:
    """Send a response of the library, complete: with its length, since without one it would be sent
    in chunks, which HTTP/1.0 does not know, and not to be stored.

    The names of headers are in lower case, as ASGI demands: a middleware that sets the same header
    finds it by that name only, and a browser rejects a response with two of
    `Access-Control-Allow-Origin`.
    """
    complete = [(name.lower(), value) for name, value in headers]
    if environ["asgi.scope"]["type"] == "http":
        complete.append(("content-length", str(len(payload))))
        complete.append(("cache-control", "no-store"))
    return await asgi.make_response(status, complete, payload, environ)
