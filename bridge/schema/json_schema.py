"""Generates the JSON Schema of all messages of the wire contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import TypeAdapter

from bridge.contract import requests
from bridge.contract.events import PropertyCreatedData
from bridge.errors import Code
from bridge.projection import DOCUMENTED
from bridge.schema.catalog import EMITTED, REQUESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bridge.projection import Projection

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

JSON: Final = "Json"
"""Name of the type of any JSON value."""

Mode = Literal["validation", "serialization"]
Schema = dict[str, Any]


def document(projection: Projection | None = None) -> Schema:
    """Return a document of JSON Schema 2020-12 for the emitted envelopes. Requests and their
    acknowledgements are in its `$defs`. With a `projection` it names the published columns.
    """
    return {
        "$schema": DIALECT,
        "title": "The bridge's wire contract",
        "description": "The Socket.IO event name equals `event`; its first argument is the "
        "envelope, its second one the position in the log, a string. Requests and their "
        "acknowledgements are in `$defs`.",
        "anyOf": [{"$ref": f"#/$defs/{each.envelope.__name__}"} for each in EMITTED],
        "$defs": definitions(projection),
    }


def definitions(
    projection: Projection | None = None, *, refs: str = "#/$defs/{model}"
) -> dict[str, Schema]:
    """Return the schema of each named type, by name. `refs` is the template of references."""
    adapters: list[tuple[str, Mode, TypeAdapter[Any]]] = [
        (str(number), mode, TypeAdapter(each)) for number, (each, mode) in enumerate(_models())
    ]
    _, whole = TypeAdapter.json_schemas(adapters, ref_template=refs)
    named = {_name(name): _plain(schema) for name, schema in whole["$defs"].items()}
    named[JSON] = {"description": "Any JSON value, as Supabase sends it."}
    del named[Code.__name__]  # `ErrorCode` has the codes with their meanings
    if projection is not None:
        _publish(named[PropertyCreatedData.__name__], projection, refs)
    return named


def _publish(row: Schema, projection: Projection, refs: str) -> None:
    """Make the schema of a row name the published columns. Those for members only are optional if
    they are documented, and not named otherwise.
    """
    for column in (c for c in DOCUMENTED if c not in projection.published):
        row["required"].remove(column)
        if column not in projection.member:
            del row["properties"][column]
    for column in projection.extra:
        row["properties"][column] = {"$ref": refs.format(model=JSON)}
        row["required"].append(column)


def _models() -> Iterator[tuple[Any, Mode]]:
    for emitted in EMITTED:
        yield emitted.envelope, "serialization"
    yield requests.HandshakeAuth, "validation"
    for request in REQUESTS:
        yield request.argument, "validation"
        yield request.ack, "serialization"
    yield requests.ConnectRefusal, "serialization"
    yield requests.PropertyRow, "serialization"


def _plain(schema: Any) -> Any:
    """Remove titles and defaults that pydantic adds and the contract does not need."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out: Schema = {}
    for word, value in schema.items():
        if word == "title" or (word == "default" and (value is None or "const" in schema)):
            continue
        if word in ("properties", "$defs"):
            out[word] = {name: _plain(each) for name, each in value.items()}
        else:
            out[word] = _name(value) if word == "$ref" else _plain(value)
    return out


def _name(name: str) -> str:
    return name.replace("JsonValue", JSON)
