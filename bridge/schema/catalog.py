"""Lists the events and requests of the wire contract. All documents are generated from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

from bridge.contract import events, requests

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import TypeAliasType


@dataclass(frozen=True, slots=True)
class EventSpec:
    """An event that the bridge emits."""

    name: str
    envelope: type[BaseModel]


@dataclass(frozen=True, slots=True)
class RequestSpec:
    """A request: an event that a client emits, with its acknowledgement."""

    name: str
    argument: type[BaseModel]
    accepted: type[BaseModel]
    ack: TypeAliasType
    description: str


EMITTED: Final[tuple[EventSpec, ...]] = tuple(
    EventSpec(envelope.model_fields["event"].default, envelope)
    for envelope in get_args(events.Envelope)
)

REQUESTS: Final[tuple[RequestSpec, ...]] = (
    RequestSpec(
        "subscribe",
        requests.SubscribeRequest,
        requests.Subscribed,
        requests.SubscribeAck,
        "Add to the subscription; return the current rows if requested.",
    ),
    RequestSpec(
        "unsubscribe",
        requests.UnsubscribeRequest,
        requests.Unsubscribed,
        requests.UnsubscribeAck,
        "Remove from the subscription.",
    ),
    RequestSpec(
        "authenticate",
        requests.AuthenticateRequest,
        requests.Authenticated,
        requests.AuthenticateAck,
        "Replace the token of the connection.",
    ),
)
