"""Polling by JSONP: of a page that can't send cross-origin requests. No I/O."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import parse_qs

_NEWLINE: Final = re.compile(r"(\\)?\\n")


def jsonp_payload(body: str) -> str:
    r"""Return the payload in the field `d` of a form, which is how it is posted. Raises ValueError
    without one.

    The client escapes newlines, which a form would change: `\n` is a newline, `\\n` is `\n`.
    """
    values = parse_qs(body, keep_blank_values=True, errors="strict", max_num_fields=10).get("d")
    if values is None:
        raise ValueError("expected a form with the field d")
    text = _NEWLINE.sub(lambda match: match[0] if match[1] else "\n", values[0])
    return text.replace("\\\\n", "\\n")


def jsonp_call(index: int, payload: str) -> str:
    """Return the script that passes a payload to the page's callback of that index."""
    return f"___eio[{index}]({json.dumps(payload)});"
