"""Parses the arguments of requests and handshakes, which may hold any JSON value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.changes import safe_key
from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from bridge.changes import Key

NAME_LENGTH: Final = 200
"""Maximum number of characters of a region or property id. Longer names are rejected."""

INTEGERS: Final = range(-(2**63), 2**64)
"""Integers that a request may name; greater keys are given as strings."""


@dataclass(frozen=True, slots=True)
class RoomSelection:
    """Regions and properties of a request, in the client's order."""

    regions: tuple[str, ...] = ()
    properties: tuple[Key, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.regions or self.properties)


def parse_selection(argument: Any) -> RoomSelection:
    """Parse the argument of `subscribe` or `unsubscribe`, or a handshake's `auth`.

    None is equivalent to an empty object, and a null member to an absent one. Unknown members are
    ignored: they belong to other parsers or to later versions.

    Raises `RequestRejected` with `bad_request` if a member does not have the documented shape.
    """
    if argument is None:
        return RoomSelection()
    if not isinstance(argument, dict):
        raise _bad("an object such as {regions: [...], properties: [...]}", argument)
    return RoomSelection(
        regions=tuple(parse_region(name) for name in _list(argument, "regions")),
        properties=tuple(_property(key) for key in _list(argument, "properties")),
    )


def parse_snapshot_flag(argument: Any) -> bool:
    """Return whether the argument of `subscribe`, accepted by `parse_selection`, requests a
    snapshot.

    Raises `RequestRejected` with `bad_request` if the flag is neither true nor false.
    """
    return _flag(argument, "snapshot")


def parse_batch_flag(argument: Any) -> bool:
    """Return whether a handshake's `auth`, accepted by `parse_selection`, requests batches. Raises
    as `parse_snapshot_flag`.
    """
    return _flag(argument, "batch")


def parse_page_cursor(argument: Any) -> str | None:
    """Return the cursor in the argument of `subscribe`; None for the first page.

    Raises `RequestRejected` with `bad_request` unless it is a string of at most `NAME_LENGTH`
    characters.
    """
    value = None if argument is None else argument.get("after")
    if value is not None and not isinstance(value, str):
        raise _bad("a string for after", value)
    return None if value is None else _short(value)


def parse_token(argument: Any) -> str | None:
    """Return the token in a handshake's `auth` or in the argument of `authenticate`, if any.

    Raises `RequestRejected` with `bad_request` if it is not a string.
    """
    value = argument.get("token") if isinstance(argument, dict) else None
    if value is not None and not isinstance(value, str):
        raise _bad("a string for token", value)
    return value


def _flag(argument: Any, name: str) -> bool:
    value = None if argument is None else argument.get(name)
    if value is not None and not isinstance(value, bool):
        raise _bad(f"true or false for {name}", value)
    return bool(value)


def _list(argument: dict[str, Any], name: str) -> list[Any]:
    value = argument.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _bad(f"a list of {name}", value)
    return value


def parse_region(value: Any) -> str:
    """Parse the name of a region. Raises `RequestRejected` with `bad_request`."""
    if not isinstance(value, str) or not value:
        raise _bad("a region as a non-empty string, such as TX", value)
    return _short(value)


def _property(value: Any) -> Key:
    if isinstance(value, int) and not isinstance(value, bool) and value in INTEGERS:
        return safe_key(value)
    if not isinstance(value, str) or not value:
        raise _bad("a property id as a non-empty string or an integer", value)
    return _short(value)


def _short(value: str) -> str:
    if len(value) > NAME_LENGTH:
        raise RequestRejected(
            Code.BAD_REQUEST,
            f"expected names of at most {NAME_LENGTH} characters, got one of {len(value)}",
        )
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # valid JSON, but it can be neither stored nor sent
            raise RequestRejected(
                Code.BAD_REQUEST, "expected names in Unicode, got one with half a surrogate pair"
            ) from None
    return value


def _bad(expected: str, value: Any) -> RequestRejected:
    """Return a rejection with the type of the value, but without the value, which may be long."""
    kind = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}.get(
        type(value), "null" if value is None else "a number"
    )
    if value == "":
        kind = "an empty string"
    if isinstance(value, bytes | bytearray):
        kind = "binary data"
    return RequestRejected(Code.BAD_REQUEST, f"expected {expected}, got {kind}")
