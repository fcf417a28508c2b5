"""The JSON Schema document."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bridge.projection import Projection
from bridge.schema import json_schema
from bridge.schema.catalog import EMITTED
from bridge.schema.examples import examples
from tests.contract.test_asyncapi import references, resolved

PROJECTION = Projection()
DOCUMENT = json_schema.document()


def test_the_document_is_a_schema_of_its_dialect() -> None:
    assert DOCUMENT["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(DOCUMENT)


def test_every_reference_leads_somewhere_and_every_definition_is_referred_to_or_a_root() -> None:
    found = set(references(DOCUMENT))
    for reference in found:
        resolved(DOCUMENT, reference)
    roots = {"HandshakeAuth", "ConnectRefusal", "PropertyRow"}
    unused = {name for name in DOCUMENT["$defs"] if f"#/$defs/{name}" not in found}
    assert {name for name in unused - roots if not name.endswith(("Request", "Ack"))} == set()


@pytest.mark.parametrize("name", [each.name for each in EMITTED])
def test_the_document_is_that_of_the_envelopes(name: str) -> None:
    for envelope in examples(PROJECTION)[name]:
        Draft202012Validator(DOCUMENT).validate(envelope)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event": "property-renamed", "data": {}},
        {"event": "property-deleted", "data": {"deleted_at": "2026-01-05T09:00:00Z"}},
        {"event": "property-deleted", "data": None},
        {"data": {"property_id": 1, "deleted_at": "2026-01-05T09:00:00Z"}},
        [],
    ],
)
def test_what_is_no_envelope_is_refused(wrong: Any) -> None:
    assert not Draft202012Validator(DOCUMENT).is_valid(wrong)


def test_what_may_be_absent_may_not_be_null() -> None:
    (updated, _) = examples(PROJECTION)["property-updated"]
    updated["data"]["moved"] = None
    assert not Draft202012Validator(DOCUMENT).is_valid(updated)


def test_further_columns_may_be_anything_and_others_are_not_named() -> None:
    projection = Projection(published=("name", "state", "features"))
    schema = Draft202012Validator(json_schema.document(projection))
    (created,) = examples(projection)["property-created"]
    created["data"]["features"] = {"pool": [1, None]}
    assert schema.is_valid(created)
    row = json_schema.definitions(projection)["PropertyCreatedData"]
    assert set(row["properties"]) == {"property_id", "name", "state", "features"}
    assert set(row["required"]) == set(row["properties"])
    del created["data"]["features"]
    assert not schema.is_valid(created)


def test_documented_column_for_members_is_optional() -> None:
    projection = Projection(published=("name", "state"), member=("price", "notes"))
    row = json_schema.definitions(projection)["PropertyCreatedData"]
    assert set(row["properties"]) == {"property_id", "name", "state", "price"}
    assert set(row["required"]) == {"property_id", "name", "state"}


def test_the_same_contract_gives_the_same_document() -> None:
    assert json_schema.document() == DOCUMENT
