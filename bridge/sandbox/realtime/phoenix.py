"""Phoenix channel frames: what Realtime's clients and server say to each other. Pure.

Version 1.0.0 writes an object and leaves `join_ref` out of what the server sends; version 2.0.0
writes an array of five. Keys come in the order in which the real server writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson


class PhoenixVersion(StrEnum):
    V1 = "1.0.0"
    V2 = "2.0.0"


class UnreadableFrameError(ValueError):
    """A client sent something that is not a Phoenix message."""


@dataclass(frozen=True, slots=True)
class InboundMessage:
    topic: str
    event: str
    payload: Any
    ref: str | None
    join_ref: str | None


def dumps(value: Any) -> str:
    """Compact JSON."""
    return orjson.dumps(value).decode()


def decode(text: str, version: PhoenixVersion) -> InboundMessage:
    """The message in `text`. Raises `UnreadableFrameError`."""
    try:
        raw = orjson.loads(text)
        if version is PhoenixVersion.V2:
            join_ref, ref, topic, event, payload = raw
        else:
            topic, event, payload = raw["topic"], raw["event"], raw.get("payload")
            ref, join_ref = raw.get("ref"), raw.get("join_ref")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableFrameError(
            f"expected a Phoenix {version} message, got {error!r}"
        ) from error
    if not isinstance(topic, str) or not isinstance(event, str):
        raise UnreadableFrameError("expected topic and event to be strings")
    return InboundMessage(topic, event, payload, ref, join_ref)


def frame(
    version: PhoenixVersion,
    topic: str,
    event: str,
    payload: str,
    *,
    ref: str | None = None,
    join_ref: str | None = None,
) -> str:
    """A frame around `payload`, which is JSON text already."""
    if version is PhoenixVersion.V2:
        head = f"{dumps(join_ref)},{dumps(ref)},{dumps(topic)},{dumps(event)}"
        return f"[{head},{payload}]"
    return (
        f'{{"event":{dumps(event)},"payload":{payload},"ref":{dumps(ref)},"topic":{dumps(topic)}}}'
    )


def reply(
    version: PhoenixVersion,
    topic: str,
    response: Any,
    *,
    status: str,
    ref: str | None,
    join_ref: str | None = None,
) -> str:
    payload = f'{{"response":{dumps(response)},"status":{dumps(status)}}}'
    return frame(version, topic, "phx_reply", payload, ref=ref, join_ref=join_ref)


def system(
    version: PhoenixVersion,
    topic: str,
    *,
    extension: str,
    message: str,
    status: str,
    join_ref: str | None,
) -> str:
    payload = dumps(
        {
            "channel": topic.removeprefix("realtime:"),
            "extension": extension,
            "message": message,
            "status": status,
        }
    )
    return frame(version, topic, "system", payload, join_ref=join_ref)


def changes(version: PhoenixVersion, topic: str, data: str, ids: list[int]) -> str:
    """A `postgres_changes` message; `data` is JSON text."""
    payload = f'{{"data":{data},"ids":{dumps(ids)}}}'
    return frame(version, topic, "postgres_changes", payload)
