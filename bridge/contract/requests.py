"""What clients send and what they are answered, as models: the source of its documentation.

Requests are read by `bridge.contract.parse`, which is quicker and says better what was wrong. Both
accept the same.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypeAliasType

from bridge.contract.events import (
    DOCUMENTED,
    NEVER_NULL,
    WHOLE,
    PropertyCreatedData,
    PropertyId,
    Timestamp,
)
from bridge.contract.parse import INTEGERS, NAME_LENGTH
from bridge.errors import Code

REQUEST: Final = ConfigDict(strict=True, extra="ignore") | DOCUMENTED
"""A null member is the same as an absent one, and members that are not named here are passed over:
they belong to others, or to later versions."""

Region = TypeAliasType(
    "Region",
    Annotated[
        str,
        Field(
            min_length=1,
            max_length=NAME_LENGTH,
            description="A region's name: `TX`, or `TX/Austin` where regions have two levels.",
        ),
    ],
)

GivenPropertyId = TypeAliasType(
    "GivenPropertyId",
    Annotated[
        Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
        | Annotated[int, Field(ge=INTEGERS.start, le=INTEGERS.stop - 1)],
        Field(description='A property\'s id as a client names it: `42` and `"42"` are the same.'),
    ],
)

ErrorCode = TypeAliasType(
    "ErrorCode",
    Annotated[
        Code,
        WithJsonSchema(
            {
                "description": "Why a request was refused. A refused request changed nothing.",
                "oneOf": [{"const": code.value, "description": code.meaning} for code in Code],
            }
        ),
    ],
)

PropertyRow = TypeAliasType(
    "PropertyRow",
    Annotated[
        PropertyCreatedData,
        Field(description="A row of a snapshot or of `GET /properties`: all published columns."),
    ],
)


class HandshakeAuth(BaseModel):
    """What a client gives as `auth` when it connects. All of it is optional. The client library
    adds `pid` and `offset` by itself when it comes back.
    """

    model_config = REQUEST

    token: str | None = None
    """A Supabase access token."""
    regions: list[Region] | None = None
    """Regions to hear from the beginning. Who names neither regions nor properties hears all that
    it may."""
    properties: list[GivenPropertyId] | None = None
    """Single properties to hear from the beginning."""
    batch: bool | None = None
    """Whether events shall come as `properties-batch`, a burst in few frames."""


class SubscribeRequest(BaseModel):
    """What to hear from now on, beside what is heard already. The first region or property that a
    client names replaces the everything of the beginning; naming neither means everything again.
    """

    model_config = REQUEST

    regions: list[Region] | None = None
    properties: list[GivenPropertyId] | None = None
    snapshot: bool | None = None
    """Whether the ack shall carry the current rows of what is named."""
    after: Annotated[str, Field(max_length=NAME_LENGTH)] | None = None
    """For a further page of a snapshot: what the ack before gave as `more`."""


class UnsubscribeRequest(BaseModel):
    """What to hear no more. Naming neither means all of it."""

    model_config = REQUEST

    regions: list[Region] | None = None
    properties: list[GivenPropertyId] | None = None


class AuthenticateRequest(BaseModel):
    """A fresh token for this connection, before the former one ends."""

    model_config = REQUEST

    token: str
    """A Supabase access token of the same user."""


class Subscribed(BaseModel):
    """All that the client hears now, and the snapshot if it asked for one.

    The ack has its place among the events: what came before it is in its rows, what comes after it
    is not. While there is `more`, ask for it with `after` and the same regions: put each page's
    rows in the place of what is known, and pass over an event that updates or deletes a property
    that is not known, since a later page has it as it is then.
    """

    model_config = DOCUMENTED

    ok: Literal[True]
    regions: list[str] | None
    """Null: everything that the client may hear."""
    properties: list[PropertyId]
    offset: Annotated[str | None, NEVER_NULL] = None
    """With a snapshot: the position in the log as of which the rows are."""
    more: Annotated[str | None, NEVER_NULL] = None
    """With a snapshot that has further pages: what to give as `after` for the next one."""
    snapshot: Annotated[list[PropertyRow] | None, NEVER_NULL] = None
    """The current rows, if asked for."""


class Unsubscribed(BaseModel):
    """All that the client still hears."""

    model_config = DOCUMENTED

    ok: Literal[True]
    regions: list[str] | None
    """Null: everything that the client may hear."""
    properties: list[PropertyId]


class Authenticated(BaseModel):
    """The token was taken."""

    model_config = DOCUMENTED

    ok: Literal[True]
    expires_at: Timestamp
    """When it ends."""


class RefusalReason(BaseModel):
    """Why a request was refused: a code for programs, a message for people."""

    model_config = DOCUMENTED

    code: ErrorCode
    message: str
    """What was expected, and what came."""


class Refusal(BaseModel):
    """A refused request changed nothing."""

    model_config = WHOLE

    ok: Literal[False] = False
    error: RefusalReason


class ConnectRefusal(BaseModel):
    """The bridge did not let the client in. The client library makes an `Error` of it, with this
    `message` and `data`, and tells it as `connect_error`.
    """

    model_config = DOCUMENTED

    message: str
    data: RefusalReason


SubscribeAck = TypeAliasType("SubscribeAck", Subscribed | Refusal)
UnsubscribeAck = TypeAliasType("UnsubscribeAck", Unsubscribed | Refusal)
AuthenticateAck = TypeAliasType("AuthenticateAck", Authenticated | Refusal)
