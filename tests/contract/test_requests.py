"""What the models of requests accept is what the gateway takes, and the other way round."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from bridge.contract.parse import (
    INTEGERS,
    NAME_LENGTH,
    RoomSelection,
    parse_batch_flag,
    parse_page_cursor,
    parse_selection,
    parse_snapshot_flag,
    parse_token,
)
from bridge.contract.requests import (
    AuthenticateRequest,
    HandshakeAuth,
    SubscribeRequest,
    UnsubscribeRequest,
)
from bridge.errors import RequestRejected
from bridge.schema import json_schema

LONG = "x" * NAME_LENGTH

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["", "TX", "CA/San Diego", "42", LONG, LONG + "x"]),
    st.text(max_size=5),
    st.sampled_from(
        [0, 7, -1, INTEGERS.start, INTEGERS.start - 1, INTEGERS.stop - 1, INTEGERS.stop]
    ),
    st.integers(),
    st.floats(allow_nan=False),
)
values = st.one_of(
    scalars,
    st.lists(scalars, max_size=3),
    st.dictionaries(st.text(max_size=3), scalars, max_size=2),
)
good = {
    "regions": st.lists(st.text(min_size=1, max_size=4), max_size=3) | st.none(),
    "properties": st.lists(st.text(min_size=1, max_size=4) | st.integers(0, 99), max_size=3),
    "snapshot": st.booleans() | st.none(),
    "batch": st.booleans() | st.none(),
    "after": st.text(max_size=4) | st.none(),
    "token": st.text(max_size=4) | st.none(),
}
# Near enough to the shape that both outcomes are common.
arguments = st.one_of(
    st.fixed_dictionaries({}, optional={name: each | values for name, each in good.items()}),
    st.fixed_dictionaries({}, optional=good),
    st.dictionaries(st.sampled_from([*good, "later"]), values, max_size=4),
    values,
)


def taken(argument: Any, *more: Any) -> tuple[Any, ...] | None:
    """What the gateway reads in it; None where it refuses."""
    try:
        return (parse_selection(argument), *(read(argument) for read in more))
    except RequestRejected:
        return None


def accepted(model: type[BaseModel], argument: Any) -> Any:
    """The model of it, None where it isn't one. Python's own None is an empty request."""
    try:
        return model.model_validate({} if argument is None else argument)
    except ValidationError:
        return None


def named(request: Any) -> RoomSelection:
    return RoomSelection(tuple(request.regions or ()), tuple(request.properties or ()))


@given(arguments)
@example({"regions": [LONG + "x"]})
@example({"properties": [True]})
@example({"properties": [1.0]})
@example({"properties": [INTEGERS.stop]})
@example({"snapshot": 1})
@example({"after": LONG + "x"})
def test_subscribe_takes_what_its_model_accepts(argument: Any) -> None:
    read = taken(argument, parse_snapshot_flag, parse_page_cursor)
    model = accepted(SubscribeRequest, argument)
    assert (read is None) == (model is None)
    if read is not None:
        assert read == (named(model), bool(model.snapshot), model.after)


@given(arguments)
def test_unsubscribe_takes_what_its_model_accepts(argument: Any) -> None:
    read = taken(argument)
    model = accepted(UnsubscribeRequest, argument)
    assert (read is None) == (model is None)
    if read is not None:
        assert read == (named(model),)


@given(arguments)
def test_the_handshake_takes_what_its_model_accepts(argument: Any) -> None:
    read = taken(argument, parse_batch_flag, parse_token)
    model = accepted(HandshakeAuth, argument)
    assert (read is None) == (model is None)
    if read is not None:
        assert read == (named(model), bool(model.batch), model.token)


@given(arguments)
def test_authenticate_takes_what_its_model_accepts(argument: Any) -> None:
    try:
        token = parse_token(argument)
    except RequestRejected:
        token = None
    model = accepted(AuthenticateRequest, argument)
    assert token == (None if model is None else model.token)


@pytest.mark.parametrize("model", [SubscribeRequest, UnsubscribeRequest, HandshakeAuth])
@given(argument=arguments)
def test_the_schema_accepts_what_its_model_does(model: type[BaseModel], argument: Any) -> None:
    schema = SCHEMAS[model.__name__]
    assert schema.is_valid({} if argument is None else argument) == (
        accepted(model, _spelt(argument)) is not None
    )


SCHEMAS = {
    model.__name__: Draft202012Validator(
        {"$ref": f"#/$defs/{model.__name__}", "$defs": json_schema.definitions()}
    )
    for model in (SubscribeRequest, UnsubscribeRequest, HandshakeAuth)
}


def _spelt(argument: Any) -> Any:
    """JSON Schema knows numbers by their value: to it, 1.0 is an integer."""
    if isinstance(argument, dict):
        return {name: _spelt(value) for name, value in argument.items()}
    if isinstance(argument, list):
        return [_spelt(value) for value in argument]
    if isinstance(argument, float) and argument.is_integer():
        return int(argument)
    return argument
