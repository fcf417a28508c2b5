"""The documented events. These models are the one source of their JSON Schema.

Shapes: the wire contract. `property-created`, `property-updated` and `property-deleted` never
change shape; what is added is optional.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

if TYPE_CHECKING:
    from bridge.changes import Key

Timestamp = str
"""RFC 3339 in UTC with `Z`, fractions as the database gave them."""


class PropertyCreatedData(BaseModel):
    """The published columns of a new row: the documented ones, then those that settings add."""

    model_config = ConfigDict(extra="allow")

    property_id: str | int
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

    old: Any
    new: Any


class Move(BaseModel):
    """The regions that a property left and entered."""

    model_config = ConfigDict(populate_by_name=True)

    from_: list[str] = Field(alias="from")
    to: list[str]


class PropertyUpdatedData(BaseModel):
    """Only columns whose value changed; never the key, never `updated_at`."""

    property_id: str | int
    changes: dict[str, FieldChange]
    updated_at: Timestamp
    moved: Move | None = None
    property: PropertyCreatedData | None = None


class PropertyDeletedData(BaseModel):
    property_id: str | int
    deleted_at: Timestamp


class PropertyCreated(BaseModel):
    event: Literal["property-created"] = "property-created"
    data: PropertyCreatedData


class PropertyUpdated(BaseModel):
    event: Literal["property-updated"] = "property-updated"
    data: PropertyUpdatedData


class PropertyDeleted(BaseModel):
    event: Literal["property-deleted"] = "property-deleted"
    data: PropertyDeletedData


CONTRACT = "1.0"
"""Version of the wire contract: the first number changes when something a client may rely on does,
the second when something is added."""

BridgeState = Literal["live", "catching-up", "stale"]


class BridgeStatusData(BaseModel):
    """How the bridge stands to the table, and since when."""

    state: BridgeState
    since: Timestamp
    contract: str = CONTRACT


class BridgeStatus(BaseModel):
    """Told when the state changes, and once to every client that connects."""

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

    state: AuthState
    expires_at: Timestamp | None = None
    regions: list[str] | None = None
    properties: list[str | int] = []


class AuthStatus(BaseModel):
    """Told to one client, of its own token."""

    event: Literal["auth-status"] = "auth-status"
    data: AuthStatusData


NotificationKind = Literal["status-changed", "price-dropped", "price-raised", "new-listing"]
Severity = Literal["info", "important"]


class PropertyNotificationData(BaseModel):
    """A change that concerns one user, who watches the property or its region."""

    property_id: str | int
    kind: NotificationKind
    severity: Severity
    title: str
    body: str
    changes: dict[str, FieldChange]
    created_at: Timestamp


class PropertyNotification(BaseModel):
    """Told to one user, once for each change, whatever else its clients subscribed to."""

    event: Literal["property-notification"] = "property-notification"
    data: PropertyNotificationData


class PropertiesBatchData(BaseModel):
    """In order, each as it would come alone. What happened to one property is folded into its net
    difference.
    """

    events: list[PropertyCreated | PropertyUpdated | PropertyDeleted | PropertyNotification]


class PropertiesBatch(BaseModel):
    """Told to clients that asked for batches, in place of the single events."""

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

EventName = Literal[
    "property-created",
    "property-updated",
    "property-deleted",
    "properties-batch",
    "bridge-status",
    "auth-status",
    "property-notification",
]


@dataclass(frozen=True, slots=True)
class Event:
    """An event on its way to clients: its envelope as JSON text, encoded once, and where it goes.

    `rooms` is every room that hears it; see `bridge.regions`.
    """

    name: EventName
    key: Key
    rooms: tuple[str, ...]
    envelope: bytes


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of every envelope that the bridge emits."""
    adapter: TypeAdapter[Envelope] = TypeAdapter(Envelope)
    out = adapter.json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of the bridge",
        "description": "The Socket.IO event name equals `event`; its first argument is the "
        "envelope, its second one the position in the log, a string.",
        **out,
    }
