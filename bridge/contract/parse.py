"""What a client asks for, read from whatever it sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bridge.errors import Code, RequestRejected

if TYPE_CHECKING:
    from bridge.changes import Key

NAME_LENGTH: Final = 200
"""Characters of one region or property id. Real ones are shorter; longer ones are not looked at."""

INTEGERS: Final = range(-(2**63), 2**64)
"""Integers that a key column can hold."""


@dataclass(frozen=True, slots=True)
class RoomSelection:
    """Regions and properties that a client named, in its order."""

    regions: tuple[str, ...] = ()
    properties: tuple[Key, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.regions or self.properties)


def parse_selection(argument: Any) -> RoomSelection:
    """Read the argument of `subscribe` or `unsubscribe`, or a handshake's `auth`.

    None is the same as an empty object, a null member the same as an absent one, and members that
    the contract does not name are passed over: they belong to others, or to later versions.

    Raises `RequestRejected` with `bad_request` where a member is not of the documented shape.
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
    """Whether the argument of `subscribe`, which `wanted` took, asks for a snapshot too.

    Raises `RequestRejected` with `bad_request` if that is neither true nor false.
    """
    return _flag(argument, "snapshot")


def parse_batch_flag(argument: Any) -> bool:
    """Whether a handshake's `auth`, which `wanted` took, asks for batches. Raises as above."""
    return _flag(argument, "batch")


def parse_page_cursor(argument: Any) -> str | None:
    """The cursor in the argument of `subscribe`, None for the first page.

    Raises `RequestRejected` with `bad_request` if that is no short string.
    """
    value = None if argument is None else argument.get("after")
    if value is not None and not isinstance(value, str):
        raise _bad("a string for after", value)
    return None if value is None else _short(value)


def parse_token(argument: Any) -> str | None:
    """The token in a handshake's `auth` or in the argument of `authenticate`.

    Raises `RequestRejected` with `bad_request` if that is no string.
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
    """A region's name. Raises `RequestRejected` with `bad_request`."""
    if not isinstance(value, str) or not value:
        raise _bad("a region as a non-empty string, such as TX", value)
    return _short(value)


def _property(value: Any) -> Key:
    if isinstance(value, int) and not isinstance(value, bool) and value in INTEGERS:
        return value
    if not isinstance(value, str) or not value:
        raise _bad("a property id as a non-empty string or an integer", value)
    return _short(value)


def _short(value: str) -> str:
    if len(value) > NAME_LENGTH:
        raise RequestRejected(
            Code.BAD_REQUEST,
            f"expected names of at most {NAME_LENGTH} characters, one has {len(value)}",
        )
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # JSON can spell it, and nobody can store or say it
            raise RequestRejected(
                Code.BAD_REQUEST, "expected names in Unicode, one has half a surrogate pair"
            ) from None
    return value


def _bad(expected: str, came: Any) -> RequestRejected:
    """Says the type that came and not the value, which may be as long as the sender likes."""
    kind = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}.get(
        type(came), "null" if came is None else "a number"
    )
    if came == "":
        kind = "an empty string"
    if isinstance(came, bytes | bytearray):
        kind = "binary data"
    return RequestRejected(Code.BAD_REQUEST, f"expected {expected}, came {kind}")
