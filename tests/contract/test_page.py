"""The page for people: whole in itself, and all of the contract."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from bridge.errors import Code
from bridge.options import document_options
from bridge.schema import asyncapi
from bridge.schema.catalog import EMITTED, REQUESTS
from bridge.schema.html_page import POLICY, render
from bridge.schema.html_text import html, inline
from tests.fakes import settings

DOCUMENT = asyncapi.document(document_options(settings()))
PAGE = render(DOCUMENT)

VOID = {"meta", "br", "link", "img"}


class Reader(HTMLParser):
    """What a browser would make of a page: ids, links, text, and whether its elements nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.code: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        if tag == "pre":
            self.code.append("")
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data
        if "pre" in self._open:
            self.code[-1] += data


READ = Reader(PAGE)


def test_the_page_needs_nothing_else() -> None:
    assert not {"script", "img", "link", "iframe", "object", "base", "form"} & set(READ.elements)
    assert not {"src", "srcset", "style", "onclick"} & READ.attributes
    assert "url(" not in PAGE
    assert "@import" not in PAGE


def test_every_link_leads_somewhere_on_the_page_or_to_the_document() -> None:
    ids = set(READ.ids)
    assert len(ids) == len(READ.ids)
    for link in READ.links:
        assert link == "asyncapi.json" or link.removeprefix("#") in ids, link


def test_its_policy_allows_its_own_style_and_no_other() -> None:
    (style,) = re.findall(r"<style>(.*?)</style>", PAGE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in POLICY
    assert "default-src 'none';" in POLICY
    assert "unsafe" not in POLICY


@pytest.mark.parametrize(
    "anchor",
    [each.name for each in EMITTED]
    + [each.name for each in REQUESTS]
    + [f"code-{code.value}" for code in Code],
)
def test_everything_has_its_place(anchor: str) -> None:
    assert anchor in READ.ids


def test_every_example_of_an_event_request_or_ack_is_shown() -> None:
    shown = []
    for code in READ.code:
        try:
            shown.append(json.loads(code))
        except ValueError:
            assert "socket.io-client" in code
    for name, message in DOCUMENT["components"]["messages"].items():
        if name not in ("connect", "properties", "regions"):
            for example in message["examples"]:
                assert example["payload"] in shown, name


def test_every_code_comes_with_its_meaning() -> None:
    for code in Code:
        assert code.value + code.meaning in READ.text


def test_how_to_connect_is_said_with_the_bridges_path() -> None:
    text = Reader(
        render(asyncapi.document(document_options(settings(path="/live/sockets", port=9000))))
    ).text
    assert 'io("http://localhost:9000", {' in text
    assert 'path: "/live/sockets"' in text


def test_names_of_columns_are_no_markup() -> None:
    hostile = "<script>alert(1)</script>"
    text = render(
        asyncapi.document(document_options(settings(columns=f"name,{hostile}", region=hostile)))
    )
    assert "<script" not in text
    read = Reader(text)
    assert hostile in read.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\nline", "<p>one line</p>"),
        ("two\n\nparts", "<p>two</p><p>parts</p>"),
        ("lead:\n- a\n  b\n- `c`", "<p>lead:</p><ul><li>a b</li><li><code>c</code></li></ul>"),
        ("lead:\n\n- a", "<p>lead:</p><ul><li>a</li></ul>"),
        ("a < b & c", "<p>a &lt; b &amp; c</p>"),
    ],
)
def test_descriptions_become_paragraphs_lists_and_code(text: str, expected: str) -> None:
    assert html(text) == expected


def test_code_is_escaped_too() -> None:
    assert inline("see `<b>`") == "see <code>&lt;b&gt;</code>"
