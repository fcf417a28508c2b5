"""The AsyncAPI document: valid by the standard's own schema, whole, and true to its examples."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft7Validator
from jsonschema.validators import validator_for

from bridge.errors import Code
from bridge.options import document_options
from bridge.schema import asyncapi
from bridge.schema.catalog import EMITTED, REQUESTS
from tests.acceptance import node
from tests.contract.typescript_compiler import JS
from tests.fakes import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = asyncapi.document(document_options(settings()))

OTHERS = {
    "two levels of regions": {"region": "state,city", "columns": "name,state,city,price"},
    "no column of the example": {"table": "public.parcels", "key": "no", "region": "zone",
                                 "columns": "zone,owner", "updated_at": ""},
    "nothing that could change": {"region": "zone", "columns": "id", "updated_at": ""},
    "another path": {"path": "/live/sockets", "port": 0},
}  # fmt: skip


@pytest.fixture(scope="module")
def standard() -> Draft7Validator:
    """The schema that the AsyncAPI Initiative publishes for 3.0.0."""
    package = node.installed(JS) / "node_modules" / "@asyncapi" / "specs"
    schema = json.loads((package / "schemas" / "3.0.0.json").read_text())
    assert validator_for(schema) is Draft7Validator
    return Draft7Validator(schema)


def faults(standard: Draft7Validator, document: Any) -> list[str]:
    return [f"{list(error.path)}: {error.message}" for error in standard.iter_errors(document)]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for word, each in value.items():
            if word == "$ref" and isinstance(each, str):
                yield each
            else:
                yield from references(each)


def resolved(document: Any, reference: str) -> Any:
    root, *words = reference.split("/")
    assert root == "#", f"{reference} leads out of the document"
    for word in words:
        document = document[word.replace("~1", "/").replace("~0", "~")]
    return document


def validator(document: dict[str, Any], message: str) -> Draft7Validator:
    payload = document["components"]["messages"][message]["payload"]
    return Draft7Validator({"allOf": [payload], "components": document["components"]})


def test_the_document_is_valid(standard: Draft7Validator) -> None:
    assert faults(standard, DOCUMENT) == []


@pytest.mark.parametrize("overrides", OTHERS.values(), ids=OTHERS.keys())
def test_the_document_is_valid_with_other_settings(
    overrides: dict[str, Any], standard: Draft7Validator
) -> None:
    document = asyncapi.document(document_options(settings(**overrides)))
    assert faults(standard, document) == []
    for reference in references(document):
        resolved(document, reference)
    for name, message in document["components"]["messages"].items():
        for example in message["examples"]:
            validator(document, name).validate(example["payload"])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("asyncapi",), "2.6.0"),
        (("operations", "subscribe", "action"), "publish"),
        (("channels", "region", "messages"), ["property-created"]),
        (("servers", "socketio", "host"), None),
        (("components", "messages", "connect", "examples"), [{}]),
        (("components", "schemas", "Move", "type"), "objekt"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)
def test_a_broken_document_is_not_valid(
    path: tuple[str, ...], value: Any, standard: Draft7Validator
) -> None:
    broken = copy.deepcopy(DOCUMENT)
    *way, last = path
    inside = broken
    for word in way:
        inside = inside[word]
    inside[last] = value
    assert faults(standard, broken) != []


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    assert len(found) > 50
    for reference in found:
        assert isinstance(resolved(DOCUMENT, reference), dict), reference


def test_a_reference_stands_alone_in_schemas() -> None:
    # What stands beside one is not looked at in AsyncAPI's dialect.
    def look(value: Any) -> None:
        if isinstance(value, dict):
            assert "$ref" not in value or len(value) == 1
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(DOCUMENT["components"]["schemas"])


@pytest.mark.parametrize("name", DOCUMENT["components"]["messages"])
def test_every_message_has_examples_and_they_are_valid(name: str) -> None:
    examples = DOCUMENT["components"]["messages"][name]["examples"]
    assert examples
    for example in examples:
        validator(DOCUMENT, name).validate(example["payload"])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("property-created", {"event": "property-created", "data": {"property_id": 1}}),
        ("property-created", {"event": "property-updated", "data": {}}),
        ("property-deleted", {"event": "property-deleted", "data": {"property_id": 1.5}}),
        ("bridge-status", {"event": "bridge-status", "data": {"state": "fine"}}),
        ("refused", {"ok": False, "error": {"code": "teapot", "message": ""}}),
        ("refused", {"ok": True}),
        ("subscribe", {"regions": [""]}),
        ("subscribe", {"regions": "TX"}),
        ("authenticate", {}),
        ("connect", {"properties": [True]}),
        ("subscribed", {"ok": True, "regions": ["TX"]}),
    ],
)
def test_what_is_not_of_the_shape_is_not_valid(name: str, wrong: Any) -> None:
    assert not validator(DOCUMENT, name).is_valid(wrong)


def test_the_bridge_sends_every_event() -> None:
    sent = {
        reference.rpartition("/")[2]
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == "send"
        for reference in references(operation["messages"])
    }
    assert sent == {each.name for each in EMITTED}


def test_every_request_is_received_and_replied_to_with_its_ack_or_a_refusal() -> None:
    for request in REQUESTS:
        operation = DOCUMENT["operations"][request.name]
        assert operation["action"] == "receive"
        replies = [resolved(DOCUMENT, each["$ref"]) for each in operation["reply"]["messages"]]
        schemas = [
            next(references(resolved(DOCUMENT, each["$ref"])["payload"])) for each in replies
        ]
        assert schemas == [
            f"#/components/schemas/{request.accepted.__name__}",
            "#/components/schemas/Refusal",
        ]


def test_no_message_is_without_an_operation() -> None:
    used = {reference.rpartition("/")[2] for reference in references(DOCUMENT["operations"])}
    assert used >= set(DOCUMENT["components"]["messages"])


def test_every_code_is_there_with_its_meaning() -> None:
    codes = DOCUMENT["components"]["schemas"]["ErrorCode"]["oneOf"]
    assert codes == [{"const": code.value, "description": code.meaning} for code in Code]


def test_the_settings_of_the_bridge_show() -> None:
    document = asyncapi.document(
        document_options(
            settings(
                path="/live",
                port=9000,
                table="crm.homes",
                region="state,city",
                columns="name,area",
            )
        )
    )
    server = document["servers"]["socketio"]
    assert server["pathname"] == "/live"
    assert server["variables"]["host"]["default"] == "localhost:9000"
    assert "crm.homes" in document["info"]["title"]
    assert "by `state`, then `city`" in document["channels"]["region"]["description"]
    row = document["components"]["schemas"]["PropertyCreatedData"]
    assert row["properties"]["area"] == {"$ref": "#/components/schemas/Json"}
    assert "area" in row["required"]
    assert "price" not in {*row["properties"], *row["required"]}


def test_nothing_of_the_settings_shows_that_is_nobodys_business() -> None:
    text = json.dumps(
        asyncapi.document(document_options(settings(columns="name", updated_at="touched")))
    )
    assert settings().supabase_secret_key.get_secret_value() not in text
    assert settings().supabase_url not in text
    assert "touched" not in text
    assert '"address":' not in json.dumps(
        asyncapi.document(document_options(settings(columns="name")))["components"]
    )


def test_an_example_of_a_move_shows_the_row_at_its_new_place() -> None:
    moved = DOCUMENT["components"]["messages"]["property-updated"]["examples"][1]["payload"]["data"]
    assert moved["moved"] == {"from": ["TX"], "to": ["CA"]}
    assert moved["property"]["state"] == "CA"
