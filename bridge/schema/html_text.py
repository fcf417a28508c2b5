"""Descriptions as HTML. They are written in the little Markdown that docstrings use."""

from __future__ import annotations

import re
from html import escape


def html(text: str) -> str:
    """Paragraphs, lists with `- `, and `code`; everything else stands as it is."""
    out = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lead, *items = re.split(r"(?:^|\n)- ", paragraph)
        if lead:
            out.append(f"<p>{inline(lead)}</p>")
        if items:
            out.append(f"<ul>{''.join(f'<li>{inline(item)}</li>' for item in items)}</ul>")
    return "".join(out)


def inline(text: str) -> str:
    """One run of text, its line ends taken for blanks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(" ".join(text.split()), quote=False))
