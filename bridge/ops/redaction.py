"""Redacts secrets in logs and responses."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

HIDDEN: Final = "[hidden]"

_PATTERNS: Final = (
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
"""Patterns of secrets, whether known or not."""

_MEMBER: Final = re.compile(r"""((?:token|apikey|secret)["']\s?:\s?["'])[^"']+""", re.IGNORECASE)
"""A member that holds a secret, in JSON or in a dict's repr."""

_SECRET_NAME: Final = re.compile(
    r"(?:^|_|-)(?:token|apikey|api_key|secret|secret_key|password|authorization)$", re.IGNORECASE
)
"""Name of a field or member whose value is a secret."""

_MIN_CHARACTERS: Final = 6
"""Shorter values are not redacted: hiding them everywhere would make the logs unreadable."""

_plain = logging.Formatter()


def is_secret_name(name: str) -> bool:
    """Return whether the value of a field of this name is a secret."""
    return _SECRET_NAME.search(name) is not None


class Redactor(logging.Filter):
    """A filter for handlers that replaces secrets by `HIDDEN` in the message, arguments, traceback
    and stack of each record. No record is dropped.

    Add it to handlers, not to loggers: the filters of a logger are not applied to records of its
    children.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """`secrets` are redacted by their value, in addition to the patterns."""
        super().__init__()
        values = {form for secret in secrets for form in (secret, quote(secret, safe=""))}
        # Longest first, since one secret may be a prefix of another.
        ordered = sorted((s for s in values if len(s) >= _MIN_CHARACTERS), key=len, reverse=True)
        self._values = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, text: str) -> str:
        """Return `text` with secrets redacted."""
        if self._values is not None:
            text = self._values.sub(HIDDEN, text)
        for pattern in _PATTERNS:
            text = pattern.sub(HIDDEN, text)
        return _MEMBER.sub(rf"\g<1>{HIDDEN}", text)

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, dict) and not record.args:
            return True  # a record of structlog: `log_format` redacts each of its fields
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
