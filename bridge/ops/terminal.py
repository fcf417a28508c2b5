"""Terminals: whether a stream is one, and its colours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

RED: Final = "\033[31m"
GREEN: Final = "\033[32m"
YELLOW: Final = "\033[33m"
DIM: Final = "\033[2m"
RESET: Final = "\033[0m"


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person reads `stream`."""
    return not stream.closed and stream.isatty()


def has_colours(stream: TextIO) -> bool:
    """Return whether text on `stream` is coloured: on a terminal, unless NO_COLOR is set
    (https://no-color.org).
    """
    return (
        is_terminal(stream)
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM", "") != "dumb"
    )


def coloured(text: str, colour: str, *, on: bool) -> str:
    return f"{colour}{text}{RESET}" if on and colour else text
