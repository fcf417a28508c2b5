"""Models of requests and their acknowledgements: the source of their documentation.

Requests are parsed by `bridge.contract.parse`, which is faster and has more precise errors. Both
accept the same values.
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
"""A null member is equivalent to an absent one, and unknown members are ignored: they may belong to
later versions."""

Region = TypeAliasType(
    "Region",
    Annotated[
        str,
        Field(
            min_length=1,
            max_length=NAME_LENGTH,
            description="The name of a region: `TX`, or `TX/Austin` if regions have two levels.",
        ),
    ],
)

GivenPropertyId = TypeAliasType(
    "GivenPropertyId",
    Annotated[
        Annotated[str, Field(min_length=1, max_length=NAME_LENGTH)]
        | Annotated[int, Field(ge=INTEGERS.start, le=INTEGERS.stop - 1)],
        Field(description='The id of a property in a request: `42` and `"42"` are the same.'),
    ],
)

ErrorCode = TypeAliasType(
    "ErrorCode",
    Annotated[
        Code,
        WithJsonSchema(
            {
                "description": "The reason of a rejection. A rejected request changes nothing.",
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
    """The `auth` of a client that connects. All members are optional. The client library adds `pid`
    and `offset` itself when it reconnects.
    """

    model_config = REQUEST

    token: str | None = None
    """A Supabase access token."""
    regions: list[Region] | None = None
    """Regions to subscribe to. A client that names neither regions nor properties receives all
    events that its rights allow."""
    properties: list[GivenPropertyId] | None = None
    """Properties to subscribe to."""
    batch: bool | None = None
    """Whether events are sent as `properties-batch`, which needs fewer frames for a burst."""


class SubscribeRequest(BaseModel):
    """Regions and properties to add to the subscription. The first ones that a client names replace
    its initial subscription to everything; naming neither subscribes to everything again.
    """

    model_config = REQUEST

    regions: list[Region] | None = None
    properties: list[GivenPropertyId] | None = None
    snapshot: bool | None = None
    """Whether the ack contains the current rows of the named regions and properties."""
    after: Annotated[str, Field(max_length=NAME_LENGTH)] | None = None
    """For a further page of a snapshot: `more` of the previous ack."""


class UnsubscribeRequest(BaseModel):
    """Regions and properties to remove from the subscription. Naming neither removes all."""

    model_config = REQUEST

    regions: list[Region] | None = None
    properties: list[GivenPropertyId] | None = None


class AuthenticateRequest(BaseModel):
    """A new token for this connection, sent before the expiry of the current one."""

    model_config = REQUEST

    token: str
    """A Supabase access token of the same user."""


class Subscribed(BaseModel):
    """The whole subscription of the client, with a snapshot if requested.

    The ack is ordered with the events: events received before it are included in its rows, events
    received after it are not. While there is `more`, request it with `after` and the same regions.
    Each page's rows replace the rows that the client has. An event that updates a property and
    carries `property`, the row of a move, is stored like a creation. Any other event that updates
    or deletes an unknown property is ignored, since a later page has its current row. A client that
    reconnects before the last page begins again, also if it is recovered.
    """

    model_config = DOCUMENTED

    ok: Literal[True]
    regions: list[str] | None
    """Null: everything that the client's rights allow."""
    properties: list[PropertyId]
    offset: Annotated[str | None, NEVER_NULL] = None
    """With a snapshot: the log position at which the rows are valid."""
    more: Annotated[str | None, NEVER_NULL] = None
    """With a snapshot that has further pages: the value of `after` for the next page."""
    snapshot: Annotated[list[PropertyRow] | None, NEVER_NULL] = None
    """The current rows, if requested."""


class Unsubscribed(BaseModel):
    """The whole subscription of the client after the request."""

    model_config = DOCUMENTED

    ok: Literal[True]
    regions: list[str] | None
    """Null: everything that the client's rights allow."""
    properties: list[PropertyId]


class Authenticated(BaseModel):
    """The token was accepted."""

    model_config = DOCUMENTED

    ok: Literal[True]
    expires_at: Timestamp
    """The expiry of the token."""


class RefusalReason(BaseModel):
    """The reason of a rejection: a code for programs, a message for developers."""

    model_config = DOCUMENTED

    code: ErrorCode
    message: str
    """The expected value, and the one received."""


class Refusal(BaseModel):
    """A rejected request changes nothing."""

    model_config = WHOLE

    ok: Literal[False] = False
    error: RefusalReason


class ConnectRefusal(BaseModel):
    """The bridge rejected the connection. The client library emits it as `connect_error`, with an
    `Error` that has this `message` and `data`.
    """

    model_config = DOCUMENTED

    message: str
    data: RefusalReason


SubscribeAck = TypeAliasType("SubscribeAck", Subscribed | Refusal)
UnsubscribeAck = TypeAliasType("UnsubscribeAck", Unsubscribed | Refusal)
AuthenticateAck = TypeAliasType("AuthenticateAck", Authenticated | Refusal)
