"""Decoding of Realtime's payloads, including those that it is known to truncate."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.changes import Op
from bridge.projection import Projection
from bridge.rows import RowStore
from bridge.source.realtime.decode import UnreadableChangeError, decode

P = Projection(published=("name", "state", "price"), region=("state",))
TYPES = {
    "id": "uuid",
    "name": "text",
    "state": "text",
    "price": "int8",
    "updated_at": "timestamptz",
}
RECORD = {
    "id": "k",
    "name": "Oak",
    "state": "TX",
    "price": 1,
    "updated_at": "2026-01-01T00:00:00.5+00:00",
    "internal_notes": "secret",
}


def payload(type_: str, **fields: Any) -> dict[str, Any]:
    types = {**TYPES, **fields.pop("types", {})}
    return {
        "schema": "public",
        "table": "properties",
        "type": type_,
        "commit_timestamp": "2026-01-01T00:00:01.000Z",
        "columns": [{"name": name, "type": type_} for name, type_ in types.items()],
        "errors": None,
        **fields,
    }


def test_insert_keeps_known_columns_only() -> None:
    change = decode(payload("INSERT", record=RECORD), P)
    assert change is not None
    assert (change.op, change.key) == (Op.INSERT, "k")
    assert change.record == {
        "name": "Oak",
        "state": "TX",
        "price": 1,
        "updated_at": "2026-01-01T00:00:00.5Z",
    }
    assert change.old is None


def test_old_row_is_kept_under_replica_identity_full() -> None:
    change = decode(payload("UPDATE", record=RECORD, old_record={**RECORD, "price": 0}), P)
    assert change is not None
    assert change.old is not None
    assert change.old["price"] == 0


def test_old_record_of_the_key_alone_is_no_old_row() -> None:
    change = decode(payload("UPDATE", record=RECORD, old_record={"id": "k"}), P)
    assert change is not None
    assert (change.old, change.old_key) == (None, None)


def test_changed_key_is_detected() -> None:
    change = decode(payload("UPDATE", record=RECORD, old_record={"id": "before"}), P)
    assert change is not None
    assert (change.key, change.old_key) == ("k", "before")


def test_delete_has_the_old_key() -> None:
    change = decode(payload("DELETE", old_record={"id": "k"}), P)
    assert change is not None
    assert (change.op, change.key, change.record, change.truncated) == (Op.DELETE, "k", {}, False)


def test_missing_column_stays_missing() -> None:
    record = {key: value for key, value in RECORD.items() if key != "name"}
    change = decode(payload("UPDATE", record=record, old_record={"id": "k"}), P)
    assert change is not None
    assert "name" not in change.record
    assert not change.truncated


def test_change_with_cut_off_values_is_truncated() -> None:
    errors = ["Error 413: Payload Too Large"]
    change = decode(payload("UPDATE", record={"id": "k"}, old_record={"id": "k"}, errors=errors), P)
    assert change is not None
    assert change.truncated


@pytest.mark.parametrize("type_", ["bpchar", "bit", "_bpchar", "_bit"])
def test_change_with_a_type_cut_to_one_character_is_truncated(type_: str) -> None:
    record = {**RECORD, "state": "T"}
    change = decode(payload("INSERT", record=record, types={"state": type_}), P)
    assert change is not None
    assert change.truncated
    assert "state" not in change.record


def test_unknown_column_of_a_truncated_type_is_ignored() -> None:
    record = {**RECORD, "internal_notes": "s"}
    change = decode(payload("INSERT", record=record, types={"internal_notes": "bpchar"}), P)
    assert change is not None
    assert not change.truncated


def test_key_of_a_truncated_type_is_unreadable() -> None:
    with pytest.raises(UnreadableChangeError, match="the key id"):
        decode(payload("DELETE", old_record={"id": "T"}, types={"id": "bpchar"}), P)


def test_unreadable_change_shows_how_far_the_stream_is() -> None:
    with pytest.raises(UnreadableChangeError) as error:
        decode(payload("INSERT", record={**RECORD, "id": "T"}, types={"id": "bpchar"}), P)
    assert error.value.updated_at == "2026-01-01T00:00:00.5Z"


def test_float_is_decoded_as_postgrest_serializes_it() -> None:
    record = {**RECORD, "price": 10**16, "name": 10**16}
    types = {"price": "float8", "name": "numeric"}
    change = decode(payload("INSERT", record=record, types=types), P)
    assert change is not None
    rows = RowStore(("price", "name"))
    assert rows.encode(change.record) == b"[1e+16,10000000000000000]"


def test_bytea_is_decoded_as_postgrest_serializes_it() -> None:
    change = decode(
        payload("INSERT", record={**RECORD, "name": "00ff"}, types={"name": "bytea"}), P
    )
    assert change is not None
    assert change.record["name"] == "\\x00ff"


@pytest.mark.parametrize("field", ["schema", "table"])
def test_change_of_another_table_is_ignored(field: str) -> None:
    assert decode(payload("INSERT", record=RECORD, **{field: "other"}), P) is None


@pytest.mark.parametrize(
    "data",
    [
        payload("INSERT", record={}),
        payload("INSERT"),
        payload("DELETE"),
        payload("INSERT", record={**RECORD, "id": None}),
        payload("INSERT", record={**RECORD, "id": 1e300}),
        payload("INSERT", record={**RECORD, "id": [1]}),
        payload("TRUNCATE"),
    ],
)
def test_payload_without_a_key_is_unreadable(data: dict[str, Any]) -> None:
    with pytest.raises(UnreadableChangeError, match="expected"):
        decode(data, P)


@pytest.mark.parametrize(
    "data",
    [
        payload("UPDATE", record=RECORD, old_record={"id": ["k"]}),
        payload("UPDATE", record=RECORD, old_record={"id": {}}),
        payload("UPDATE", record=RECORD, columns=[{}]),
        payload("UPDATE", record=RECORD, columns=7),
        payload("UPDATE", record=RECORD, columns=["name"]),
        payload("UPDATE", record=["k"]),
        payload("UPDATE", record=RECORD, old_record="k"),
        payload("INSERT", record=RECORD, type=["INSERT"]),
    ],
)
def test_payload_of_another_shape_is_unreadable_without_quoting_the_row(
    data: dict[str, Any],
) -> None:
    with pytest.raises(UnreadableChangeError) as error:
        decode(data, P)
    assert "Oak" not in str(error.value)


@pytest.mark.parametrize("at", [7, None, {}, []])
def test_missing_commit_time_is_empty(at: Any) -> None:
    change = decode(payload("INSERT", record=RECORD, commit_timestamp=at), P)
    assert change is not None
    assert change.committed_at == ""
