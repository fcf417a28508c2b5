"""Renders descriptions, in the subset of Markdown that docstrings use, as HTML."""

from __future__ import annotations

import re
from html import escape


def html(text: str) -> str:
    """Render paragraphs, lists with `- ` and `code`; other text is escaped only."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lead, *items = re.split(r"(?:^|\n)- ", paragraph)
        if lead:
            out.append(f"<p>{inline(lead)}</p>")
        if items:
            out.append(f"<ul>{''.join(f'<li>{inline(item)}</li>' for item in items)}</ul>")
    return "".join(out)


def inline(text: str) -> str:
    """Render one line of text; line ends become blanks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(text.split()), quote=False))
