"""Keeps secrets out of the logs."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "[hidden]"

_SHAPES: Final = (
    # A JWT: header and payload are JSON objects, so both begin with base64url of `{"`.
    re.compile(r"eyJ[\w-]{6,}\.eyJ[\w-]+(?:\.[\w-]*)?"),
    re.compile(r"sb_secret_[\w-]+"),
    re.compile(r"(?<=apikey=)[^&\s\"'<>]+", re.IGNORECASE),
    re.compile(r"(?<=token=)[^&\s\"'<>]+", re.IGNORECASE),
    # Headers, as libraries log them at `debug`.
    re.compile(r"(?<=bearer )[^\s\"'<>,;]+", re.IGNORECASE),
    re.compile(r"(?<=apikey: )[^\s\"'<>,;]+", re.IGNORECASE),
    re.compile(r"(?<=://)[^/@\s\"'<>]+(?=@)"),
)
"""What a secret looks like, whoever it belongs to."""

_MEMBER: Final = re.compile(r"""((?:token|apikey|secret)["']\s?:\s?["'])[^"']+""", re.IGNORECASE)
"""A member that holds one, in JSON or in a dict's repr."""

_SHORT: Final = 6
"""Fewer characters are no secret, and hiding them everywhere would make the logs unreadable."""

_plain = logging.Formatter()


class Redactor(logging.Filter):
    """A filter for handlers: every record that passes has its message, arguments, traceback and
    stack written out with `HIDDEN` in place of secrets. Nothing is dropped.

    It has to sit on a handler: a logger's filters see only what is logged on that very logger.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets` are hidden by their value, whatever they look like."""
        super().__init__()
        known = {form for secret in secrets for form in (secret, quote(secret, safe=""))}
        # The longest first: one secret may begin with another.
        ordered = sorted((s for s in known if len(s) >= _SHORT), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """`text` without secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for shape in _SHAPES:
            text = shape.sub(HIDDEN, text)
        return _MEMBER.sub(rf"\g<1>{HIDDEN}", text)

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a wrong number of arguments must not lose the message
            message = f"{record.msg} {record.args}"
        record.msg, record.args = self.text(message), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = _plain.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.text(record.exc_text)
        if record.stack_info:
            record.stack_info = self.text(record.stack_info)
        return True
