"""Everything that the bridge raises, and every code that a client can see.

BridgeError
├── SettingsError        a setting is missing or wrong: exit 2
├── TableUnreadable      the table could not be read; says whether trying again can help
├── LogUnusable          the event log can't be opened or written, and a retry can't help
├── PositionGone         the log no longer holds what follows a position
└── Refused              a client's request that changes nothing; carries a `Code`
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class BridgeError(Exception):
    """Base of all errors that the bridge raises on purpose."""


class SettingsError(BridgeError):
    """Settings are missing or wrong. The message names each, what came and what was expected."""


class TableUnreadableError(BridgeError):
    """The table could not be read.

    `permanent` says that no retry can help until somebody changes settings, grants or the table.
    """

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class LogUnusableError(BridgeError):
    """The event log can't be opened or written, and stays so until somebody acts. The message names
    the file and the way out.
    """


class PositionGoneError(BridgeError):
    """The log cannot give what follows a position: another epoch, or older than what it keeps."""


class Code(StrEnum):
    """Why a client's request was refused. A refused request changed nothing.

    Each comes with its `meaning`, a clause that documentation and types quote.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        code = str.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    BAD_REQUEST = "bad_request", "the argument is not of the documented shape"
    TOO_MANY_ROOMS = "too_many_rooms", "more regions and properties than one client may name"
    RATE_LIMITED = (
        "rate_limited",
        "more requests than one client, or one address, may make; wait a little",
    )
    NOT_READY = (
        "not_ready",
        "the table, or the keys of tokens, have not been read yet; ask again in a few seconds",
    )
    CURSOR_GONE = "cursor_gone", "the snapshot's next page can't be given; take a new snapshot"
    TOKEN_REQUIRED = "token_required", "this bridge lets nobody in without a token"
    TOKEN_INVALID = "token_invalid", "the token is not one that this bridge believes"
    TOKEN_EXPIRED = "token_expired", "the token was good once; get a fresh one"
    SIGNED_OUT = "signed_out", "the token's session was ended; sign in again"
    REGION_FORBIDDEN = "region_forbidden", "the token doesn't let its bearer hear that region"
    TOO_MANY_CONNECTIONS = (
        "too_many_connections",
        "too many connections of this address, or in all; come back later",
    )
    ORIGIN_FORBIDDEN = "origin_forbidden", "the page is of an origin that may not connect"
    FORBIDDEN = "forbidden", "for operators only; the message says what it takes"
    NOT_SUPPORTED = "not_supported", "documented, but this bridge does not offer it"


class RequestRejected(BridgeError):  # noqa: N818 - states what is the case
    """A client's request is refused; nothing was changed."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def to_ack(self) -> dict[str, object]:
        """The acknowledgement of the wire contract."""
        return {"ok": False, "error": {"code": self.code.value, "message": self.message}}
