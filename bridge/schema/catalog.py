"""What the wire contract consists of. Everything that documents it is made of these lists."""

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
    """An event that a client emits, and what its ack is called with."""

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
        "Hear more, with the current rows if asked for.",
    ),
    RequestSpec(
        "unsubscribe",
        requests.UnsubscribeRequest,
        requests.Unsubscribed,
        requests.UnsubscribeAck,
        "Hear less.",
    ),
    RequestSpec(
        "authenticate",
        requests.AuthenticateRequest,
        requests.Authenticated,
        requests.AuthenticateAck,
        "Go on with a fresh token.",
    ),
)
