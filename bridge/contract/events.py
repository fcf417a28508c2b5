"""The documented events: pydantic models, the one source of their JSON Schema.

Shapes: the wire contract. `property-created`, `property-updated` and `property-deleted` never
change shape; what is added is optional.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from typing_extensions import TypeAliasType

# Named types of the schema. Python knows them by what they are.
PropertyId = TypeAliasType(
    "PropertyId", Annotated[str | int, Field(description="The key of a row, as the table has it.")]
)


Timestamp = TypeAliasType(
    "Timestamp",
    Annotated[
        str, Field(description="RFC 3339 in UTC with `Z`, fractions as the database gave them.")
    ],
)


DOCUMENTED: Final = ConfigDict(use_attribute_docstrings=True)
"""The docstrings of models and fields are what the schema, the types and the pages say of them."""


WHOLE: Final = ConfigDict(
    use_attribute_docstrings=True,
    # What has a default is there as well in what the bridge emits.
    json_schema_serialization_defaults_required=True,
)


def _without_null(schema: dict[str, Any]) -> None:
    (only,) = (each for each in schema.pop("anyOf") if each != {"type": "null"})
    del schema["default"]
    schema.update(only)


NEVER_NULL: Final = Field(json_schema_extra=_without_null)
"""Of a member that is absent where it isn't told. Only the schema knows of it: a type of its own
would be serialised in another way.
"""


class PropertyCreatedData(BaseModel):
    """The published columns of a row: the documented ones, then those that settings add."""

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
    """A column's value as clients were last told it, and as it is now."""

    model_config = DOCUMENTED

    old: Any
    """As it was last told; null where there was none."""
    new: Any
    """As it is now; null where there is none."""


class Move(BaseModel):
    """The regions that a property left and entered."""

    model_config = ConfigDict(populate_by_name=True) | DOCUMENTED

    from_: list[str] = Field(alias="from")
    """The regions that it was in, widest first."""
    to: list[str]
    """The regions that it is in now, widest first."""


class PropertyUpdatedData(BaseModel):
    """What became different, and where it moved if it did."""

    model_config = DOCUMENTED

    property_id: PropertyId
    changes: dict[str, FieldChange]
    """By column: only those whose value changed, never the key, never `updated_at`."""
    updated_at: Timestamp
    """The row's own `updated_at`, else the time of the commit."""
    moved: Annotated[Move | None, NEVER_NULL] = None
    """Where the row left one region for another. Such an update is told in both."""
    property: Annotated[PropertyCreatedData | None, NEVER_NULL] = None
    """With `moved`: the whole new row, for those who did not know it."""


class PropertyDeletedData(BaseModel):
    """Which row is gone, and since when."""

    model_config = DOCUMENTED

    property_id: PropertyId
    deleted_at: Timestamp
    """The time of the commit, or when its absence was found."""


class PropertyCreated(BaseModel):
    """A row appeared."""

    model_config = WHOLE

    event: Literal["property-created"] = "property-created"
    data: PropertyCreatedData


class PropertyUpdated(BaseModel):
    """Published columns of a row changed."""

    model_config = WHOLE

    event: Literal["property-updated"] = "property-updated"
    data: PropertyUpdatedData


class PropertyDeleted(BaseModel):
    """A row is gone."""

    model_config = WHOLE

    event: Literal["property-deleted"] = "property-deleted"
    data: PropertyDeletedData


CONTRACT_VERSION = "1.0"
"""Version of the wire contract: the first number changes when something a client may rely on does,
the second when something is added."""


POSITION_HEADER: Final = "Bridge-Position"
"""HTTP header of `GET /properties` with the log position up to which the rows are."""


BridgeState = Literal["live", "catching-up", "stale"]


class BridgeStatusData(BaseModel):
    """How the bridge stands to the table, and since when.

    - `live`: what clients are told is what the table says, but for the stream's lag;
    - `catching-up`: changes flow, and what may have been missed is being looked for;
    - `stale`: no changes flow.
    """

    model_config = WHOLE

    state: BridgeState
    since: Timestamp
    contract: str = CONTRACT_VERSION
    """The version of the wire contract."""


class BridgeStatus(BaseModel):
    """Told when the state changes, and once to every client that connects."""

    model_config = WHOLE

    event: Literal["bridge-status"] = "bridge-status"
    data: BridgeStatusData


AuthState = Literal["expiring", "token_expired", "signed_out", "changed"]


class AuthStatusData(BaseModel):
    """How a client's rights stand.

    - `expiring`: the token ends soon, at `expires_at`: `authenticate` with a fresh one;
    - `token_expired`: it has ended. The connection is closed; the client library comes back by
      itself, and is let in with a fresh token;
    - `signed_out`: the session was ended by an operator, and the connection is closed;
    - `changed`: the client's rights are others from here on. `regions` and `properties` are all
      that it hears now; what it heard beyond that, it hears no more.
    """

    model_config = WHOLE

    state: AuthState
    expires_at: Timestamp | None = None
    """When the token ends, or ended."""
    regions: list[str] | None = None
    """The regions that the client hears; null: everything that it may."""
    properties: list[PropertyId] = []
    """The properties that it hears beside them."""


class AuthStatus(BaseModel):
    """Told to one client, of its own token."""

    model_config = WHOLE

    event: Literal["auth-status"] = "auth-status"
    data: AuthStatusData


NotificationKind = Literal["status-changed", "price-dropped", "price-raised", "new-listing"]


Severity = Literal["info", "important"]


class PropertyNotificationData(BaseModel):
    """A change that concerns one user, who watches the property or its region."""

    model_config = DOCUMENTED

    property_id: PropertyId
    kind: NotificationKind
    severity: Severity
    title: str
    """One line, to be shown as it is."""
    body: str
    """A sentence, to be shown as it is."""
    changes: dict[str, FieldChange]
    """By column, as in `property-updated`."""
    created_at: Timestamp


class PropertyNotification(BaseModel):
    """Told to one user, once for each change, whatever else its clients subscribed to."""

    model_config = WHOLE

    event: Literal["property-notification"] = "property-notification"
    data: PropertyNotificationData


class PropertiesBatchData(BaseModel):
    """In order, each as it would come alone. What happened to one property is folded into its net
    difference.
    """

    events: list[PropertyCreated | PropertyUpdated | PropertyDeleted | PropertyNotification]


class PropertiesBatch(BaseModel):
    """Told to clients that asked for batches, in place of the single events."""

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
