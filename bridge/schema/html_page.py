"""Renders the AsyncAPI document as one HTML page without external resources."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from bridge.schema.html_text import html, inline
from bridge.schema.typescript import type_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bridge.schema.json_schema import Schema

STYLE: Final = resources.files("bridge.schema").joinpath("page.css").read_text("utf-8")

POLICY: Final = (
    "default-src 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: only its inline style is allowed."""

CONNECT: Final = """\
import {{ io }} from "socket.io-client";

const socket = io("{origin}", {{
  path: "{path}",
  auth: {{ regions: ["TX"] }},
}});

socket.on("property-updated", ({{ data }}, position) => {{
  console.log(data.property_id, data.changes);
}});"""

TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|-?\d[\d.eE+-]*')
"""Tokens of JSON text: strings (with a colon if a key), literals and numbers."""


def render(document: dict[str, Any]) -> str:
    """Return the page."""
    return _Page(document).text()


class _Page:
    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._schemas: dict[str, Schema] = document["components"]["schemas"]
        self._messages: dict[str, Any] = document["components"]["messages"]
        self._operations: dict[str, Any] = document["operations"]
        self._anchors = self._find_anchors()

    def text(self) -> str:
        info = self._document["info"]
        sections = [
            ("connect", "Connect", self._connect()),
            ("rooms", "Rooms", self._rooms()),
            ("events", "Events", "".join(map(self._event, self._events()))),
            ("requests", "Requests", "".join(map(self._request, self._requests()))),
            ("codes", "Error codes", self._codes()),
            ("http", "Rows over HTTP", self._http()),
            ("types", "Types", "".join(map(self._type_section, self._other_types()))),
        ]
        inside = {
            "events": self._events(),
            "requests": [name for name, _ in self._requests()],
        }
        contents = "".join(
            f'<li><a href="#{anchor}">{title}</a>{_links(inside.get(anchor, ()))}</li>'
            for anchor, title, _ in sections
        )
        body = "".join(
            f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{_link(anchor, title)}</h2>'
            f"{content}</section>"
            for anchor, title, content in sections
        )
        title = escape(info["title"])
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta name="color-scheme" content="light dark">'
            f"<title>{title}</title><style>{STYLE}</style></head><body>"
            f'<nav aria-label="Contents"><ul>{contents}</ul></nav><main>'
            f"<header><h1>{title}</h1>"
            f'<p class="meta">Contract {escape(info["version"])} · '
            '<a href="asyncapi.json">AsyncAPI document</a></p>'
            f"{html(info['description'])}</header>{body}</main></body></html>\n"
        )

    # -- sections -------------------------------------------------------------------------------

    def _connect(self) -> str:
        server = self._document["servers"]["socketio"]
        host = server["variables"]["host"]["default"]
        snippet = CONNECT.format(origin=f"http://{host}", path=server["pathname"])
        handshake, refusal = self._messages["connect"], self._messages["connect-error"]
        return (
            f"<p>{inline(server['description'])}</p>{_pre(escape(snippet, quote=False))}"
            f"<h3 id='handshake'>{_link('handshake', 'auth of the handshake')}</h3>"
            f"{self._summary(handshake)}{self._fields(self._payload(handshake))}"
            f"<h3 id='connect-error'>{_link('connect-error', 'Rejected connections')}</h3>"
            f"{self._summary(refusal)}{self._fields(self._payload(refusal))}"
            f"{_examples(refusal)}"
        )

    def _rooms(self) -> str:
        return "".join(
            f"<h3>{escape(channel['title'])}"
            + (f" <code>{escape(channel['address'])}</code>" if channel["address"] else "")
            + f"</h3>{html(channel['description'])}"
            for name, channel in self._document["channels"].items()
            if name not in ("client", "properties", "regions")
        )

    def _event(self, name: str) -> str:
        message = self._messages[name]
        data = self._schema(self._payload(message)["properties"]["data"])
        listener = f'socket.on("{name}", (envelope, position) => …)'
        return (
            f'<article><h3 id="{name}">{_link(name, name)}</h3>{self._summary(message)}'
            f'<p class="signature"><code>{escape(listener, quote=False)}</code></p>'
            f"<h4><code>envelope.data</code></h4>{html(data.get('description', ''))}"
            f"{self._fields(data)}{_examples(message)}</article>"
        )

    def _request(self, request: tuple[str, Any]) -> str:
        name, operation = request
        message = self._messages[name]
        ack = self._messages[_target(operation["reply"]["messages"][0])]
        emit = f'socket.emit("{name}", request, (ack) => …)'
        return (
            f'<article><h3 id="{name}">{_link(name, name)}</h3>{html(operation["summary"])}'
            f'<p class="signature"><code>{escape(emit, quote=False)}</code></p>'
            f"<h4><code>request</code></h4>{self._summary(message)}"
            f"{self._fields(self._payload(message))}{_examples(message)}"
            f"<h4><code>ack</code></h4>{self._summary(ack)}"
            f"{self._fields(self._payload(ack))}{_examples(ack)}</article>"
        )

    def _codes(self) -> str:
        refused = self._messages["refused"]
        codes = "".join(
            f'<li class="field"><code id="code-{each["const"]}">{each["const"]}</code>'
            f"<p>{inline(each['description'])}</p></li>"
            for each in self._schemas["ErrorCode"]["oneOf"]
        )
        return f'{self._summary(refused)}{_examples(refused)}<ul class="fields">{codes}</ul>'

    def _http(self) -> str:
        operation = self._operations["readProperties"]
        query = operation["bindings"]["http"]["query"]
        rows = self._messages["rows"]
        regions = self._operations["readRegions"]
        counts = self._messages["region-counts"]
        return (
            '<p class="signature"><code>GET /properties?region=TX</code></p>'
            f"{html(operation['summary'])}{html(operation['description'])}"
            f"<h4>Query</h4>{self._fields(query)}"
            f"<h4>Headers of the response</h4>{self._fields(rows['bindings']['http']['headers'])}"
            f"{_examples(rows)}"
            '<p class="signature"><code>GET /regions</code></p>'
            f"{html(regions['summary'])}{html(regions['description'])}{_examples(counts)}"
        )

    def _type_section(self, name: str) -> str:
        schema = self._schemas[name]
        body = html(schema.get("description", ""))
        if "properties" in schema:
            body += self._fields(schema)
        elif set(schema) - {"description"} and "oneOf" not in schema:
            body += f'<p class="signature"><code>{self._type(schema)}</code></p>'
        return f'<article><h3 id="type-{name}">{_link(f"type-{name}", name)}</h3>{body}</article>'

    # -- parts ----------------------------------------------------------------------------------

    def _events(self) -> list[str]:
        """Return the names of the events, each once, in the contract's order."""
        sent = {
            _target(message)
            for operation in self._operations.values()
            if operation["action"] == "send"
            for message in operation["messages"]
        }
        return [name for name in self._messages if name in sent]

    def _requests(self) -> list[tuple[str, Any]]:
        """Return the requests of connected clients, with their operations."""
        return [
            (name, operation)
            for name, operation in self._operations.items()
            if "event" in self._messages.get(name, {}).get("x-socketio", {})
        ]

    def _find_anchors(self) -> dict[str, str]:
        """Return the anchor of each type on the page, by name."""
        anchors = {"Refusal": "codes", "ErrorCode": "codes"}
        for anchor, message in (("handshake", "connect"), ("connect-error", "connect-error")):
            anchors[_target(self._messages[message]["payload"])] = anchor
        for name in self._events():
            anchors[_target(self._messages[name]["payload"])] = name
            anchors[_target(self._payload(self._messages[name])["properties"]["data"])] = name
        for name, operation in self._requests():
            ack = self._messages[_target(operation["reply"]["messages"][0])]
            anchors[_target(self._messages[name]["payload"])] = name
            anchors[_target(ack["payload"])] = name
        return {name: anchors.get(name, f"type-{name}") for name in self._schemas}

    def _other_types(self) -> list[str]:
        """Return the types without a section of their own. Acks are part of their requests."""
        return [
            name
            for name, anchor in self._anchors.items()
            if anchor == f"type-{name}" and not name.endswith("Ack")
        ]

    def _summary(self, message: dict[str, Any]) -> str:
        return html(message["summary"])

    def _payload(self, message: dict[str, Any]) -> Schema:
        return self._schema(message["payload"])

    def _schema(self, schema: Schema) -> Schema:
        return self._schemas[_target(schema)] if "$ref" in schema else schema

    def _fields(self, schema: Schema) -> str:
        required = schema.get("required", [])
        items = [
            self._field(name, each, optional=name not in required)
            for name, each in schema["properties"].items()
        ]
        return f'<ul class="fields">{"".join(items)}</ul>'

    def _field(self, name: str, schema: Schema, *, optional: bool) -> str:
        description = schema.get("description", "")
        return (
            f'<li class="field"><code>{escape(name)}</code>'
            f'<span class="type">{self._type(schema)}</span>'
            + ('<span class="optional">optional</span>' if optional else "")
            + (f"<p>{inline(description)}</p>" if description else "")
            + "</li>"
        )

    def _type(self, schema: Schema) -> str:
        """Return the type in TypeScript's syntax, with links to named types."""
        (single,) = schema.get("allOf", [schema])
        return re.sub(
            r"[A-Z]\w+",
            lambda match: (
                f'<a href="#{self._anchors[match[0]]}">{match[0]}</a>'
                if match[0] in self._anchors
                else match[0]
            ),
            escape(type_of(single), quote=False),
        )


def _target(reference: dict[str, str]) -> str:
    return reference["$ref"].rpartition("/")[2]


def _link(anchor: str, title: str) -> str:
    return f'<a href="#{anchor}">{escape(title)}</a>'


def _links(names: Iterable[str]) -> str:
    items = "".join(f'<li><a href="#{name}">{name}</a></li>' for name in names)
    return f"<ul>{items}</ul>" if items else ""


def _examples(message: dict[str, Any]) -> str:
    return "".join(_pre(_highlighted(example["payload"])) for example in message["examples"])


def _pre(code: str) -> str:
    # Focusable by keyboard, since it may have to be scrolled.
    return f'<pre tabindex="0"><code>{code}</code></pre>'


def _highlighted(value: Any) -> str:
    """Return JSON text with markup for its tokens."""

    def mark(match: re.Match[str]) -> str:
        kind = ("key" if match[2] else "string") if match[1] else "word"
        text = escape(match[1] or match[0], quote=False)
        return f'<span class="{kind}">{text}</span>{match[2] or ""}'

    return TOKEN.sub(mark, json.dumps(value, indent=2, ensure_ascii=False))
