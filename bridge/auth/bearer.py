"""The token in an HTTP header."""

from __future__ import annotations

from typing import Final

SCHEME: Final = "bearer "


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization` header; None where there is none, or another scheme."""
    if header is None or header[: len(SCHEME)].lower() != SCHEME:
        return None
    return header[len(SCHEME) :].strip()
