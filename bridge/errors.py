"""Exceptions of the bridge, and the error codes that clients receive.

BridgeError
├── SettingsError          a setting is missing or wrong: exit code 2
├── TableUnreadableError   the table can't be read; `permanent` if a retry can't help
├── LogUnusableError       the event log can't be opened or written, and a retry can't help
├── PositionGoneError      the log no longer has the entries after a position
└── RequestRejected        a client's request is rejected and changes nothing; has a `Code`
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class BridgeError(Exception):
    """Base of all exceptions of the bridge."""


class SettingsError(BridgeError):
    """Settings are missing or wrong. The message has each name, value and expected value."""


class TableUnreadableError(BridgeError):
    """The table can't be read.

    - `permanent`: no retry can succeed until settings, grants or the table are changed.
    - `refused`: this very read was refused; one of fewer rows may succeed.
    """

    def __init__(self, message: str, *, permanent: bool = False, refused: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent
        self.refused = refused


class DeletionUnprovenError(TableUnreadableError):
    """Reads do not find known rows, which may be hidden from the role of the reads."""


class LogUnusableError(BridgeError):
    """The event log can't be opened or written until an operator acts. The message has the file and
    the required action.
    """


class PositionGoneError(BridgeError):
    """The log no longer has the entries after a position: another epoch, or older than the log."""


class LeaseLostError(BridgeError):
    """Another process has the right to append to the log; nothing was stored."""


class Code(StrEnum):
    """Error codes of rejected requests. A rejected request changes nothing.

    Each has a `meaning`, which documentation and generated types quote.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        code = str.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    BAD_REQUEST = "bad_request", "the argument does not have the documented shape"
    TOO_MANY_ROOMS = (
        "too_many_rooms",
        "more regions and properties than one client may subscribe to",
    )
    RATE_LIMITED = (
        "rate_limited",
        "the client or its address exceeds a rate limit; retry later",
    )
    NOT_READY = (
        "not_ready",
        "the table or the signing keys have not been read yet; retry in a few seconds",
    )
    CURSOR_GONE = (
        "cursor_gone",
        "the snapshot's next page is no longer available; request a new snapshot",
    )
    TOKEN_REQUIRED = "token_required", "this bridge requires a token"
    TOKEN_INVALID = (
        "token_invalid",
        "the token is malformed, or not issued by this bridge's project",
    )
    TOKEN_EXPIRED = "token_expired", "the token has expired; get a new one"
    SIGNED_OUT = "signed_out", "the token's session was revoked; sign in again"
    REGION_FORBIDDEN = "region_forbidden", "the token does not grant this region"
    TOO_MANY_CONNECTIONS = (
        "too_many_connections",
        "too many connections of this address or in total; retry later",
    )
    ORIGIN_FORBIDDEN = "origin_forbidden", "pages of this origin may not connect"
    FORBIDDEN = "forbidden", "for operators only; the message has the requirements"
    NOT_SUPPORTED = "not_supported", "documented, but not supported by this bridge"
    INTERNAL_ERROR = "internal_error", "the bridge failed to handle the request; its log has why"


class RequestRejected(BridgeError):  # noqa: N818 - a verb of rejection
    """A client's request is rejected; nothing was changed."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def by_failure(cls) -> Self:
        """Return the rejection of a request that failed for a defect of the bridge."""
        return cls(Code.INTERNAL_ERROR, "the bridge failed to handle the request")

    def to_ack(self) -> dict[str, object]:
        """Return the acknowledgement of the wire contract."""
        return {"ok": False, "error": {"code": self.code.value, "message": self.message}}
