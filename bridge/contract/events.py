"""Models of the emitted events: the single source of their JSON Schema.

`property-created`, `property-updated` and `property-deleted` never change their shape; members may
be added, and are optional.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json
from typing_extensions import TypeAliasType

if TYPE_CHECKING:
    from collections.abc import Mapping

# Named types of the schema; in Python they equal the types that they stand for.
PropertyId = TypeAliasType(
    "PropertyId",
    Annotated[
        str | int,
        Field(
            description="The key of a row, as in the table. An integer past 2^53 - 1, which "
            "JavaScript can't hold, is a string of its digits."
        ),
    ],
)


Timestamp = TypeAliasType(
    "Timestamp",
    Annotated[
        str,
        Field(description="RFC 3339 in UTC with `Z`, with the fraction of the database."),
    ],
)


DOCUMENTED: Final = ConfigDict(use_attribute_docstrings=True)
"""Docstrings of models and fields are the descriptions in the schema, the types and the page."""


WHOLE: Final = ConfigDict(
    use_attribute_docstrings=True,
    # Members with a default are always present in emitted events.
    json_schema_serialization_defaults_required=True,
)


def _without_null(schema: dict[str, Any]) -> None:
    (only,) = (each for each in schema.pop("anyOf") if each != {"type": "null"})
    del schema["default"]
    schema.update(only)


NEVER_NULL: Final = Field(json_schema_extra=_without_null)
"""For a member that is absent instead of null. This affects the schema only: a type of its own
would be serialized differently.
"""


class PropertyCreatedData(BaseModel):
    """The published columns of a row: the documented ones, then those of the settings."""

    model_config = ConfigDict(extra="allow") | WHOLE
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    property_id: PropertyId
    name: str | None = None
    city: str | None = None
    state: str | None = None
    price: float | int | None = None
    units: int | None = None
    latitude: float | int | None = None
    longitude: float | int | None = None
    created_at: Timestamp | None = None


class FieldChange(BaseModel):
    """A column's value as last sent to clients, and its current value."""

    model_config = DOCUMENTED

    old: Any
    """The value last sent; null if there was none."""
    new: Any
    """The current value; null if there is none."""


class Move(BaseModel):
    """The regions that a property left and entered."""

    model_config = ConfigDict(populate_by_name=True) | DOCUMENTED

    from_: list[str] = Field(alias="from")
    """The regions of the row before the change, widest first."""
    to: list[str]
    """The regions of the row after the change, widest first."""


class PropertyUpdatedData(BaseModel):
    """The changed columns of a row, and its regions if it moved."""

    model_config = DOCUMENTED

    property_id: PropertyId
    changes: dict[str, FieldChange]
    """Changed values by column, without the key and `updated_at`."""
    updated_at: Timestamp
    """The row's own `updated_at`, else the commit time."""
    moved: Annotated[Move | None, NEVER_NULL] = None
    """Present if the row moved to another region. The event is sent to both regions."""
    property: Annotated[PropertyCreatedData | None, NEVER_NULL] = None
    """With `moved`: the complete new row, for clients that did not have it."""


class PropertyDeletedData(BaseModel):
    """A deleted row, and the time of its deletion."""

    model_config = DOCUMENTED

    property_id: PropertyId
    deleted_at: Timestamp
    """The commit time, or the time at which the bridge found the row missing."""


class PropertyCreated(BaseModel):
    """A row was inserted, or became visible to the client."""

    model_config = WHOLE

    event: Literal["property-created"] = "property-created"
    data: PropertyCreatedData


class PropertyUpdated(BaseModel):
    """Published columns of a row changed."""

    model_config = WHOLE

    event: Literal["property-updated"] = "property-updated"
    data: PropertyUpdatedData


