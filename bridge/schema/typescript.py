"""Generates TypeScript types for `Socket<ServerToClientEvents, ClientToServerEvents>`.

The JSON Schema's named types become types of the same name, its descriptions doc comments. A schema
without a type here is an error, never `any`.
"""

from __future__ import annotations

import json
import re
import textwrap
from typing import TYPE_CHECKING, Any, Final

from bridge.schema.catalog import EMITTED, REQUESTS
from bridge.schema.json_schema import JSON, definitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bridge.projection import Projection
    from bridge.schema.json_schema import Schema

WIDTH: Final = 100

PRIMITIVES: Final = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "null": "null",
}

HEADER: Final = """\
// The bridge's wire contract. Generated; to update it:
//   bridge schema --format typescript --out deploy/web/lib/bridge/contract.ts
"""

JSON_TYPE: Final = (
    "export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };"
)

POSITION: Final = """\
The listener's second argument, which it may omit, is the event's position in the log. The client
library uses it for recovery; it is not passed on by python-socketio."""

IDENTIFIER: Final = re.compile(r"[A-Za-z_$][\w$]*")


class UnsupportedSchemaError(TypeError):
    """A schema without a TypeScript type."""

    def __init__(self, schema: Any) -> None:
        super().__init__(f"expected a schema that TypeScript has a type for, got {schema!r}")


def source(projection: Projection | None = None) -> str:
    """Return the text of the module, with the published columns of `projection`. It is
    deterministic.
    """
    named = definitions(projection)
    parts = [HEADER]
    parts.extend(_declared(name, named[name]) for name in _ordered(named))
    parts.append(_emitted(named))
    parts.append(_requests())
    return "\n".join(parts)


def _ordered(named: Mapping[str, Schema]) -> list[str]:
    """Return every name once, in the order of the contract, after the types that it uses."""
    out: dict[str, None] = {JSON: None}
    for each in EMITTED:
        _add_type(each.envelope.__name__, named, out)
    _add_type("HandshakeAuth", named, out)
    for request in REQUESTS:
        _add_type(request.argument.__name__, named, out)
        _add_type(request.ack.__name__, named, out)
    for name in named:
        _add_type(name, named, out)
    return list(out)


def _add_type(name: str, named: Mapping[str, Schema], out: dict[str, None]) -> None:
    if name in out:
        return
    for inner in _references(named[name]):
        _add_type(inner, named, out)
    out[name] = None


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _references(each)
    elif isinstance(schema, dict):
        for word, value in schema.items():
            if word == "$ref":
                yield _referred(value)
            else:
                yield from _references(value)


def _referred(ref: str) -> str:
    return ref.rpartition("/")[2]


# -- declarations -------------------------------------------------------------------------------


def _declared(name: str, schema: Schema) -> str:
    comment = _comment(schema.get("description", ""))
    if name == JSON:
        return f"{comment}{JSON_TYPE}\n"
    if "properties" in schema:
        return f"{comment}export interface {name} {{\n{_members(schema)}}}\n"
    if "oneOf" in schema:
        choices = "".join(
            f"{_comment(each.get('description', ''), '  ')}  | {type_of(each)}\n"
            for each in schema["oneOf"]
        )
        return f"{comment}export type {name} =\n{choices.rstrip()};\n"
    return f"{comment}export type {name} = {type_of(schema)};\n"


def _members(schema: Schema) -> str:
    required = schema.get("required", [])
    lines = []
    for name, each in schema["properties"].items():
        key = name if IDENTIFIER.fullmatch(name) else json.dumps(name)
        mark = "" if name in required else "?"
        lines.append(_comment(each.get("description", ""), "  "))
        lines.append(f"  {key}{mark}: {type_of(each)};\n")
    others = schema.get("additionalProperties", False)
    if others is not False:
        lines.append("  /** Further columns, by the bridge's settings. */\n")
        lines.append(f"  [column: string]: {type_of(others)};\n")
    return "".join(lines)


def type_of(schema: Any) -> str:
    """Return the type of a schema, with named types by name. Raises `UnsupportedSchemaError`."""
    if schema is True or not set(schema) - {"description", "default"}:
        return JSON
    if "$ref" in schema:
        return _referred(schema["$ref"])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return _union(json.dumps(each) for each in schema["enum"])
    if "anyOf" in schema:
        return _union(type_of(each) for each in schema["anyOf"])
    kind = schema.get("type")
    if kind == "array":
        inner = type_of(schema["items"])
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if kind == "object" and "properties" not in schema:
        return f"{{ [column: string]: {type_of(schema['additionalProperties'])} }}"
    if isinstance(kind, str) and kind in PRIMITIVES:
        return PRIMITIVES[kind]
    raise UnsupportedSchemaError(schema)


def _union(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types))


def _comment(text: str, indent: str = "") -> str:
    """Return a doc comment with the paragraphs and lists of `text`; empty for an empty text."""
    if not text:
        return ""
    text = text.replace("*/", "*\\/")
    one = f"{indent}/** {text} */"
    if "\n" not in text and len(one) <= WIDTH:
        return f"{one}\n"
    lines: list[str] = []
    for block in re.split(r"\n(?=\n|- )", text):
        wrapped = textwrap.wrap(
            block.strip(),
            WIDTH - len(indent) - 3,
            subsequent_indent="  " if block.startswith("- ") else "",
            break_long_words=False,
            break_on_hyphens=False,
        )
        lines.extend([""] * block.startswith("\n") + wrapped)
    starred = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{starred}{indent} */\n"


# -- events and requests ------------------------------------------------------------------------


def _emitted(named: Mapping[str, Schema]) -> str:
    listeners = "".join(
        _comment(named[each.envelope.__name__].get("description", ""), "  ")
        + f"  {json.dumps(each.name)}: "
        + f"(envelope: {each.envelope.__name__}, position?: string) => void;\n"
        for each in EMITTED
    )
    names = "\n".join(f"  | {each.envelope.__name__}" for each in EMITTED)
    return (
        "/** Any envelope that the bridge emits, by `event`. */\n"
        f"export type Envelope =\n{names};\n\n"
        + _comment(f"Listeners of the events that the bridge emits.\n\n{POSITION}")
        + f"export interface ServerToClientEvents {{\n{listeners}}}\n"
    )


def _requests() -> str:
    requests = "".join(
        _comment(each.description, "  ") + f"  {each.name}: (\n"
        f"    request: {each.argument.__name__},\n"
        f"    ack: (answer: {each.ack.__name__}) => void,\n"
        "  ) => void;\n"
        for each in REQUESTS
    )
    return (
        _comment("Requests that a client may emit, with the arguments of their acks.")
        + f"export interface ClientToServerEvents {{\n{requests}}}\n"
    )
