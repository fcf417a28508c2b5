"""Whole responses to requests that are rejected before there is an ASGI call."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final


def _response(status: HTTPStatus, *headers: str) -> bytes:
    body = status.phrase
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
        *headers,
    ]
    return "\r\n".join([*lines, "", body]).encode("ascii")


BAD_REQUEST: Final = _response(HTTPStatus.BAD_REQUEST)
TOO_LONG: Final = _response(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
NO_FILES: Final = _response(HTTPStatus.SERVICE_UNAVAILABLE, "Retry-After: 10")
"""The process can't hold another connection."""