def property_updated(fields: Mapping[str, Any], **move: BaseModel) -> bytes:
    """Return the JSON of a `PropertyUpdated`. `fields`: those of its data; `move`: of a move.

    Its models are not constructed, which is a third of the cost of an event.
    """
    moved = {
        name: each.model_dump(by_alias=True, exclude_unset=True, warnings=False)
        for name, each in move.items()
    }
    event = {"event": "property-updated", "data": {**fields, **moved}}
    return to_json(event, inf_nan_mode="null")


class PropertyDeleted(BaseModel):
    """A row was deleted, or is no longer visible to the client."""

    model_config = WHOLE

    event: Literal["property-deleted"] = "property-deleted"
    data: PropertyDeletedData


CONTRACT_VERSION = "1.0"
"""Version of the wire contract. The first number changes if anything that a client may rely on
changes, the second if something is added."""


POSITION_HEADER: Final = "Bridge-Position"
"""HTTP header of `GET /properties` with the log position up to which the rows are."""


BridgeState = Literal["live", "catching-up", "stale"]


class BridgeStatusData(BaseModel):
    """State of the bridge relative to the table, and the time since when.

    - `live`: clients are up to date with the table, except for the stream's lag;
    - `catching-up`: changes are received, and the table is scanned for missed ones;
    - `stale`: no changes are received.
    """

    model_config = WHOLE

    state: BridgeState
    since: Timestamp
    contract: str = CONTRACT_VERSION
    """Version of the wire contract."""


class BridgeStatus(BaseModel):
    """Sent to every client when the state changes, and once to each client that connects."""

    model_config = WHOLE

    event: Literal["bridge-status"] = "bridge-status"
    data: BridgeStatusData


AuthState = Literal["expiring", "token_expired", "signed_out", "changed"]


class AuthStatusData(BaseModel):
    """State of a client's token and rights.

    - `expiring`: the token expires soon, at `expires_at`: send `authenticate` with a new one;
    - `token_expired`: the token has expired and the connection is closed. The client library
      reconnects by itself, which succeeds with a new token;
    - `signed_out`: an operator revoked the session, and the connection is closed;
    - `changed`: the client's rights have changed. `regions` and `properties` are its whole
      subscription from now on; it no longer receives events of others.
    """

    model_config = WHOLE

    state: AuthState
    expires_at: Timestamp | None = None
    """The expiry of the token."""
    regions: list[str] | None = None
    """The regions of the subscription; null: all that the rights allow."""
    properties: list[PropertyId] = []
    """The properties of the subscription, in addition to the regions."""


class AuthStatus(BaseModel):
    """Sent to one client, about its own token."""

    model_config = WHOLE

    event: Literal["auth-status"] = "auth-status"
    data: AuthStatusData


NotificationKind = Literal["status-changed", "price-dropped", "price-raised", "new-listing"]


Severity = Literal["info", "important"]


class PropertyNotificationData(BaseModel):
    """A change of a property that one user watches, or of a property in a watched region."""

    model_config = DOCUMENTED

    property_id: PropertyId
    kind: NotificationKind
    severity: Severity
    title: str
    """One line of text, to be displayed."""
    body: str
    """One sentence of text, to be displayed."""
    changes: dict[str, FieldChange]
    """Changed values by column, as in `property-updated`."""
    created_at: Timestamp


class PropertyNotification(BaseModel):
    """Sent to one user, once per change, independent of the subscriptions of the user's clients."""

    model_config = WHOLE

    event: Literal["property-notification"] = "property-notification"
    data: PropertyNotificationData


class PropertiesBatchData(BaseModel):
    """Events in order, each in its own envelope. Several changes of one property are coalesced into
    their net change.
    """

    events: list[PropertyCreated | PropertyUpdated | PropertyDeleted | PropertyNotification]


class PropertiesBatch(BaseModel):
    """Sent to clients that requested batches, instead of single events."""

    model_config = WHOLE

    event: Literal["properties-batch"] = "properties-batch"
    data: PropertiesBatchData


Envelope = (
    PropertyCreated
    | PropertyUpdated
    | PropertyDeleted
    | PropertiesBatch
    | BridgeStatus
    | AuthStatus
    | PropertyNotification
)
